"""001 §1.1 and Table 2: a Fast pathway beside the Slow one, and longer clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.figures import DOWN, SIDE, UP, Figure, Look, Scene, draw, figure_at
from benchmarks.claims.held import Clip, DrawnSource, Person
from benchmarks.claims.trials import NET, model_of, outcome_of, ran, recipe_of, stage_of, tests_of

from tubelet.labels import LabelSpace
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.types import InputSpec

HW = (32, 32)
FRAMES, ALPHA = 12, 4
STEPS = 160
CLIPS = 400
SWAY = (1.0, 2.2)  # pixels to either side
_LOOK = Look()
_POSES = ((SIDE, SIDE), (UP, DOWN))
_MOVES = ("still", "slow", "fast")
_NAMES = tuple(f"arms {p}, {m}" for p in ("out", "one up") for m in _MOVES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwayingSource(DrawnSource):
    """`count` clips of one person with arms out, or one up, who stands still, sways slowly
    (9 to 16 frames) or fast (3.5 to 6 frames), by as much and from any phase."""

    summary: ClassVar[str] = "somebody who sways slowly, fast or not at all"

    count: int

    def space(self) -> LabelSpace:
        return LabelSpace.of(_NAMES, exclusive=True)

    def clips(self, rng: np.random.Generator) -> list[Clip]:
        return [self._clip(rng, f"{self.split}_{n:04d}") for n in range(self.count)]

    def _clip(self, rng: np.random.Generator, video: str) -> Clip:
        pose, move = int(rng.integers(2)), int(rng.integers(3))
        figure = _swaying(rng, pose, move)
        scene = Scene(people=[figure], frames=FRAMES, hw=HW, look=_LOOK)
        person = Person(figure.box(FRAMES // 2, HW), [3 * pose + move])
        return Clip(draw(scene, rng), [person], video, 1000)


def _swaying(rng: np.random.Generator, pose: int, move: int) -> Figure:
    height = float(rng.uniform(22, 28))
    figure = figure_at(
        rng, frames=FRAMES, x=float(rng.uniform(12, HW[1] - 12)),
        ground=float(rng.uniform(height + 3, HW[0] - 1)), height=height, arms=_POSES[pose],
        legs=float(rng.choice((6, 26))), look=_LOOK,
    )  # fmt: skip
    phase, times = rng.random(2) * 2 * np.pi, np.arange(FRAMES)
    period = float(rng.uniform(9, 16) if move == 1 else rng.uniform(3.5, 6))
    waves = np.sin(phase + (2 * np.pi / period) * times[:, None] * (move > 0))
    return replace(figure, x=figure.x + rng.uniform(*SWAY) * waves[:, 0])


def source_of(trial: Trial) -> SwayingSource:
    return SwayingSource(name="swaying", seed=trial.seed, count=CLIPS)


def tested(trial: Trial) -> SwayingSource:
    split: Literal["val", "test"] = "val" if trial.phase == "tune" else "test"
    return SwayingSource(name=f"swaying_{split}", split=split, count=240)


def with_net(trial: Trial, backbone: BackboneConfig, spec: InputSpec) -> Outcome:
    source = source_of(trial)
    model = replace(model_of(source, backbone=backbone), input=spec)
    recipe = recipe_of(
        model, stage_of(source, STEPS, trial.rate), tests=tests_of(test=tested(trial), train=source)
    )
    with ran(trial, recipe) as (reports, _):
        figures = {name: reports[name]["map"] for name in ("test", "train")}
        return outcome_of(recipe, figures, size=HW)


def _spec(frames: int, stride: int) -> InputSpec:
    return InputSpec(frames=frames, stride=stride, short_side=HW[0])


SLOWFAST = SlowFastConfig(blocks=(1, 1, 1, 1), width=8, alpha=ALPHA, beta_inv=4)
SLOW = replace(NET, width=14)  # 22.4 million multiply-adds a clip, SLOWFAST 20.2
_RATES = (5e-3, 1e-2)
_SLOWFAST, _SLOW, _SHORT = "SlowFast, 12 frames", "Slow, wider, 3 of 12", "SlowFast, 8 frames"
PATHWAYS = Experiment(
    name="pathways",
    setting=(
        "One person with arms out, or one up, who stands still, sways slowly or sways fast, "
        f"by {SWAY[0]:g} to {SWAY[1]:g} pixels: "
        f"six classes, {FRAMES} frames. SlowFast sees all of them fast and every fourth slowly; "
        "Slow sees every fourth and is wider by as much as the Fast pathway costs, and a bit more. "
        f"{CLIPS} training clips, 240 test clips, {STEPS} steps."
    ),
    arms=(
        Arm(name=_SLOWFAST, run=lambda t: with_net(t, SLOWFAST, _spec(12, 1)), rates=_RATES),
        Arm(name=_SLOW, run=lambda t: with_net(t, SLOW, _spec(3, 4)), rates=_RATES),
        Arm(name=_SHORT, run=lambda t: with_net(t, SLOWFAST, _spec(8, 1)), rates=_RATES),
    ),
    claims=(
        Claim(
            asked="11",
            paper="001 §1.1",
            text="SlowFast is better than a Slow pathway of the same cost",
            more=Side(_SLOWFAST),
            less=Side(_SLOW),
        ),
        Claim(
            asked="15",
            paper="001 §2.1, Table 2; 000 §3.2",
            text="more frames are better than fewer: 12 than 8, of a sway",
            more=Side(_SLOWFAST),
            less=Side(_SHORT),
            part=True,
            reason=(
                "every seed gains, by 2 to 24 points, but in three of them eight frames already "
                "reach 92 to 96: about a period of the slow sway is enough. A claim that fewer "
                "frames suffice for tests little; hence clips of 2 and of 8 frames in *a cue in "
                "one of five segments*, added when this had been seen. Needed here: slower sways."
            ),
        ),
    ),
    version=2,  # of 1 by 0.5 to 1.4 pixels, which one seed of five did not learn (experiments.md)
    unit="mAP, %",
)
