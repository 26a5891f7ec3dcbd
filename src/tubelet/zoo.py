"""Released weights, one row each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from tubelet.types import InputError

FOLDER = Path(__file__).with_name("weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Weights that ship inside the package, with their model card beside them."""

    name: str
    summary: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        return FOLDER / f"{self.name}.md"


RELEASES = {
    row.name: row
    for row in (
        Release(name="playground_small", summary="17 actions of the rendered playground"),
        Release(name="jhmdb21_small", summary="21 actions of JHMDB-21, split 1"),
        Release(name="person_small", summary="person detector, for people's boxes"),
    )
}
ACTION_MODELS = ("jhmdb21_small", "playground_small")


def weights_path(name: str | Path) -> Path:
    """The file behind a release's name or a path. Raises InputError naming the nearest release."""
    if str(name) in RELEASES:
        return RELEASES[str(name)].path
    path = Path(name)
    if path.suffix == ".safetensors" or path.exists():
        if not path.is_file():
            raise InputError("no such weights file", where=path, hint="check the path")
        return path
    near = difflib.get_close_matches(str(name), RELEASES, n=1)
    raise InputError(
        f"no released weights are called {str(name)!r}",
        expected=f"one of {', '.join(RELEASES)}, or a .safetensors file",
        hint=f"did you mean {near[0]!r}?" if near else "`tubelet models` lists them",
    )
