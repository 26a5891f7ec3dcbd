"""What a claim is made of: arms that are trained, figures that are compared, experiments around
them.

Every training run is one job: (experiment, arm, rate, seed). An arm's rate is chosen on validation
clips by runs of their own, the same number for every arm; the reported seeds then train at that
rate and are tested on clips that no choice has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Phase = Literal["tune", "test"]
SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one run is asked for. `seed`: of first weights, of order, and of the training films
    where they differ. `phase`: "tune" tests on validation clips, "test" on test clips. `cache`: a
    folder for what is drawn once and needed by several runs."""

    rate: float
    seed: int
    phase: Phase
    cache: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run found. `figures`: by name, in percent, higher is better; "test" (on the clips of
    the trial's phase) chooses the rate, "train" is the same measure on training clips. `macs`:
    multiply-adds of the forward passes of one training step. `parameters`: that are trained."""

    figures: Mapping[str, float]
    macs: float = 0.0
    parameters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of training. `rates`: tried on validation clips; a single one is taken as it is."""

    name: str
    run: Callable[[Trial], Outcome]
    rates: tuple[float, ...]


class Side(NamedTuple):
    """A figure of an arm."""

    arm: str
    figure: str = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`more` is larger than `less`, which may be a bound. Their difference is the effect, seed by
    seed. `exact`: it is computed, not sampled, so every seed must agree and there is no interval.
    `reason`: by hand, why it is not shown or contradicted and which experiment would be needed.
    `asked`: which claim of the issue's list it is of (asked.py). `part`: it is a finer point of
    that one, which may count as shown without it."""

    asked: str
    paper: str
    text: str
    more: Side | float
    less: Side | float
    exact: bool = False
    part: bool = False
    reason: str = ""

    def sides(self) -> list[Side]:
        """The figures that it compares, bounds left out."""
        return [s for s in (self.more, self.less) if isinstance(s, Side)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Arms that share a world, clips and steps, and the claims about them.

    `setting`: the world, nets and steps, in words. `version`: raise it when anything changes what
    a run finds; results of other versions are run again. `quick_seeds`: how many of the seeds
    `--quick` takes, at each arm's middle rate.
    """

    name: str
    setting: str
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    seeds: tuple[int, ...] = SEEDS
    tuning_seeds: tuple[int, ...] = TUNING_SEEDS
    version: int = 1
    quick_seeds: int = 2
    unit: str = "accuracy, %"
    by_name: Mapping[str, Arm] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {arm.name: arm for arm in self.arms})
        for claim in self.claims:
            for side in claim.sides():
                if side.arm not in self.by_name:
                    raise ValueError(f"{self.name}: {claim.text!r} names no arm {side.arm!r}")
        if set(self.seeds) & set(self.tuning_seeds):
            raise ValueError(f"{self.name}: a seed that chose a rate may not be reported")
