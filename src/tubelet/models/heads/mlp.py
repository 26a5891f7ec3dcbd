"""The `mlp` head: the linear head's person feature → two-layer MLP (004 B.4, after AIA).

The paper trains it with focal loss: `ActionLoss(focal_gamma=2)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.roi import pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpHeadConfig(HeadConfig):
    """`hidden`: width between the two layers. `resolution`, `aligned` as in `LinearHeadConfig`."""

    summary: ClassVar[str] = "a person's own features, then two layers"

    hidden: int = 1024
    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> MlpHead:
        return MlpHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, resolution=3, hidden=16)


class MlpHead(PersonHead):
    """One logit per class for each person from that person's own features."""

    def __init__(
        self, config: MlpHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(sum(o.channels for o in outputs), config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C)`, the pathways concatenated."""
        return pool_people(maps, rois, size=self.config.resolution, aligned=self.config.aligned)

    def forward(self, people: Tensor) -> Tensor:
        """Person features `(R, C)` → logits `(R, K)`."""
        logits: Tensor = self.classifier(self.dropout(torch.relu(self.hidden(people))))
        return logits
