"""Collaborative memory: clips of one video share what they saw (004 §3.1–3.2).

Each clip pushes a contribution, the video's memory is their mean, and each clip takes from it what
it needs. Neither depends on how many clips there are, so the memory may as well come from clips
that are not in the batch (multi-iteration, streaming, the ten centre crops at test time).

On SlowFast the memory sits on the Slow pathway's res5 only. The paper attaches it "to the last
convolutional layer"; the two pathways end in maps of different lengths that only pooling joins, the
Slow one already holds the Fast features of every stage, and its cost alone explains the published
one (36 → 37, 126 → 128, 131 → 135 GFLOPs). Non-local blocks sit on it for the same reason.

What is popped, M̂, is a product of three projections of features whose common mean, after a ReLU, is
several times their variation: left as it is, it grows with the cube of what it is made from, is
nearly the same for all clips, and drives every gate to 0 or 1, where no gradient passes. By default
a batch norm over the clips (`norm="batch"`) precedes `W_O`; `norm="none"` is the paper to the
letter, and what checkpoints of before have.

Shape legend: B clips, C channels, D = C/α, P positions of a clip (T·h·w).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.errors import ConfigError, ShapeError
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.layers.norms import RowNorm
from tubelet.models.memory.gates import GateStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class CollaborativeMemoryConfig:
    """`kind`: "associative" (Eq. 2–3) or "avgpool". `infusion`: "gating" (Eq. 4) or "residual".

    `reduction`: α = C/D. `clips`: N, for training and testing; in detection they are `stride_ms`
    apart. `positions`: what a clip pushes is the "mean" over its P positions or, to the letter of
    Eq. 2, their "sum". The mean differs by a constant that the weights absorb, and keeps the
    memory's scale when a clip is larger at test time than it was in training. `norm` of M̂: "batch"
    or, as printed, "none".
    """

    before: ClassVar[Mapping[str, Any]] = {"norm": "none"}

    kind: Literal["associative", "avgpool"] = "associative"
    infusion: Literal["gating", "residual"] = "gating"
    reduction: int = 4
    clips: int = 5
    stride_ms: int = 1000
    positions: Literal["mean", "sum"] = "mean"
    norm: Literal["batch", "none"] = "batch"

    def __post_init__(self) -> None:
        if min(self.reduction, self.clips, self.stride_ms) < 1:
            raise ConfigError(
                "a collaborative memory needs at least one clip, α ≥ 1 and a stride",
                got=f"clips {self.clips}, reduction {self.reduction}, stride {self.stride_ms} ms",
            )

    def build(self, outputs: Sequence[FeatureSpec]) -> CollaborativeMemory:
        return CollaborativeMemory(self, channels=outputs[0].channels)


class CollaborativeMemory(nn.Module):
    """Push, Pop and infusion on the first map of a backbone; other maps pass unchanged.

    `W_O` starts at zero, so that a trained backbone is only rescaled (gating) or untouched
    (residual) when the memory joins it. `gates`: what the gates were while training.
    """

    def __init__(self, config: CollaborativeMemoryConfig, *, channels: int) -> None:
        super().__init__()
        self.config = config
        self.width = channels // config.reduction
        if not self.width:
            raise ConfigError(
                "the reduction leaves the memory no channel",
                expected=f"α ≤ {channels}",
                got=config.reduction,
            )
        if config.kind == "associative":
            self.key = nn.Linear(channels, self.width, bias=False)
            self.value = nn.Linear(channels, self.width, bias=False)
            self.query = nn.Linear(channels, self.width, bias=False)
        else:
            self.value = nn.Linear(channels, self.width, bias=False)
        self.norm = RowNorm(self.width) if config.norm == "batch" else nn.Identity()
        self.out = nn.Linear(self.width, channels, bias=False)
        self.gates = GateStatistics()
        nn.init.zeros_(self.out.weight)

    def push(self, maps: Sequence[FeatureMap]) -> Tensor:
        """What each clip contributes: `(B, D, D)`, or `(B, 1, D)` of average pooling."""
        x = _positions(maps[0].values)
        if self.config.kind == "avgpool":
            pooled: Tensor = self.value(x.mean(dim=1, keepdim=True))
            return pooled
        pushed: Tensor = self.key(x).transpose(1, 2) @ self.value(x)
        return pushed / x.shape[1] if self.config.positions == "mean" else pushed

    def pop(self, memory: Tensor, features: Tensor) -> Tensor:
        """Memories `(B, D, D)` (or `(B, 1, D)`) for features `(B, P, C)` → `(B, P, D)` (or 1)."""
        if self.config.kind == "avgpool":
            return memory
        popped: Tensor = self.query(features) @ memory
        return popped

    def infuse(self, maps: Sequence[FeatureMap], memory: Tensor) -> tuple[FeatureMap, ...]:
        """The maps with the first one enriched by its clip's memory, `(B, D, D)` or `(B, 1, D)`.

        Gating needs only the mean of Pop over the positions. Pop is linear, so the mean is taken
        first: the paper's result for a third of its cost. The norm is then over the clips' means.
        """
        first = maps[0]
        x = first.values
        if self.config.infusion == "gating":
            popped = self.pop(memory, _positions(x).mean(dim=1, keepdim=True))
            gate = torch.sigmoid(self.out(self._normed(popped)))[:, 0]
            if self.training:
                self.gates.see(gate)
            enriched = x * (1 + gate[..., None, None, None])
        else:
            added = self.out(self._normed(self.pop(memory, _positions(x)))).transpose(1, 2)
            shape = x.shape[2:] if added.shape[2] > 1 else (1, 1, 1)
            enriched = x + added.reshape(*added.shape[:2], *shape)
        return (replace(first, values=enriched), *maps[1:])

    def _normed(self, popped: Tensor) -> Tensor:
        """M̂ `(B, P, D)` with each channel normalised over clips and positions."""
        normed: Tensor = self.norm(popped.transpose(1, 2)).transpose(1, 2)
        return normed

    def forward(
        self, maps: Sequence[FeatureMap], group: Tensor | None = None
    ) -> tuple[FeatureMap, ...]:
        """Maps of B clips, each enriched by the clips of its `group (B,)`; None: each by itself,
        which is self-attention within the clip."""
        return self.infuse(maps, share(self.push(maps), group))


def share(pushed: Tensor, group: Tensor | None) -> Tensor:
    """Each clip's memory: the mean of what the clips of its group pushed, `(B, …)` → `(B, …)`."""
    if group is None:
        return pushed
    if group.shape != pushed.shape[:1]:
        raise ShapeError(
            "one group number per clip is needed",
            expected=f"({len(pushed)},)",
            got=tuple(group.shape),
        )
    _, number, count = torch.unique(group, return_inverse=True, return_counts=True)
    total = pushed.new_zeros(len(count), *pushed.shape[1:]).index_add(0, number, pushed)
    means: Tensor = total / count.view(-1, *[1] * (pushed.ndim - 1)).to(total.dtype)
    return means[number]


def _positions(x: Tensor) -> Tensor:
    """`(B, C, T, h, w)` → `(B, T·h·w, C)`."""
    return x.flatten(2).transpose(1, 2)
