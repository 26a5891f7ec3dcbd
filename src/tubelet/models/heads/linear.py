"""The `linear` head: RoIAlign → mean over time → max over space → linear (001 §2, 000 Table 1).

RoIAlign is linear in the features, so pooling every frame of the tube and averaging equals
averaging over time first and pooling once; the originals do the latter, and so do we. A maximum
over time, which MMAction2's stronger models take, comes before RoIAlign there and here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.errors import ConfigError
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.roi import over_time, pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHeadConfig(HeadConfig):
    """`resolution`: RoI bins per side. `aligned`: False for PyTorchVideo's and `AVA/c2` weights.

    `whole_frame` adds the whole frame, pooled like one large RoI, to each person's features
    (MMAction2's "context" models). `temporal_pool`: "mean", or "max" (MMAction2's "temporal-max").
    `hidden`: width of a ReLU layer before the last one, 0 for none (MMAction2's "nl-head": as wide
    as its input). `enlarge`: share of its width and height that a box grows by on either side
    before RoIAlign (UMT: 0.05 and 0.025; in training too, where the originals jitter about it).
    """

    summary: ClassVar[str] = "a person's own features, then linear"

    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5
    whole_frame: bool = False
    temporal_pool: str = "mean"
    hidden: int = 0
    enlarge: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.temporal_pool not in ("mean", "max"):
            raise ConfigError(
                "unknown pooling over time", expected="mean or max", got=self.temporal_pool
            )

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> LinearHead:
        return LinearHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, resolution=3, hidden=min(self.hidden, 16))


class LinearHead(PersonHead):
    """One logit per class for each person from that person's own features."""

    def __init__(
        self, config: LinearHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        channels = sum(o.channels for o in outputs) * (2 if config.whole_frame else 1)
        self.hidden: nn.Module = nn.Identity()
        if config.hidden:
            self.hidden = nn.Linear(channels, config.hidden)
        self.classifier = nn.Linear(config.hidden or channels, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person features `(R, C)`, the pathways concatenated."""
        config = self.config
        people = pool_people(
            maps,
            rois,
            size=config.resolution,
            aligned=config.aligned,
            time=config.temporal_pool,
            enlarge=config.enlarge,
        )
        if not config.whole_frame:
            return people
        frames = torch.cat([over_time(m.values, config.temporal_pool) for m in maps], dim=1)
        whole = F.adaptive_avg_pool2d(frames, config.resolution).amax(dim=(2, 3))
        return torch.cat([people, whole[rois.clip]], dim=1)

    def forward(self, people: Tensor) -> Tensor:
        """Person features `(R, C)` → logits `(R, K)`."""
        people = self.dropout(people)
        if self.config.hidden:
            people = torch.relu(self.hidden(people))
        logits: Tensor = self.classifier(people)
        return logits
