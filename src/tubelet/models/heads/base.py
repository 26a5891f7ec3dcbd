"""What every head declares: what it classifies, how it pools, and what a new label set replaces.

A head is one file: a subclass of `HeadConfig` and the `Head` that it builds, which for heads that
look at people is a `PersonHead`. Listed in this folder's `__init__` or only imported, both work
alike.

Shape legend: R people of the whole batch, B clips, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.config import Extensible
from tubelet.errors import ShapeError
from tubelet.models.backbones.base import FeatureSpec

Task = Literal["detection", "classification"]


class Head(nn.Module):
    """Backbone maps → pooled features (`pool`) → logits (`classify`)."""

    def pool(self, maps: Sequence[FeatureMap], rois: Rois | None = None) -> Tensor:
        """Features of each person, or of each clip where whole clips are classified."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it pools")

    def classify(
        self, pooled: Tensor, rois: Rois | None, memory: Memory | None, *, exclusive: bool
    ) -> Tensor:
        """What `pool` gave → logits `(R, K)` or `(B, K)`. `exclusive`: one class each."""
        logits: Tensor = self(pooled)
        return logits

    def token_layers(self) -> tuple[nn.Module, ...]:
        """The layers of this head that decide a remembered token; banks are stamped with them."""
        return ()


class PersonHead(Head):
    """A head that pools under people's boxes."""

    def pool(self, maps: Sequence[FeatureMap], rois: Rois | None = None) -> Tensor:
        """Features of each person. Raises ShapeError without `rois`."""
        if rois is None:
            raise ShapeError(
                "missing people's boxes for a detection model", expected="Rois", got=None
            )
        return self.pool_people(maps, rois)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, …)` under `rois`, `(0, …)` for nobody."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it pools people")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig(Extensible, ABC):
    """Arguments of a head, and all that the rest of the package needs to know about it.

    A subclass is a frozen dataclass whose fields have defaults. `task`: "detection" classifies
    people, "classification" whole clips. `remembers`: whether tokens of a memory bank can join its
    people; it then pools tokens `(R, positions, width)`. `label_layers`: names of its layers or
    parameters that belong to one label set, and that another set replaces; () if it has no classes
    of its own.
    """

    task: ClassVar[Task] = "detection"
    remembers: ClassVar[bool] = False
    label_layers: ClassVar[tuple[str, ...]] = ("classifier",)

    @abstractmethod
    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> Head:
        """The head for a backbone's `outputs` and so many classes, freshly initialised."""

    @abstractmethod
    def tiny(self) -> Self:
        """The same kind of head with few bins and channels, as `BackboneConfig.tiny`."""
