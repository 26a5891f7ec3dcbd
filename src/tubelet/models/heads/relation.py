"""Relations between the people of a clip: the S-only and T-only heads (000 §2.2, §2.3).

A person's tube becomes S tokens: one per spatial bin, aggregated over time (`spatial_relation`),
or one per frame, aggregated over space (`temporal_relation`). For each of the S positions the
tokens of all people of the clip form a sequence; one transformer block, shared by the positions,
lets them attend to one another; the mean over positions is classified.

A memory bank's tokens join the T-only sequences, position by position. They serve as keys and
values; with a single block that is the same as joining them as tokens, whose own outputs nobody
reads. The block is pre-norm, which the paper leaves open.

Shape legend: R people of the whole batch, S positions, C pooled channels, D the block's width,
M memory tokens, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.errors import ConfigError, ShapeError
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.heads.fusion import Fusion, FusionConfig
from tubelet.models.heads.tubes import Aggregate, TubeTokens
from tubelet.numerics.layers import exporting

ATTENTION_VALUES = 1 << 24
"""Attention scores of one masked call; a larger batch is attended clip by clip."""
_TIME_WAVES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialRelationHeadConfig(HeadConfig):
    """`width`, `heads`, `mlp`: of the transformer block, `mlp` its hidden width over `width`.
    `aggregate` over time. `fusion`: with the clip's own map, before the tokens are made."""

    summary: ClassVar[str] = "relations between people, place by place (S-only)"

    width: int = 512
    heads: int = 8
    mlp: int = 4
    aggregate: Aggregate = "mean"
    fusion: FusionConfig | None = None
    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> RelationHead:
        return RelationHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        fusion = None if self.fusion is None else FusionConfig(width=16)
        return replace(self, resolution=3, width=16, heads=2, mlp=2, fusion=fusion)

    def tokens(self) -> TubeTokens:
        """How this head's tokens are made."""
        return TubeTokens(
            along="space",
            aggregate=self.aggregate,
            resolution=self.resolution,
            aligned=self.aligned,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalRelationHeadConfig(HeadConfig):
    """As `SpatialRelationHeadConfig`, with `aggregate` over space. `time_encoding` tells the block
    how far away a memory token is (sinusoids of its time, through a linear layer that starts at
    zero); the paper does not have it."""

    summary: ClassVar[str] = "relations between people, moment by moment (T-only), with memory"
    remembers: ClassVar[bool] = True

    width: int = 512
    heads: int = 8
    mlp: int = 4
    aggregate: Aggregate = "mean"
    fusion: FusionConfig | None = None
    time_encoding: bool = False
    resolution: int = 7
    aligned: bool = True
    dropout: float = 0.5

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> RelationHead:
        return RelationHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        fusion = None if self.fusion is None else FusionConfig(width=16)
        return replace(self, resolution=3, width=16, heads=2, mlp=2, fusion=fusion)

    def tokens(self) -> TubeTokens:
        """How this head's tokens are made."""
        return TubeTokens(
            along="time",
            aggregate=self.aggregate,
            resolution=self.resolution,
            aligned=self.aligned,
        )


class RelationHead(PersonHead):
    """One logit per class for each person from that person and those around them."""

    def __init__(
        self,
        config: SpatialRelationHeadConfig | TemporalRelationHeadConfig,
        *,
        outputs: Sequence[FeatureSpec],
        classes: int,
    ) -> None:
        super().__init__()
        self.config = config
        channels = sum(o.channels for o in outputs)
        self.fusion = None if config.fusion is None else Fusion(config.fusion, channels=channels)
        self.token_width = channels if config.fusion is None else config.fusion.width
        self.embed = nn.Linear(self.token_width, config.width)
        self.block = RelationBlock(
            width=config.width, heads=config.heads, mlp=config.mlp * config.width
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.width, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.when: nn.Linear | None = None
        if isinstance(config, TemporalRelationHeadConfig) and config.time_encoding:
            self.when = nn.Linear(2 * _TIME_WAVES, config.width, bias=False)
            nn.init.zeros_(self.when.weight)

    def token_layers(self) -> tuple[nn.Module, ...]:
        return () if self.fusion is None else (self.fusion,)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Person tokens `(R, S, C)`; these are what a memory bank stores."""
        return self.config.tokens()(maps, rois, self.fusion)

    def forward(self, people: Tensor, clip: Tensor, memory: Memory | None = None) -> Tensor:
        """Tokens `(R, S, C)` of people of clips `clip (R,)` → logits `(R, K)`.

        `memory.values` is `(M, S·C)`, position by position; `memory.group` counts clips as `clip`
        does. People of different clips never see each other, nor each other's memory. Raises
        ShapeError for memory of another width, ConfigError for memory in a head without.
        """
        people = people.to(self.embed.weight.dtype)
        own = self.embed(people)
        others = own[:0] if memory is None else self._recall(memory, people.shape[1])
        keys = clip if memory is None else torch.cat([clip, memory.group])
        if self.when is not None:
            own = own + self.when(time_waves(torch.zeros_like(clip)))[:, None]
        related = self.block(own, others, clip, keys)
        logits: Tensor = self.classifier(self.dropout(self.norm(related).mean(dim=1)))
        return logits

    def classify(
        self, pooled: Tensor, rois: Rois | None, memory: Memory | None, *, exclusive: bool
    ) -> Tensor:
        """Tokens `(R, S, C)` pooled under `rois` → logits `(R, K)`. Raises ShapeError without."""
        if rois is None:
            raise ShapeError(
                "missing people's clips for a relation head", expected="Rois", got=None
            )
        logits: Tensor = self(pooled, rois.clip, memory)
        return logits

    def _recall(self, memory: Memory, positions: int) -> Tensor:
        """Memory tokens `(M, S, D)`, embedded as people are, with their distance in time."""
        if not self.config.remembers:
            raise ConfigError(
                "this head has no memory", hint="use the temporal_relation head with a memory bank"
            )
        if memory.values.shape[1] != positions * self.token_width:
            raise ShapeError(
                "the memory's tokens do not fit this model",
                expected=f"{positions} positions of {self.token_width} channels",
                got=f"{memory.values.shape[1]} values per token",
                hint="rebuild the memory bank with this model",
            )
        values = memory.values.to(self.embed.weight.dtype)
        tokens: Tensor = self.embed(values.view(len(values), positions, self.token_width))
        if self.when is not None:
            tokens = tokens + self.when(time_waves(memory.delta_ms))[:, None]
        return tokens


class RelationBlock(nn.Module):
    """A pre-norm transformer block: queries are people, keys are people and memory."""

    def __init__(self, *, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                "a transformer's width must be a multiple of its heads",
                got=f"width {width}, heads {heads}",
            )
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)

    def forward(self, people: Tensor, memory: Tensor, clip: Tensor, keys: Tensor) -> Tensor:
        """People `(R, S, D)` of clips `clip (R,)`, memory `(M, S, D)`; `keys (R + M,)` is the clip
        of every key. → `(R, S, D)`."""
        normed = self.norm1(torch.cat([people, memory]))
        query = self._split(self.query(normed[: people.shape[0]]))
        key, value = (self._split(x) for x in self.key_value(normed).chunk(2, dim=-1))
        mixed = attend_within(query, key, value, clip, keys)
        x = people + self.proj(mixed.permute(2, 0, 1, 3).flatten(2))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """`(N, S, D)` → `(S, heads, N, D / heads)`."""
        count, positions, width = x.shape
        return x.view(count, positions, self.heads, width // self.heads).permute(1, 2, 0, 3)


def attend_within(
    query: Tensor, key: Tensor, value: Tensor, query_clip: Tensor, key_clip: Tensor
) -> Tensor:
    """Attention of `query (S, h, R, d)` to `key`, `value (S, h, N, d)` of the same clip only.

    Small batches take one call under a mask; large ones go clip by clip, so that 200 people in one
    clip do not cost the square of the batch.
    """
    positions, heads, queries, _ = query.shape
    if queries == 0:
        return query
    # A traced graph serves any number of people, so it cannot choose by it.
    if exporting() or positions * heads * queries * key.shape[2] <= ATTENTION_VALUES:
        mask = query_clip[:, None] == key_clip[None]
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    order, parts = [], []
    for clip in torch.unique(query_clip):
        rows, columns = (query_clip == clip).nonzero()[:, 0], (key_clip == clip).nonzero()[:, 0]
        near = key[:, :, columns], value[:, :, columns]
        parts.append(F.scaled_dot_product_attention(query[:, :, rows], *near))
        order.append(rows)
    return torch.cat(parts, dim=2)[:, :, torch.argsort(torch.cat(order))]


def time_waves(delta_ms: Tensor) -> Tensor:
    """Sines and cosines `(M, 32)` of a time difference, periods from 0.5 s to 2 minutes."""
    periods = torch.logspace(
        math.log10(0.5), math.log10(120), _TIME_WAVES, device=delta_ms.device, dtype=torch.float32
    )
    angle = 2 * math.pi * (delta_ms.float() / 1000)[:, None] / periods
    return torch.cat([angle.sin(), angle.cos()], dim=1)
