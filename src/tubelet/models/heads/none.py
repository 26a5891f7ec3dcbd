"""The `none` head: person features out, to be classified elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.roi import pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHeadConfig(HeadConfig):
    """`resolution`: RoI bins per side; `aligned` as in `LinearHeadConfig`."""

    summary: ClassVar[str] = "no classes: the pooled features of each person"
    label_layers: ClassVar[tuple[str, ...]] = ()

    resolution: int = 7
    aligned: bool = True

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> NoHead:
        return NoHead(self)

    def tiny(self) -> Self:
        return self


class NoHead(PersonHead):
    """The model's "logits" are the pooled features `(R, C)`; it has no parameters."""

    def __init__(self, config: NoHeadConfig) -> None:
        super().__init__()
        self.config = config

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C)`, the pathways concatenated."""
        return pool_people(maps, rois, size=self.config.resolution, aligned=self.config.aligned)

    def forward(self, people: Tensor) -> Tensor:
        """`(R, C)` as it came."""
        return people
