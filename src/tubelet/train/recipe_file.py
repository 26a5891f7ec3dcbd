"""Recipes as files that can be moved together with their data, and what makes two runs the same.

In a file, a path that begins with `./` or `../` is relative to the file's own folder. In memory
paths are absolute, or relative to the data folder (`root`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tubelet.config import decode, encode
from tubelet.errors import ConfigError, InputError
from tubelet.files import write_text
from tubelet.train.recipe import Recipe

_MOST_UPWARDS = 3
_WORDS = ("name", "summary", "cited", "assumed")
Note = Callable[[str], None]


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write `recipe`, whole or not at all; paths near the file become relative to it, so that it
    can be moved together with them."""
    data = _paths(encode(recipe), lambda text: _relative(text, path.parent.resolve()))
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_recipe(path: Path, *, root: Path | None = None, note: Note | None = None) -> Recipe:
    """The recipe in a JSON file. What is no longer where the file says is looked for by its name in
    `root`, and `note` is told.

    Raises InputError if the file is missing, ConfigError if it is not a recipe, naming the field.
    """
    if not path.is_file():
        raise InputError("recipe file not found", where=path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError("invalid JSON in the recipe file", where=path, got=error) from error
    return decode(
        Recipe, _paths(data, lambda text: _found(text, path, root, note)), where=str(path)
    )


def identity(recipe: Recipe) -> dict[str, Any]:
    """What decides a run's weights, as plain data: the recipe without words, figures, loader
    workers and saving, and of each path its last name only, since data may have moved."""
    stages = tuple(
        replace(stage, workers=0, save_every=1, save_minutes=None, keep=1)
        for stage in recipe.stages
    )
    bare = replace(
        recipe, summary="", published=None, reproduced={}, cited={}, assumed=(), stages=stages
    )
    named: dict[str, Any] = _paths(encode(bare), lambda text: text.rstrip("/").rpartition("/")[2])
    return named


def _paths(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every path in it changed."""
    if isinstance(value, dict):
        return {key: item if key in _WORDS else _paths(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_paths(item, change) for item in value]
    return change(value) if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    return "/" in text and "://" not in text and not text.startswith("hf:")


def _relative(text: str, folder: Path) -> str:
    """An absolute path seen from `folder`; as it is, where the two have little in common."""
    path = Path(text)
    if not path.is_absolute():
        return text
    seen = os.path.relpath(path, folder)
    upwards = Path(seen).parts.count("..")
    common = len(folder.parts) - upwards
    if common < 2 or upwards > _MOST_UPWARDS:
        return text
    return seen if upwards else f"./{seen}"


def _found(text: str, file: Path, root: Path | None, note: Note | None) -> str:
    own = text.startswith(("./", "../"))
    if not own and not Path(text).is_absolute():
        return text
    path = Path(os.path.normpath(file.parent.resolve() / text)) if own else Path(text)
    if not path.exists() and root is not None and (root / path.name).exists():
        other = (root / path.name).resolve()
        if note is not None:
            note(f"{path} is not there: {other} is taken")
        return str(other)
    return str(path)
