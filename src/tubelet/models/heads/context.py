"""The `nonlocal_context` head of the AVA 2019 entry (001 §2.1).

"A non-local context branch that computes self-attention between global-pooled features and the
region features, which is concatenated to the region features before classification." The paper
gives no more. Our reading: a person's token and the tokens of their clip, pooled over `grid`×`grid`
parts of the picture (1: the whole picture, as it says), form one short sequence; what the person's
query gathers from it is concatenated to the person's feature.

What was gathered passes a batch norm, as in a non-local block. Features after a ReLU have a common
mean several times their variation: over it, a layer norm (`norm="layer"`, which checkpoints of
before have) hides what differs between clips, a batch norm takes the common mean away.

Shape legend: R people, C channels of all pathways, G = grid² context tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.layers.norms import RowNorm
from tubelet.models.roi import pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class NonlocalContextHeadConfig(HeadConfig):
    """`width`: of queries, keys and values, None for half the channels, as non-local blocks have
    it. `grid`: parts per side of the picture. `norm` of what was gathered: "batch" or "layer". The
    rest as in `LinearHeadConfig`."""

    summary: ClassVar[str] = "a person and what attention gathers from the whole clip"
    before: ClassVar[Mapping[str, Any]] = {"norm": "layer"}

    width: int | None = None
    grid: int = 1
    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5
    norm: Literal["batch", "layer"] = "batch"

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> NonlocalContextHead:
        return NonlocalContextHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, resolution=3)


class NonlocalContextHead(PersonHead):
    """One logit per class for each person from that person and what the clip shows as a whole."""

    def __init__(
        self, config: NonlocalContextHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        channels = sum(o.channels for o in outputs)
        width = config.width or max(1, channels // 2)
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.out = nn.Linear(width, channels)
        self.norm = RowNorm(channels) if config.norm == "batch" else nn.LayerNorm(channels)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * channels, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """`(R, 1 + G, C)`: each person's feature, then the context tokens of their clip."""
        config = self.config
        people = pool_people(maps, rois, size=config.resolution, aligned=config.aligned)
        frames = torch.cat([m.values.mean(dim=2) for m in maps], dim=1)
        context = F.adaptive_avg_pool2d(frames, config.grid).flatten(2).transpose(1, 2)
        return torch.cat([people[:, None], context[rois.clip]], dim=1)

    def forward(self, people: Tensor) -> Tensor:
        """`(R, 1 + G, C)` → logits `(R, K)`."""
        query = self.query(people[:, :1])
        mixed = F.scaled_dot_product_attention(query, self.key(people), self.value(people))
        context = self.norm(self.out(mixed[:, 0]))
        logits: Tensor = self.classifier(self.dropout(torch.cat([people[:, 0], context], dim=1)))
        return logits
