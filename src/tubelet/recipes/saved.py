"""Recipes as files: what `tubelet data prepare` and every run's folder hold."""

from __future__ import annotations

import json
from pathlib import Path

from tubelet.config import decode
from tubelet.errors import ConfigError, InputError
from tubelet.recipes import recipe_named
from tubelet.train.recipe import Experiment, Recipe


def read_recipe(path: Path) -> Recipe:
    """The recipe in a JSON file. Raises InputError if it is missing, ConfigError if it is not a
    recipe, naming the field."""
    if not path.is_file():
        raise InputError("recipe file not found", where=path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError("invalid JSON in the recipe file", where=path, got=error) from error
    return decode(Recipe, data, where=str(path))


def find_recipe(name: str) -> Experiment:
    """The recipe or ensemble called `name`, or the recipe in a file `name`.json; raises as
    `recipe_named` and `read_recipe` do."""
    return read_recipe(Path(name)) if name.endswith(".json") else recipe_named(name)
