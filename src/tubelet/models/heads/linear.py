"""The `linear` head: RoIAlign → mean over time → max over space → linear (001 §1, 000 Table 1).

RoIAlign is linear in the features, so pooling every frame of the tube and averaging equals
averaging over time first and pooling once; the originals do the latter, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.roi import pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHeadConfig:
    """`resolution`: RoI bins a side. `aligned`: False for PyTorchVideo's and `AVA/c2` weights.

    `whole_frame` adds the whole frame, pooled like one large RoI, to each person's features
    (MMAction2's "context" models).
    """

    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5
    whole_frame: bool = False

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> LinearHead:
        return LinearHead(self, outputs=outputs, classes=classes)


class LinearHead(nn.Module):
    """One logit a class for each person from that person's own features."""

    task: ClassVar[str] = "detection"

    def __init__(
        self, config: LinearHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        channels = sum(o.channels for o in outputs) * (2 if config.whole_frame else 1)
        self.classifier = nn.Linear(channels, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C)`, the pathways concatenated."""
        config = self.config
        people = pool_people(maps, rois, size=config.resolution, aligned=config.aligned)
        if not config.whole_frame:
            return people
        frames = torch.cat([m.values.mean(dim=2) for m in maps], dim=1)
        whole = F.adaptive_avg_pool2d(frames, config.resolution).amax(dim=(2, 3))
        return torch.cat([people, whole[rois.clip]], dim=1)

    def forward(self, people: Tensor) -> Tensor:
        """Person features `(R, C)` → logits `(R, K)`."""
        logits: Tensor = self.classifier(self.dropout(people))
        return logits
