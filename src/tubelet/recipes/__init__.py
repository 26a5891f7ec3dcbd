"""Named experiments: one module a paper or data set, each recipe a function."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable

from tubelet.recipes.jhmdb import jhmdb21_small
from tubelet.recipes.playground import playground_small
from tubelet.train.recipe import Recipe
from tubelet.types import InputError

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function for function in (playground_small, jhmdb21_small)
}


def recipe_named(name: str) -> Recipe:
    """The recipe called `name`. Raises InputError naming the nearest one."""
    if name in RECIPES:
        return RECIPES[name]()
    near = difflib.get_close_matches(name, RECIPES, n=1)
    raise InputError(
        f"no recipe is called {name!r}",
        expected=f"one of {', '.join(RECIPES)}",
        hint=f"did you mean {near[0]!r}?" if near else "`tubelet recipes` lists them",
    )


def recipe_names(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern; a plain word matches anywhere in the name."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in RECIPES if fnmatch.fnmatchcase(name, wanted)]
