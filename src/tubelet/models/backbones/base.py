"""What every backbone declares, so that heads never guess a width; and what a named model is.

A backbone is an `nn.Module` with `outputs`, called with a normalised clip `(B, 3, T, H, W)` and
returning one FeatureMap for each of `outputs`. A family's file ends with its named variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor

from tubelet.batch import FeatureMap
from tubelet.types import InputSpec

Config = TypeVar("Config", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One output map of a backbone: channels, and clip frames and pixels a cell."""

    channels: int
    time_stride: int
    space_stride: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure that a paper or model zoo printed; never our own measurement.

    `gflops`: multiply-adds a view in their own convention, at `size` pixels; `views` as they write.
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

    `cost_size`: pixels a side at which its cost is stated, the published figure's own.
    `weights`: who released weights of this architecture, as text for a person to read.
    """

    backbone: Config
    detection: Config
    input: InputSpec
    cost_size: int = 256
    weights: str = ""
    published: tuple[Published, ...] = field(default=())


def as_maps(values: Sequence[Tensor], specs: Sequence[FeatureSpec]) -> tuple[FeatureMap, ...]:
    """Pair output tensors with the strides their backbone declares."""
    return tuple(
        FeatureMap(values=x, time_stride=s.time_stride, space_stride=s.space_stride)
        for x, s in zip(values, specs, strict=True)
    )
