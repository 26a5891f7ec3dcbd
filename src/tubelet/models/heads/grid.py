"""The `grid` head: a person's box as a grid of cells, flattened, so that place counts.

Where `linear` keeps the strongest response anywhere in the box, this head knows a moving arm at
the top from a moving leg at the bottom; that is what makes it fit hand-made descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.roi import roi_align


@dataclass(frozen=True, slots=True, kw_only=True)
class GridHeadConfig(HeadConfig):
    """`resolution`: grid cells per side. `spread`: add each channel's deviation over time.
    `scene`: cells per side of a grid over the whole frame, added for everyone in it; 0 for none.
    `hidden`: width of a layer before the classifier, 0 for none. `standardise`: bring each feature
    to mean 0 and deviation 1 over the training people: deviations count as much as means."""

    summary: ClassVar[str] = "a person's box as a grid of cells, so that place counts"

    resolution: int = 4
    spread: bool = True
    scene: int = 0
    hidden: int = 0
    standardise: bool = False
    dropout: float = 0.5

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> GridHead:
        return GridHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, hidden=min(self.hidden, 16))


class GridHead(PersonHead):
    """Mean (and deviation) over time → RoIAlign → flatten → norms → (hidden →) linear."""

    def __init__(
        self, config: GridHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        channels = sum(o.channels for o in outputs) * (2 if config.spread else 1)
        width = channels * (config.resolution**2 + config.scene**2)
        self.standard = nn.BatchNorm1d(width, affine=False) if config.standardise else None
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        if config.hidden:
            self.hidden = nn.Linear(width, config.hidden)
        self.classifier = nn.Linear(config.hidden or width, classes)
        if not config.hidden:  # so small above a hidden layer, both would hardly learn at first
            nn.init.normal_(self.classifier.weight, std=0.01)
            nn.init.zeros_(self.classifier.bias)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C·(P² + S²))`, the pathways concatenated."""
        return torch.cat([self._pool(m, rois) for m in maps], dim=1)

    def _pool(self, features: FeatureMap, rois: Rois) -> Tensor:
        values = features.values
        mean = values.mean(dim=2)
        over_time = [mean]
        if self.config.spread:
            # As `values.std(dim=2)`, which takes three times as long on the CPU; the small number
            # keeps the gradient of a channel that never changes at zero.
            variance = (values - mean[:, :, None]).square().mean(dim=2)
            over_time.append((variance + 1e-12).sqrt())
        frame = torch.cat(over_time, dim=1)
        pooled = roi_align(
            frame,
            rois.boxes_px,
            rois.clip,
            size=self.config.resolution,
            stride=features.space_stride,
        )
        if not self.config.scene:
            return pooled.flatten(1)
        scene = F.adaptive_avg_pool2d(frame, self.config.scene).flatten(1)
        return torch.cat([pooled.flatten(1), scene[rois.clip]], dim=1)

    def forward(self, people: Tensor) -> Tensor:
        """Person features → logits `(R, K)`."""
        # One person alone has no deviation to learn from.
        if self.standard is not None and (not self.training or len(people) > 1):
            people = self.standard(people)
        people = self.dropout(self.norm(people))
        if self.config.hidden:
            people = self.dropout(torch.relu(self.hidden(people)))
        logits: Tensor = self.classifier(people)
        return logits
