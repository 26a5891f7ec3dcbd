"""Packages that add backbones, heads, data sources, person detectors or exports to this one.

A package is imported here only if somebody asked for it: by installing it, when it declares an
entry point in the group `tubelet.plugins`, or by naming its module in TUBELET_PLUGINS. A name that
merely stands in a file (a checkpoint, a recipe) never imports anything.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from tubelet.types import ConfigError

GROUP = "tubelet.plugins"
VARIABLE = "TUBELET_PLUGINS"


@cache
def load_plugins() -> tuple[str, ...]:
    """Import every plugin, once a process; returns their modules' names.

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
                hint=f"mend or uninstall it, or set {VARIABLE} to the plugins to load "
                "(empty for none)",
            ) from error
    return tuple(found)


def _origin(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"package {point.dist.name!r}"
