"""The `none` head: person features out, for whoever classifies them elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.roi import pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHeadConfig:
    """`resolution`: RoI bins a side; `aligned` as in `LinearHeadConfig`."""

    resolution: int = 7
    aligned: bool = True

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> NoHead:
        return NoHead(self)


class NoHead(nn.Module):
    """The model's "logits" are the pooled features `(R, C)`; it has no parameters."""

    task: ClassVar[str] = "detection"

    def __init__(self, config: NoHeadConfig) -> None:
        super().__init__()
        self.config = config

    def pool(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C)`, the pathways concatenated."""
        return pool_people(maps, rois, size=self.config.resolution, aligned=self.config.aligned)

    def forward(self, people: Tensor) -> Tensor:
        """`(R, C)` as it came."""
        return people
