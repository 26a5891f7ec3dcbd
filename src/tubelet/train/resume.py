"""The state that a run continues from, and whether it is this recipe's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tubelet.config import decode
from tubelet.errors import ConfigError, InputError
from tubelet.files import make_folder
from tubelet.models.shapes import calls_of
from tubelet.numerics.choices import Precision
from tubelet.numerics.precision import resolve
from tubelet.train.loop.saving import STATE
from tubelet.train.loop.state import TrainState
from tubelet.train.recipe import Recipe
from tubelet.train.recipe_file import identity


def previous_state(out: Path, recipe: Recipe, *, resume: bool) -> TrainState | None:
    """The checkpoint to continue from, or None for a fresh start in a new folder.

    Raises InputError where `out` holds a run that is not to be resumed, ConfigError where another
    recipe made it.
    """
    path = out / STATE
    if not resume and path.exists():
        raise InputError(
            "this folder already holds a training run",
            where=out,
            hint="resume it, or choose another output folder",
            arguments=("resume", "out"),
        )
    make_folder(out)
    if not path.is_file():
        return None
    state = TrainState.load(path)
    # Decoded, so that a field added since then with a default does not make another recipe.
    before = decode(Recipe, state.recipe, where=f"{path}, recipe")
    if identity(before) != identity(_in_precision_of(before, recipe)):
        raise ConfigError(
            "the run to resume was made by another recipe",
            where=path,
            hint=f"compare with {out / 'recipe.json'}, or start afresh in another output folder",
            arguments=("out",),
        )
    return state


def with_precision(recipe: Recipe, device: torch.device, state: TrainState | None) -> Recipe:
    """The recipe with "auto" spelt out: what the resumed run had, else what it is on `device`.

    A run that moves to another processor keeps its arithmetic."""
    if state is not None:
        recipe = _in_precision_of(decode(Recipe, state.recipe), recipe)
    stages = tuple(
        replace(stage, precision=_precision(recipe, index, device))
        for index, stage in enumerate(recipe.stages)
    )
    return replace(recipe, stages=stages)


def _precision(recipe: Recipe, index: int, device: torch.device) -> Precision:
    stage, config = recipe.stages[index], recipe.model_at(index)
    precision = resolve(stage.precision, device)
    if stage.precision != "auto" or precision == "fp32":
        return precision
    spec = stage.input or config.input
    calls = calls_of(config, (1, 3, spec.frames, *stage.clip_hw(config)))
    return resolve("auto", device, macs=sum(call.macs for call in calls.values()))


def _in_precision_of(before: Recipe, recipe: Recipe) -> Recipe:
    if len(before.stages) != len(recipe.stages):
        return recipe
    stages = tuple(
        replace(stage, precision=old.precision) if stage.precision == "auto" else stage
        for old, stage in zip(before.stages, recipe.stages, strict=True)
    )
    return replace(recipe, stages=stages)
