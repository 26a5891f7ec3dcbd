"""What a memory's gates did in a training step: a gate at 0 or 1 lets no gradient pass.

Shape legend: B clips, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SATURATED = 0.01
"""A gate is saturated this close to 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """`saturation`: share of gates within 0.01 of 0 or 1. `spread`: standard deviation of a
    channel's gate over the clips, mean of all channels; 0 where every clip has the same gates."""

    saturation: float
    spread: float


class GateStatistics:
    """Sums over the gates of a step, however many calls they come in."""

    def __init__(self) -> None:
        self._clips = 0
        self._sums: Tensor | None = None

    def see(self, gates: Tensor) -> None:
        """Count `gates (B, C)`. Nothing is copied off their device."""
        found = gates.detach().float()
        beyond = (found < SATURATED) | (found > 1 - SATURATED)
        sums = torch.stack([beyond.float().sum(0), found.sum(0), found.square().sum(0)])
        if self._sums is not None and self._sums.device != sums.device:  # the model has moved
            self._sums, self._clips = None, 0
        self._sums = sums if self._sums is None else self._sums + sums
        self._clips += len(found)

    def take(self) -> GateReport | None:
        """The report of what was seen since the last one; None where nothing was."""
        sums, clips = self._sums, self._clips
        self._sums, self._clips = None, 0
        if sums is None or not clips:
            return None
        beyond, mean, square = sums / clips
        spread = (square - mean.square()).clamp(min=0).sqrt().mean()
        saturation, spread = torch.stack([beyond.mean(), spread]).tolist()
        return GateReport(saturation=saturation, spread=spread)
