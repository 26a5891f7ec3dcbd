"""000 §2.3 and Table 2: a memory bank of the film's other moments, and three ways to train with it.

Two domains, as AVA and Kinetics are: in films of A every moment is annotated, in films of K, which
look different, one; the people of the others are known, but not what they do.
"""

from __future__ import annotations

import statistics
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
    any_colour,
    draw,
    figure_at,
)
from benchmarks.claims.held import Clip, DrawnSource, Person
from benchmarks.claims.poses import FRAMES, HW
from benchmarks.claims.trials import (
    kept_run,
    model_of,
    outcome_of,
    ran,
    recipe_of,
    stage_of,
)

from tubelet.labels import LabelSpace
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.relation import TemporalRelationHeadConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.testing.config import Test
from tubelet.train.recipe import Start

MOMENTS, MIDDLE = 5, 2
HIDDEN = 0.5
FIRST_STEPS, SECOND_STEPS = 140, 60
FIRST_RATE = 1e-2
_ARMS = ((DOWN, DOWN), (SIDE, SIDE), (UP, UP))
_LOOKS = {"A": Look(), "K": Look(inverted=True, bars=(1, 3))}
_HEAD = TemporalRelationHeadConfig(width=64, heads=4, mlp=2, resolution=5, dropout=0.2)
_BANK = MemoryBankConfig(before_ms=2000, after_ms=2000, people=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmSource(DrawnSource):
    """`films` of A and of K, `MOMENTS` seconds long, in which one person holds one of three poses.
    At a moment boards may hide both arms, so that one clip is often not enough. `moments`:
    "annotated" ones, or "all". Both draw the same films."""

    summary: ClassVar[str] = "films of one figure, whose arms are hidden now and then"

    films: tuple[int, int]
    moments: Literal["annotated", "all"] = "annotated"

    def space(self) -> LabelSpace:
        return LabelSpace.of([f"arms {n}" for n in range(len(_ARMS))], exclusive=True)

    def clips(self, rng: np.random.Generator) -> list[Clip]:
        found = []
        for domain, count in zip("AK", self.films, strict=True):
            for number in range(count):
                film = np.random.default_rng([int(rng.integers(1 << 40)), number])
                pose = int(film.integers(len(_ARMS)))
                for moment in range(MOMENTS):
                    clip = _moment(film, pose, _LOOKS[domain])
                    named = f"{domain}_{self.split}_{number:04d}"
                    if domain == "A" or self.moments == "all" or moment == MIDDLE:
                        found.append(clip._replace(video=named, time_ms=1000 * (moment + 1)))
        return found


def _moment(rng: np.random.Generator, pose: int, look: Look) -> Clip:
    height = float(rng.uniform(24, 33))
    figure = figure_at(
        rng, frames=FRAMES, x=float(rng.uniform(11, HW[1] - 11)),
        ground=float(rng.uniform(height + 3, HW[0] - 1)), height=height, arms=_ARMS[pose],
        legs=float(rng.choice((6, 26))), look=look,
    )  # fmt: skip
    covers = [_cover(rng, figure.x[0], figure.ground, height, s, look) for s in (-1, 1)]
    before = covers if rng.random() < HIDDEN else []
    scene = Scene(people=[figure], frames=FRAMES, hw=HW, look=look, before=before)
    return Clip(draw(scene, rng), [Person(figure.box(FRAMES // 2, HW), [pose])], "", 0)


def _cover(
    rng: np.random.Generator, x: float, ground: float, height: float, side: int, look: Look
) -> Thing:
    """A board before everything that the arm on one side can do."""
    across, wide = x + side * 0.26 * height, 0.15 * height
    ends = np.array([[[across, ground - 1.02 * height + wide], [across, ground - 0.38 * height]]])
    return Thing(ends, np.array([wide]), any_colour(look, rng))


def _films(trial: Trial, films: tuple[int, int], **changes: str) -> FilmSource:
    return FilmSource(name="films", seed=trial.seed, films=films, **changes)  # type: ignore[arg-type]


TRAIN, TEST = (40, 160), (24, 60)


def _tests(trial: Trial, *, remembers: bool) -> tuple[Test, ...]:
    split: Literal["val", "test"] = "val" if trial.phase == "tune" else "test"

    def test(name: str, split: Literal["train", "val", "test"], films: tuple[int, int]) -> Test:
        data = FilmSource(name=f"films_{name}", split=split, seed=trial.seed, films=films)
        every = FilmSource(
            name=f"all_{name}", split=split, seed=trial.seed, films=films, moments="all"
        )
        kept = every if remembers else None
        return Test(name=name, data=data, predictions="parquet", bank_data=kept)

    return (
        test("A", split, (TEST[0], 0)),
        test("K", split, (0, TEST[1])),
        test("train", "train", (20, 0)),
    )


def _models(trial: Trial) -> tuple[ActionModelConfig, ActionModelConfig]:
    """Without memory, and with."""
    source = _films(trial, TRAIN)
    return model_of(source, head=_HEAD), model_of(source, head=_HEAD, memory=_BANK)


def first_stage(trial: Trial, model: ActionModelConfig, films: tuple[int, int]) -> str:
    """Weights of a first stage at its own rate, shared by the arms that begin so. A model with
    memory has that of the annotated moments, as training comes by them."""
    stage = stage_of(_films(trial, films), FIRST_STEPS, FIRST_RATE)
    weights, _ = kept_run(trial, recipe_of(model, stage, tests=_tests(trial, remembers=False)[:1]))
    return str(weights)


def second_stage(
    trial: Trial, model: ActionModelConfig, weights: str, *, keep_head: bool = True
) -> Outcome:
    """The head alone, on both domains, upon a backbone that no longer changes; with the memory of
    every moment, if `model` has any."""
    remembers = model.memory is not None
    every = _films(trial, TRAIN, moments="all") if remembers else None
    stage = stage_of(
        _films(trial, TRAIN), SECOND_STEPS, trial.rate,
        start=Start(
            weights=weights, parts=("*",) if keep_head else ("backbone.*",),
            required=("backbone.*",),
        ),
        trainable=("head.*",), bank="build" if remembers else None, bank_data=every,
    )  # fmt: skip
    recipe = recipe_of(model, stage, tests=_tests(trial, remembers=remembers))
    with ran(trial, recipe) as (reports, _):
        figures = {name: reports[name]["map"] for name in ("A", "K", "train")}
        figures["test"] = statistics.fmean((figures["A"], figures["K"]))
        return outcome_of(recipe, figures)


def none(trial: Trial) -> Outcome:
    plain, _ = _models(trial)
    return second_stage(trial, plain, first_stage(trial, plain, TRAIN))


def kept_head(trial: Trial) -> Outcome:
    """First with memory in A, and none in K, where there is nothing else to remember."""
    _, memory = _models(trial)
    return second_stage(trial, memory, first_stage(trial, memory, TRAIN))


def new_head(trial: Trial) -> Outcome:
    """First without memory; then another head."""
    plain, memory = _models(trial)
    return second_stage(trial, memory, first_stage(trial, plain, TRAIN), keep_head=False)


def a_alone(trial: Trial) -> Outcome:
    """First on A alone, with its memory."""
    _, memory = _models(trial)
    return second_stage(trial, memory, first_stage(trial, memory, (TRAIN[0], 0)))


_RATES = (5e-3, 1e-2)
_NONE, _KEPT = "no memory", "A + K, memory in A, then in both"
_NEW, _A = "A + K without, then a new head", "A with memory, then A + K"
MEMORY_BANK = Experiment(
    name="memory bank",
    setting=(
        f"Films of {MOMENTS} moments in which one person holds one of three poses; at half of the "
        f"moments boards hide both arms. {TRAIN[0]} films of domain A, every moment annotated, "
        f"{TRAIN[1]} of the other-looking K, one moment annotated and all remembered, as Kinetics "
        f"has it. A T-only net, {FIRST_STEPS} steps, then {SECOND_STEPS} of the head alone upon a "
        "frozen backbone, with a bank of ±2 s extracted from it; the rates are the second stage's."
    ),
    arms=(
        Arm(name=_NONE, run=none, rates=_RATES),
        Arm(name=_KEPT, run=kept_head, rates=_RATES),
        Arm(name=_NEW, run=new_head, rates=_RATES),
        Arm(name=_A, run=a_alone, rates=_RATES),
    ),
    claims=(
        Claim(
            asked="8",
            paper="000 §2.3, Table 1",
            text="T-only with a memory bank is better than without",
            more=Side(_KEPT),
            less=Side(_NONE),
        ),
        Claim(
            asked="8",
            paper="000 §3.3, Table 2",
            text="a first stage on A alone is worse on K",
            part=True,
            more=Side(_KEPT, "K"),
            less=Side(_A, "K"),
            reason=(
                "all means are as the paper's Table 2 has them (A fine, K 22 points poorer), but "
                "on K the other arm itself varies by 14. Needed: more annotated films of K, or "
                "seeds."
            ),
        ),
        Claim(
            asked="8",
            paper="000 §3.3, Table 2",
            text="keeping the first stage's head is better than a new one",
            part=True,
            more=Side(_KEPT),
            less=Side(_NEW),
            reason=(
                "even. A head is soon trained again here, upon a frozen backbone; the paper's "
                "gain, 1 point on A and 0.1 on K, is far below what five seeds resolve."
            ),
        ),
    ),
    unit="mAP, mean of A and K, %",
)
