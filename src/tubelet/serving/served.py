"""The folder of a film that is served: what lies in it, and under which names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FILM, RESULT, STOP = "film", "tubes.json", "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFilm:
    """A folder with the file `film`, and the name that its results have."""

    folder: Path
    name: str
