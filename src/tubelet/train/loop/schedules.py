"""Learning-rate schedules: a multiplier of the base rate for every step."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule:
    """Half-period cosine after a linear warm-up: η·½[cos(π·n/n_max)+1] (001 §3, 004 B.1).

    `warmup`: fraction of all steps. It rises to where the cosine, which counts from the first step,
    has come by then, and so never above it: after 15 % of the steps that is 0.945 η. `floor`: the
    multiplier at the very end.
    """

    warmup: float = 0.0
    floor: float = 0.0

    def at(self, step: int, steps: int) -> float:
        warm = self.warmup * steps
        ramp = min(1.0, (step + 1) / (warm + 1))
        cosine = 0.5 * (math.cos(math.pi * max(step, warm) / steps) + 1)
        return ramp * (self.floor + (1 - self.floor) * cosine)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSchedule:
    """`factor` at each of `milestones`, after a linear `warmup` (000 §3.1). Both count steps, or
    with `shares` they are shares of all steps."""

    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    warmup: float = 0
    shares: bool = False

    def at(self, step: int, steps: int) -> float:
        unit = steps if self.shares else 1
        ramp = min(1.0, (step + 1) / (self.warmup * unit + 1))
        return ramp * self.factor ** bisect_right(self.milestones, step / unit)


Schedule = CosineSchedule | StepSchedule
