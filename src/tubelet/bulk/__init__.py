"""Many films on many machines: a manifest, shards of it, Parquet parts and a marker a film.

`FilmDetector` is the one class that others' machinery needs: batches of paths in, a table out.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["FilmDetector"]

if TYPE_CHECKING:
    from tubelet.bulk.detector import FilmDetector


def __getattr__(name: str) -> Any:
    # `tubelet run --status` asks a folder, and needs no torch for it.
    if name not in __all__:
        raise AttributeError(f"module 'tubelet.bulk' has no attribute {name!r}")
    return getattr(import_module("tubelet.bulk.detector"), name)
