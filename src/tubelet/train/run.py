"""From a recipe to a trained and tested model: the composition root of training."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from tubelet.config import decode, encode
from tubelet.files import write_text
from tubelet.models.detector import ActionModel
from tubelet.models.weights import save_model, weights_hash
from tubelet.parallel.processes import World
from tubelet.testing.run_test import Tested, run_test
from tubelet.train.check import check
from tubelet.train.context import Running
from tubelet.train.loop.reporters import Reporter
from tubelet.train.loop.saving import STATE, StopFlag
from tubelet.train.loop.state import TrainState
from tubelet.train.model.tied import Family
from tubelet.train.recipe import Recipe
from tubelet.train.stage import begin, train_stage
from tubelet.types import ConfigError, InputError

WEIGHTS, RECIPE = "model.safetensors", "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run left behind; `tests` in the recipe's order."""

    weights: Path
    weights_sha256: str
    tests: tuple[Tested, ...]


def run(
    recipe: Recipe,
    *,
    out: Path,
    root: Path,
    device: torch.device,
    resume: bool,
    reporter: Reporter,
    world: World | None = None,
    stop: StopFlag | None = None,
    fsdp: bool = False,
) -> Outcome:
    """Train every stage of `recipe`, test the result, and leave everything under `out`.

    `root`: the data folder. With `resume`, continue from `out`'s last checkpoint, bit for bit on
    the CPU in fp32. `world`: the processes that train together, with `fsdp` each holding a part of
    the backbone. A raised `stop` ends the run after the step in hand. Raises InputError when `out`
    already holds a run and `resume` is off, and as `check` before anything runs.
    """
    world, stop = world or World(), stop or StopFlag()
    running = Running(
        root=root, out=out, device=device, reporter=reporter, world=world, stop=stop, fsdp=fsdp
    )
    check(recipe, running)
    state = _previous(out, recipe, resume=resume)
    world.wait()
    if world.first:
        write_text(out / RECIPE, json.dumps(encode(recipe), indent=2) + "\n")
    family = _train(recipe, running, state)
    if world.first:
        _save(recipe, family, out)
    reporter.note("testing")
    tests = []
    for test in recipe.tests:
        tested = run_test(
            family.model_of(test.part) if test.part else family.main,
            test, root=root, out=out, device=device, world=world, note=reporter.note,
        )  # fmt: skip
        tests += [tested] if tested is not None else []
    return Outcome(
        weights=out / WEIGHTS, weights_sha256=weights_hash(family.main), tests=tuple(tests)
    )


def _train(recipe: Recipe, running: Running, state: TrainState | None) -> Family:
    """Every stage in turn, beginning with the one that `state` was saved in."""
    model: ActionModel | None = None
    family: Family | None = None
    for index in range(len(recipe.stages)):
        if state is not None and index < state.stage:
            continue
        resumed = state if state is not None and index == state.stage else None
        if resumed is not None:
            model = recipe.model_at(index).build()
        else:
            model = begin(recipe, index, model, running)
        family = train_stage(recipe, index, model, running, resumed)
        model = family.main
    assert family is not None  # a recipe has at least one stage
    return family


def _save(recipe: Recipe, family: Family, out: Path) -> None:
    """The main model's weights, and beside them those of each dataset's own model."""
    provenance = {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "date": datetime.now(UTC).date().isoformat(),
    }
    for name, model in family.models().items():
        path = out / (WEIGHTS if name is None else f"model_{name}.safetensors")
        save_model(path, model, provenance=provenance)


def _previous(out: Path, recipe: Recipe, *, resume: bool) -> TrainState | None:
    """The checkpoint to continue from, or None for a fresh start in a fresh folder."""
    if out.exists() and not out.is_dir():
        raise InputError("the output folder is a file", where=out)
    path = out / STATE
    if not resume and path.exists():
        raise InputError(
            "this folder already holds a training run",
            where=out,
            hint="continue it with --resume, or choose another --out",
        )
    out.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return None
    state = TrainState.load(path)
    # Decoded, so that a field added since then with a default does not make another recipe.
    before = decode(Recipe, state.recipe, where=f"{path}, recipe")
    if _essence(before) != _essence(recipe):
        raise ConfigError(
            "the run to resume was made by another recipe",
            where=path,
            hint=f"compare with {out / RECIPE}, or start afresh in another --out",
        )
    return state


def _essence(recipe: Recipe) -> Recipe:
    """The recipe without what changes no weight: words, figures, loader workers, saving."""
    stages = tuple(
        replace(stage, workers=0, save_every=1, save_minutes=None, keep=1)
        for stage in recipe.stages
    )
    return replace(recipe, summary="", published=None, reproduced={}, stages=stages)
