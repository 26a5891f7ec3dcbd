"""What every backbone declares, so that heads never guess a width; and what a named model is.

A family is one file: a subclass of `BackboneConfig`, the `Backbone` that it builds, and at the end
its named variants. Listed in this folder's `__init__` or only imported, both work alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.config import Extensible
from tubelet.types import InputSpec

Config = TypeVar("Config", covariant=True)
Layers = Literal["convolutions", "attention", "descriptors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One output map of a backbone: channels, and clip frames and pixels per cell.

    `whole`: the map is a single cell, whatever the clip's size (a clip token).
    """

    channels: int
    time_stride: int
    space_stride: int
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure that a paper or model zoo printed; never our own measurement.

    `gflops`: multiply-adds per view in their own convention, at `size` pixels; `views` as they
    write.
    """

    source: str
    dataset: str | None = None
    metric: str | None = None
    score: float | None = None
    gflops: float | None = None
    size: int = 256
    views: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(Generic[Config]):
    """A named backbone. `backbone` is its classification form; `detection` its dense form.

    `cost_size`: pixels per side at which its cost is stated, the published figure's own.
    `weights`: who released weights of this architecture, as text for a person to read.
    """

    backbone: Config
    detection: Config
    input: InputSpec
    cost_size: int = 256
    weights: str = ""
    published: tuple[Published, ...] = field(default=())


class Backbone(nn.Module):
    """Called with a normalised clip `(B, 3, T, H, W)`, it returns one FeatureMap for each of
    `outputs`."""

    outputs: tuple[FeatureSpec, ...]

    def refit(self, name: str, tensor: Tensor) -> Tensor | None:
        """`tensor`, a parameter `name` of the same backbone for clips of another size, in the shape
        that this one has; None where that cannot be said."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig(Extensible, ABC):
    """Arguments of a backbone, and all that the rest of the package needs to know about it.

    A subclass is a frozen dataclass whose fields have defaults. `made_of`: what its layers are,
    from which fine-tuning takes its learning rate.
    """

    made_of: ClassVar[Layers] = "convolutions"

    @abstractmethod
    def build(self) -> Backbone:
        """The network, freshly initialised."""

    @abstractmethod
    def tiny(self) -> Self:
        """The same kind of network with one block per stage and a few channels, for clips of at
        most 8 frames at 32 pixels: smoke runs and the contract tests train it in seconds."""

    def dense(self) -> Self:
        """The form for detection, whose map keeps its resolution; itself, if it has no other."""
        return self

    def architecture(self) -> Self:
        """This configuration without what only training sees (drop path) and what the size of its
        clips decides (positions), as its named variant has it."""
        return self

    @classmethod
    def variants(cls) -> Mapping[str, Variant[Any]]:
        """Named variants of the family, for `tubelet models` and `create_model`."""
        return {}


def as_maps(values: Sequence[Tensor], specs: Sequence[FeatureSpec]) -> tuple[FeatureMap, ...]:
    """Pair output tensors with the strides their backbone declares."""
    return tuple(
        FeatureMap(values=x, time_stride=s.time_stride, space_stride=s.space_stride)
        for x, s in zip(values, specs, strict=True)
    )
