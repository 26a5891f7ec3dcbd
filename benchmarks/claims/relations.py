"""000 §2.2 and §3.3: relation heads where people act on one another, and other people's boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.figures import DOWN, SIDE, UP, Figure, Look, Scene, draw, figure_at
from benchmarks.claims.held import Clip, DrawnSource, Person
from benchmarks.claims.trials import (
    HEAD,
    NEAR,
    kept_run,
    model_of,
    outcome_of,
    recipe_of,
    stage_of,
    tests_of,
)

from tubelet.labels import LabelSpace
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.train.recipe import Recipe

HW = (32, 112)
FRAMES = 4
STEPS = 140
_LOOK = Look(bars=(2, 5), noise=12.0)
OWN = ("stand", "call", "point")
HEARS, SEES = 3, 4  # columns
_ARMS = ((DOWN, DOWN), (UP, UP), (SIDE, SIDE))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleSource(DrawnSource):
    """`count` clips of three people who stand, call or point. Whoever stands hears a caller and
    sees somebody who points, wherever they are."""

    summary: ClassVar[str] = "people who stand, call or point, and those who notice"

    count: int

    def space(self) -> LabelSpace:
        names = (*OWN, "hear a call", "see a pointer")
        return LabelSpace(
            ids=(1, 2, 3, 4, 5), names=names, groups={"own": (1, 2, 3), "noticing": (4, 5)}
        )

    def clips(self, rng: np.random.Generator) -> list[Clip]:
        return [self._clip(rng, f"{self.split}_{n:04d}") for n in range(self.count)]

    def _clip(self, rng: np.random.Generator, video: str) -> Clip:
        does = rng.choice(3, size=3, p=(0.5, 0.25, 0.25))
        slots = (rng.permutation(3) + rng.uniform(0.35, 0.65, 3)) * HW[1] / 3
        figures = [_figure(rng, int(d), float(x)) for d, x in zip(does, slots, strict=True)]
        people = []
        for figure, own in zip(figures, does, strict=True):
            noticed = [c for c, d in ((HEARS, 1), (SEES, 2)) if own == 0 and d in does]
            people.append(Person(figure.box(FRAMES // 2, HW), [int(own), *noticed]))
        scene = Scene(people=figures, frames=FRAMES, hw=HW, look=_LOOK)
        return Clip(draw(scene, rng), people, video, 1000)


def _figure(rng: np.random.Generator, does: int, x: float) -> Figure:
    height = float(rng.uniform(22, 28))
    return figure_at(
        rng, frames=FRAMES, x=x, ground=float(rng.uniform(height + 3, HW[0] - 1)), height=height,
        arms=_ARMS[does], legs=float(rng.choice((6, 26))), look=_LOOK,
    )  # fmt: skip


def source_of(trial: Trial) -> PeopleSource:
    return PeopleSource(name="people", seed=trial.seed, count=300)


def tested(trial: Trial) -> PeopleSource:
    split: Literal["val", "test"] = "val" if trial.phase == "tune" else "test"
    return PeopleSource(name=f"people_{split}", split=split, count=150)


def recipe_for(trial: Trial, head: HeadConfig) -> Recipe:
    source = source_of(trial)
    return recipe_of(
        model_of(source, backbone=NEAR, head=head, side=HW[0]),
        stage_of(source, STEPS, trial.rate),
        tests=tests_of(test=tested(trial), train=source),
    )


def with_head(trial: Trial, head: HeadConfig) -> Outcome:
    recipe = recipe_for(trial, head)
    _, reports = kept_run(trial, recipe)
    figures = {
        "test": reports["test"]["groups"]["noticing"],
        "train": reports["train"]["groups"]["noticing"],
        "own actions": reports["test"]["groups"]["own"],
    }
    return outcome_of(recipe, figures, size=HW)


S_ONLY = SpatialRelationHeadConfig(width=64, heads=4, mlp=2, resolution=3, dropout=0.2)
T_ONLY = TemporalRelationHeadConfig(width=64, heads=4, mlp=2, resolution=5, dropout=0.2)
_RATES = (5e-3, 1e-2)
_LINEAR, _S, _T = "linear", "S-only", "T-only"
RELATIONS = Experiment(
    name="relations",
    setting=(
        "Three people in a row who stand, call or point; whoever stands hears a caller and sees a "
        "pointer, wherever they are, and neighbours are partly inside the features of a person. "
        f"300 training clips, 150 test clips, {STEPS} steps; the measure is the mean AP of hearing "
        "and seeing."
    ),
    arms=(
        Arm(name=_LINEAR, run=lambda t: with_head(t, HEAD), rates=_RATES),
        Arm(name=_S, run=lambda t: with_head(t, S_ONLY), rates=_RATES),
        Arm(name=_T, run=lambda t: with_head(t, T_ONLY), rates=_RATES),
    ),
    claims=(
        Claim(
            asked="7",
            paper="000 §2.2, Table 1",
            text="S-only is better than linear on interactions",
            more=Side(_S),
            less=Side(_LINEAR),
        ),
        Claim(
            asked="7",
            paper="000 §2.2, Table 1",
            text="T-only is better than linear on interactions",
            more=Side(_T),
            less=Side(_LINEAR),
        ),
    ),
    unit="mAP of hearing and seeing others, %",
)
