"""The shipped recipes for some steps in their default precision beside fp32.

    python benchmarks/precision_losses.py playground_small [--data DATA] [--steps 50]
    python benchmarks/precision_losses.py jhmdb21_small --data ../shared/data
    python benchmarks/precision_losses.py person_small --data ../shared/data/jhmdb21

Prints the mean loss of the last fifth of the steps: by default, in bf16, in fp32, and in fp32 from
another seed, whose distance is the noise that the others have to stay within. The first stage of a
recipe is run, without its tests. What the probe and the comparison of gradients say is printed too.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from tubelet.errors import Stopped
from tubelet.numerics.processor import processor
from tubelet.people.training.person_small import (
    labelled_frames,
    person_small,
    picture_of,
    playground_pictures,
)
from tubelet.people.training.train_person import train_person
from tubelet.recipes import recipe_named
from tubelet.train.recipe import Recipe
from tubelet.train.reporters import StepReport
from tubelet.train.run import run
from tubelet.train.stopping import StopFlag

WAYS = (("default", "auto", 0), ("bf16", "bf16", 0), ("fp32", "fp32", 0), ("fp32", "fp32", 1))


class Losses:
    """Keeps the losses of a run, prints its notes, and ends it before it tests."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.stop = StopFlag()

    def step(self, report: StepReport) -> None:
        self.values.append(report.loss)
        self.stop.raised = report.step == report.steps - 1

    def note(self, text: str) -> None:
        if "fp32" in text or "bf16" in text:
            print("   ", text)

    def close(self) -> None:
        """Nothing is open."""


def of_recipe(recipe: Recipe, precision: Any, seed: int, data: Path, steps: int) -> list[float]:
    # One step more than is wanted: the run is stopped before the last.
    stage = replace(recipe.stages[0], steps=steps + 1, epochs=None, precision=precision, ema=0.0)
    short = replace(recipe, seed=recipe.seed + seed, stages=(stage,))
    losses = Losses()
    with tempfile.TemporaryDirectory() as folder, suppress(Stopped):
        run(
            short,
            out=Path(folder) / "run",
            root=data,
            device=torch.device("cpu"),
            resume=False,
            reporter=losses,
            stop=losses.stop,
        )
    return losses.values


def of_person(precision: Any, seed: int, data: Path, steps: int) -> list[float]:
    truth = data / "annotations" / "jhmdb21_train_split1.csv"
    frames = labelled_frames(truth, data / "videos", every=60)
    pictures = [picture_of(image, people, complete=False) for image, people in frames]
    pictures += list(playground_pictures(100, seed=7))
    recipe = replace(
        person_small(), steps=steps, precision=precision, seed=seed, log_every=1, warmup=10
    )
    values: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        train_person(
            recipe, pictures, Path(folder), report=lambda row: values.append(row["loss_total"])
        )
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=int, default=50)
    chosen = parser.parse_args()
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, precision, seed in WAYS:
        print(f"{chosen.recipe}, {name}, seed {seed}:", flush=True)
        if chosen.recipe == "person_small":
            losses = of_person(precision, seed, chosen.data, chosen.steps)
        else:
            recipe = recipe_named(chosen.recipe)
            assert isinstance(recipe, Recipe)
            losses = of_recipe(recipe, precision, seed, chosen.data, chosen.steps)
        last = losses[-max(1, chosen.steps // 5) :]
        print(f"    first loss {losses[0]:.4f}, mean of the last {len(last)}: {mean(last):.4f}")


if __name__ == "__main__":
    main()
