"""000 §2.4: a classifier trained again on balanced classes raises the rare ones."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.held import Split
from benchmarks.claims.poses import POSES, PoseSource
from benchmarks.claims.trials import (
    Reports,
    class_aps,
    kept_run,
    model_of,
    outcome_of,
    ran,
    recipe_of,
    stage_of,
    tests_of,
)

from tubelet.train.data.samplers import ClassBalancedSampler, RandomSampler, Sampler
from tubelet.train.recipe import Start

COUNTS = (120, 90, 70, 52, 40, 30, 22, 16, 12, 8, 5, 3)
FIRST_STEPS, SECOND_STEPS = 200, 80
FIRST_RATE = 2e-2  # what tuning chose for the first stage
BOTTOM = len(POSES) // 2


def order_of(seed: int) -> list[int]:
    """The poses from frequent to rare: which is which differs from seed to seed."""
    return np.random.default_rng([seed, 7]).permutation(len(POSES)).tolist()  # type: ignore[no-any-return]


def source_of(trial: Trial) -> PoseSource:
    counts = dict(zip(order_of(trial.seed), COUNTS, strict=True))
    counted = tuple(counts[pose] for pose in range(len(POSES)))
    return PoseSource(name="tail", seed=trial.seed, counts=counted)


def first_stage(trial: Trial, rate: float) -> tuple[Path, Reports]:
    """Weights of the first stage, relative to the cache, and its reports; whichever run comes first
    makes them."""
    source = source_of(trial)
    recipe = recipe_of(
        model_of(source, frames=4, stride=1),
        stage_of(source, FIRST_STEPS, rate),
        tests=tests_of(**_tests(trial)),
    )
    return kept_run(trial, recipe)


def first(trial: Trial) -> Outcome:
    source = source_of(trial)
    _, reports = first_stage(trial, trial.rate)
    recipe = recipe_of(
        model_of(source, frames=4, stride=1),
        stage_of(source, FIRST_STEPS, 1.0),
        tests=tests_of(**_tests(trial)),
    )
    return outcome_of(recipe, _figures(trial, reports))


def again(trial: Trial, sampler: Sampler) -> Outcome:
    """A second stage of the classifier alone, upon the first at its own rate."""
    source = source_of(trial)
    weights, _ = first_stage(trial, FIRST_RATE)
    stage = stage_of(
        source, SECOND_STEPS, trial.rate, start=Start(weights=str(weights), required=("*",)),
        sampler=sampler, trainable=("head.classifier.*",),
    )  # fmt: skip
    recipe = recipe_of(model_of(source, frames=4, stride=1), stage, tests=tests_of(**_tests(trial)))
    with ran(trial, recipe) as (reports, _):
        return outcome_of(recipe, _figures(trial, reports))


def _tests(trial: Trial) -> dict[str, PoseSource]:
    split: Split = "val" if trial.phase == "tune" else "test"
    test = PoseSource(name=f"tail_{split}", split=split, counts=(30,) * len(POSES))
    return {"test": test, "train": source_of(trial)}


def _figures(trial: Trial, reports: Reports) -> dict[str, float]:
    aps = class_aps(reports["test"])
    ranked = [aps[pose + 1] for pose in order_of(trial.seed)]
    return {
        "test": reports["test"]["map"],
        "train": reports["train"]["map"],
        "bottom six": statistics.fmean(ranked[BOTTOM:]),
        "top six": statistics.fmean(ranked[:BOTTOM]),
    }


_FIRST, _BALANCED, _RANDOM = "first stage", "then classifier, balanced", "then classifier, random"
_RATES = (1e-3, 4e-3, 1.6e-2)
LONG_TAIL = Experiment(
    name="long tail",
    setting=(
        f"Twelve poses of one figure, from {COUNTS[0]} training clips to {COUNTS[-1]}, which is "
        f"rare by the seed. A ResNet3d from scratch, {FIRST_STEPS} steps on clips as they come, "
        f"then {SECOND_STEPS} of the classifier alone; its three rates are of that second stage."
    ),
    arms=(
        Arm(name=_FIRST, run=first, rates=(1e-2, 2e-2, 4e-2)),
        Arm(name=_BALANCED, run=lambda t: again(t, ClassBalancedSampler()), rates=_RATES),
        Arm(name=_RANDOM, run=lambda t: again(t, RandomSampler()), rates=_RATES),
    ),
    claims=(
        Claim(
            asked="9",
            paper="000 §2.4, Table 3",
            text="a decoupled class-balanced stage raises the bottom classes",
            more=Side(_BALANCED, "bottom six"),
            less=Side(_FIRST, "bottom six"),
        ),
        Claim(
            asked="9",
            paper="000 §2.4, Table 3",
            text="it is the balance that raises them, not the second stage",
            part=True,
            more=Side(_BALANCED, "bottom six"),
            less=Side(_RANDOM, "bottom six"),
        ),
    ),
    unit="mAP, %",
)
