"""The state that a run continues from, and whether it is this recipe's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tubelet.config import decode
from tubelet.train.loop.saving import STATE
from tubelet.train.loop.state import TrainState
from tubelet.train.recipe import Recipe
from tubelet.types import ConfigError, InputError


def previous_state(out: Path, recipe: Recipe, *, resume: bool) -> TrainState | None:
    """The checkpoint to continue from, or None for a fresh start in a fresh folder.

    Raises InputError where `out` holds a run that is not to be resumed, ConfigError where another
    recipe made it.
    """
    if out.exists() and not out.is_dir():
        raise InputError("the output folder is a file", where=out)
    path = out / STATE
    if not resume and path.exists():
        raise InputError(
            "this folder already holds a training run",
            where=out,
            hint="resume it, or choose another output folder",
            arguments=("resume", "out"),
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
            hint=f"compare with {out / 'recipe.json'}, or start afresh in another output folder",
            arguments=("out",),
        )
    return state


def _essence(recipe: Recipe) -> Recipe:
    """The recipe without what changes no weight: words, figures, loader workers, saving."""
    stages = tuple(
        replace(stage, workers=0, save_every=1, save_minutes=None, keep=1)
        for stage in recipe.stages
    )
    return replace(recipe, summary="", published=None, reproduced={}, stages=stages)
