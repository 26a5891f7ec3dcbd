"""Recipes by name or from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tubelet.recipes import recipe_named
from tubelet.train.recipe import Experiment
from tubelet.train.recipe_file import read_recipe


def find_recipe(
    name: str, *, root: Path | None = None, note: Callable[[str], None] | None = None
) -> Experiment:
    """The recipe or ensemble called `name`, or the recipe in a file `name`.json; raises as
    `recipe_named` and `read_recipe` do."""
    if not name.endswith(".json"):
        return recipe_named(name)
    return read_recipe(Path(name), root=root, note=note)
