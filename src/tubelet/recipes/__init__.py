"""Named experiments: one module per paper or data set, one recipe per row of a results table."""

from __future__ import annotations

import fnmatch
from functools import cache

from tubelet.errors import ConfigError, InputError, did_you_mean
from tubelet.recipes import (
    cofinetuning,
    collaborative_ava,
    collaborative_clips,
    jhmdb,
    playground,
    relation,
    slowfast_ava,
)
from tubelet.recipes.notes import cofinetuning as notes_002
from tubelet.recipes.notes import collaborative as notes_004
from tubelet.recipes.notes import relation as notes_000
from tubelet.recipes.notes import slowfast_ava as notes_001
from tubelet.recipes.notes.base import documented
from tubelet.train.recipe import Experiment

_PAPERS = (
    (slowfast_ava, notes_001.NOTES),
    (relation, notes_000.NOTES),
    (cofinetuning, notes_002.NOTES),
    (collaborative_clips, notes_004.NOTES),
    (collaborative_ava, notes_004.NOTES),
)


@cache
def experiments() -> dict[str, Experiment]:
    """Every recipe and ensemble by name: our own first, then the papers'."""
    found: dict[str, Experiment] = {}
    ours = [playground.playground_small(), jhmdb.jhmdb21_small()]
    papers = (documented(row, notes) for paper, notes in _PAPERS for row in paper.experiments())
    for one in (*ours, *papers):
        if one.name in found:
            raise ConfigError(f"duplicate recipe {one.name!r}")
        found[one.name] = one
    return found


def recipe_named(name: str) -> Experiment:
    """The recipe or ensemble called `name`. Raises InputError naming the nearest ones."""
    found = experiments()
    if name in found:
        return found[name]
    raise InputError(
        f"unknown recipe {name!r}",
        hint=did_you_mean(name, found, most=3) or "`tubelet recipes` lists them",
    )


def recipe_names(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern; a plain word matches anywhere in the name."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in experiments() if fnmatch.fnmatchcase(name, wanted)]
