"""The classification head: mean over time and over a spatial window → linear, at each position.

PySlowFast slides a window as large as the training crop's map over a larger test frame and averages
the *probabilities* of the positions; a window of None pools the whole map, which is one position.

Shape legend: B clips, P positions, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import Head, HeadConfig, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipHeadConfig(HeadConfig):
    """`window`: cells a side that one position averages (training crop // 32 in PySlowFast).
    `hidden`: width of a ReLU layer without bias before the last one, 0 for none (X3D: 2048).
    """

    summary: ClassVar[str] = "whole clips: mean over time and space, then linear"
    task: ClassVar[Task] = "classification"

    window: int | None = None
    dropout: float = 0.5
    hidden: int = 0

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> ClipHead:
        return ClipHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, hidden=min(self.hidden, 16))


class ClipHead(Head):
    """One logit per class for each position of a clip."""

    def __init__(
        self, config: ClipHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        channels = sum(o.channels for o in outputs)
        self.hidden: nn.Module = nn.Identity()
        if config.hidden:
            self.hidden = nn.Linear(channels, config.hidden, bias=False)
        self.classifier = nn.Linear(config.hidden or channels, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool(self, maps: Sequence[FeatureMap], rois: Rois | None = None) -> Tensor:
        """Clip features `(B, P, C)`, the pathways concatenated."""
        frames = [m.values.mean(dim=2) for m in maps]
        window = self.config.window
        if window is None:
            return torch.cat([f.mean(dim=(2, 3)) for f in frames], dim=1)[:, None]
        pooled = [F.avg_pool2d(f, [min(window, s) for s in f.shape[2:]], 1) for f in frames]
        return torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)

    def forward(self, clips: Tensor) -> Tensor:
        """Clip features `(B, P, C)` → logits of each position `(B, P, K)`."""
        if self.config.hidden:
            clips = torch.relu(self.hidden(clips))
        logits: Tensor = self.classifier(self.dropout(clips))
        return logits

    def classify(
        self, pooled: Tensor, rois: Rois | None, memory: Memory | None, *, exclusive: bool
    ) -> Tensor:
        """Clip features `(B, P, C)` → logits `(B, K)`, the positions joined by probability."""
        return join_positions(self(pooled), exclusive=exclusive)


def join_positions(logits: Tensor, *, exclusive: bool) -> Tensor:
    """`(B, P, K)` → `(B, K)`: logits whose probabilities are the mean over the positions."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    logits = logits.float()
    if exclusive:
        return logits.log_softmax(-1).logsumexp(1)
    yes, no = F.logsigmoid(logits).logsumexp(1), F.logsigmoid(-logits).logsumexp(1)
    return yes - no
