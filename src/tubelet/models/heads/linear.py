"""The `linear` head: RoIAlign → mean over time → max over space → linear (001 §1, 000 Table 1).

RoIAlign is linear in the features, so pooling every frame of the tube and averaging equals
averaging over time first and pooling once; the originals do the latter, and so do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.roi import roi_align


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHeadConfig:
    """`resolution`: RoI bins a side. `aligned`: False for PyTorchVideo's and `AVA/c2` weights."""

    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> LinearHead:
        return LinearHead(self, outputs=outputs, classes=classes)


class LinearHead(nn.Module):
    """One logit a class for each person from that person's own features."""

    def __init__(
        self, config: LinearHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(sum(o.channels for o in outputs), classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C)`, the pathways concatenated."""
        pooled = [
            roi_align(
                m.values.mean(dim=2),
                rois.boxes_px,
                rois.clip,
                size=self.config.resolution,
                stride=m.space_stride,
                aligned=self.config.aligned,
            ).amax(dim=(2, 3))
            for m in maps
        ]
        return torch.cat(pooled, dim=1)

    def forward(self, people: Tensor) -> Tensor:
        """Person features `(R, C)` → logits `(R, K)`."""
        logits: Tensor = self.classifier(self.dropout(people))
        return logits
