"""A reason to doubt a figure, as a program reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why a figure may not mean what it seems to.

    `kind`: a word that stays the same from version to version, such as "repeated rows".
    `message`: the reason in a sentence. `count`: how many rows, frames or classes it concerns.
    """

    kind: str
    message: str
    count: int | None = None

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, Any]:
        """A plain dict of the fields."""
        return asdict(self)
