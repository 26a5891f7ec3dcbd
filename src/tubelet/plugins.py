"""Packages that add backbones, heads, data sources, person detectors or exports to this one.

A package is imported only on request: by installing it, when it declares an
entry point in the group `tubelet.plugins`, or by naming its module in TUBELET_PLUGINS. A name in a
file (a checkpoint, a recipe) never imports anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from tubelet.errors import ConfigError

T = TypeVar("T")

GROUP = "tubelet.plugins"
VARIABLE = "TUBELET_PLUGINS"
# Modules of this package that add to a kind of a lower package, as a third party's would.
_OURS = {"tubelet.data.sources.base": "tubelet.playground.sources"}


@cache
def load_plugins() -> tuple[str, ...]:
    """Import every plugin, once per process; returns their modules' names.

    TUBELET_PLUGINS, where set, is the list instead: modules separated by commas, or nothing at
    all. Raises ConfigError for a plugin that cannot be imported.
    """
    named = os.environ.get(VARIABLE)
    if named is None:
        found = {point.module: _origin(point) for point in entry_points(group=GROUP)}
    else:
        modules = [name.strip() for name in named.split(",")]
        found = {name: f"named in {VARIABLE}" for name in modules if name}
    for module, origin in found.items():
        try:
            import_module(module)
        except Exception as error:
            raise ConfigError(
                f"the plugin {module!r} cannot be imported",
                where=origin,
                got=f"{type(error).__name__}: {error}",
                hint=f"fix or uninstall it, or set {VARIABLE} to the plugins to load "
                "(empty for none)",
            ) from error
    return tuple(found)


def load_members(kind: type) -> None:
    """Import whatever may add a member to `kind`: our own packages and every plugin."""
    if kind.__module__ in _OURS:
        import_module(_OURS[kind.__module__])
    load_plugins()


def subclasses(kind: type[T]) -> list[type[T]]:
    """Every imported subclass of `kind` that can be built, the latest definition of each."""
    # A slotted dataclass is made twice, and the first of the two lives on until it is collected;
    # a class that a notebook defines anew follows its predecessor. The latest is meant.
    found = {(c.__module__, c.__qualname__): c for c in _below(kind)}
    return [c for c in found.values() if not getattr(c, "__abstractmethods__", None)]


def families(kind: type[T], listed: Sequence[type[T]] = ()) -> tuple[type[T], ...]:
    """The members of a kind: those `listed`, then the others that plugins or the program itself
    have imported."""
    load_members(kind)
    return (*listed, *(member for member in subclasses(kind) if member not in listed))


def _below(kind: type[T]) -> Iterator[type[T]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _origin(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"package {point.dist.name!r}"
