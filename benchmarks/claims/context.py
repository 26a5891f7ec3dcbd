"""001 §2.1: a non-local context branch, where what surrounds people says what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.figures import (
    DOWN,
    SIDE,
    UP,
    Look,
    Scene,
    Thing,
    draw,
    figure_at,
)
from benchmarks.claims.held import Clip, DrawnSource, Person
from benchmarks.claims.trials import (
    HEAD,
    NEAR,
    model_of,
    outcome_of,
    ran,
    recipe_of,
    stage_of,
    tests_of,
)

from tubelet.labels import LabelSpace
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig

HW = (32, 112)
FRAMES = 4
STEPS = 200
_LOOK = Look()
CLIPS = 800
EDGE = 24  # pixels within which somebody stands off one side
APART = 50  # pixels from the person to where the ground begins, at least
_ARMS = ((DOWN, DOWN), (SIDE, UP))
_GROUNDS = np.array([[0.15, 0.65, 0.2], [0.15, 0.35, 0.8]])  # RGB of a lawn and of a pool
_NAMES = ("stand, lawn", "stand, pool", "reach, lawn", "reach, pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceSource(DrawnSource):
    """`count` clips of one person who stands or reaches, and a lawn or a pool further off: what it
    is called depends on both."""

    summary: ClassVar[str] = "somebody, and a lawn or a pool further off"

    count: int

    def space(self) -> LabelSpace:
        return LabelSpace.of(_NAMES, exclusive=True)

    def clips(self, rng: np.random.Generator) -> list[Clip]:
        return [self._clip(rng, f"{self.split}_{n:04d}") for n in range(self.count)]

    def _clip(self, rng: np.random.Generator, video: str) -> Clip:
        reaches, pool = int(rng.integers(2)), int(rng.integers(2))
        height = float(rng.uniform(22, 28))
        off = float(rng.uniform(12, EDGE))
        figure = figure_at(
            rng, frames=FRAMES, x=off if rng.random() < 0.5 else HW[1] - off,
            ground=float(rng.uniform(height + 3, HW[0] - 1)), height=height, arms=_ARMS[reaches],
            legs=float(rng.choice((6, 26))), look=_LOOK,
        )  # fmt: skip
        ground = _ground(rng, pool, away_from=float(figure.x[0]))
        scene = Scene(people=[figure], frames=FRAMES, hw=HW, look=_LOOK, behind=[ground])
        person = Person(figure.box(FRAMES // 2, HW), [2 * reaches + pool])
        return Clip(draw(scene, rng), [person], video, 1000)


def _ground(rng: np.random.Generator, pool: int, away_from: float) -> Thing:
    """Grass or water on the other side of the picture, in a shade of its own."""
    mirrored = away_from > HW[1] / 2
    off = HW[1] - away_from if mirrored else away_from
    near = float(rng.uniform(off + APART, HW[1] - 30))
    rows = np.arange(float(rng.uniform(6, 12)), HW[0], 3)
    sides = [near + 2, near + float(rng.uniform(26, 30))]
    across = [HW[1] - x if mirrored else x for x in sides]
    ends = np.stack([np.stack([np.full(len(rows), x), rows], -1) for x in across], 1)
    shade = np.clip(_GROUNDS[pool] + rng.normal(0, 0.12, 3), 0, 1)
    return Thing(ends, np.full(len(rows), 2.0), shade)


def source_of(trial: Trial) -> PlaceSource:
    return PlaceSource(name="places", seed=trial.seed, count=CLIPS)


def tested(trial: Trial) -> PlaceSource:
    split: Literal["val", "test"] = "val" if trial.phase == "tune" else "test"
    return PlaceSource(name=f"places_{split}", split=split, count=240)


def with_head(trial: Trial, head: HeadConfig) -> Outcome:
    source = source_of(trial)
    recipe = recipe_of(
        model_of(source, backbone=NEAR, head=head, side=HW[0]),
        stage_of(source, STEPS, trial.rate),
        tests=tests_of(test=tested(trial), train=source),
    )
    with ran(trial, recipe) as (reports, _):
        figures = {name: reports[name]["map"] for name in ("test", "train")}
        return outcome_of(recipe, figures, size=HW)


_RATES = (5e-3, 1e-2)
_LINEAR, _CONTEXT = "linear", "non-local context"
CONTEXT = Experiment(
    name="context",
    setting=(
        "One person who stands or reaches off one side of a picture 112 pixels wide, and a lawn "
        f"or a pool at least {APART} pixels off, beyond the reach of the person's features; "
        f"their name says both. {CLIPS} training clips, 240 test clips, {STEPS} steps."
    ),
    arms=(
        Arm(name=_LINEAR, run=lambda t: with_head(t, HEAD), rates=_RATES),
        Arm(
            name=_CONTEXT,
            run=lambda t: with_head(t, NonlocalContextHeadConfig(resolution=5, dropout=0.2)),
            rates=_RATES,
        ),
    ),
    claims=(
        Claim(
            asked="12",
            paper="001 §2.1, Table 2",
            text="a non-local context branch is better than none",
            more=Side(_CONTEXT),
            less=Side(_LINEAR),
        ),
    ),
    version=5,  # 2 and 4 were not shown, 1 and 3 only tuned (docs/experiments.md)
    unit="mAP, %",
)
