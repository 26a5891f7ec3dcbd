"""Checkpoints of other projects, one row each: where they are, what their tensors do not determine.

`published.json` beside this file holds the rows; `scripts/published_table.py` writes it from the
facts that were collected about each file. Rows that cannot be offered are listed with their reason.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tubelet.config import decode
from tubelet.errors import ConfigError

TABLE = Path(__file__).with_name("published.json")
CONVERSION = 1
"""Incremented when a bug in the converters is fixed, so that cached files are converted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """One published checkpoint.

    `prefix`: the first digits of its sha256 that its file name carries. `facts`: what the tensors
    do not say, as `tubelet.convert.facts.Facts` names it; `labels`: a label set's name, None where
    nobody published the classes' names. `originals`: a name of `tubelet.media.originals`, the
    upstream project's own preprocessing. `config`: the upstream file that says so. `parameters` of
    the model, from which the size of the converted file follows. `refused`: why the row is not
    offered.
    """

    name: str
    source: str
    family: str
    data: str
    task: str
    url: str
    licence: str
    alternative: str | None = None
    prefix: str | None = None
    metric: str | None = None
    score: float | None = None
    protocol: str | None = None
    config: str | None = None
    labels: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    originals: str | None = None
    parameters: int | None = None
    notes: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def by_hand(self) -> bool:
        """Whether only a person in front of a browser can download it."""
        return urlsplit(self.url).hostname == "drive.google.com"

    @property
    def file(self) -> str:
        """The name of the published file; an address of Google Drive carries none."""
        name = unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])
        return f"{self.name}.pth" if self.by_hand and "." not in name else name

    @property
    def bytes(self) -> int | None:
        """About how long the converted file is: four bytes per parameter."""
        return None if self.parameters is None else 4 * self.parameters

    @property
    def commercial(self) -> bool:
        """Whether the licence allows commercial use."""
        return "NC" not in self.licence

    @property
    def key(self) -> str:
        """Digits that change with anything that the converted file depends on."""
        said = [CONVERSION, self.labels, self.facts, self.originals, self.prefix]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """A plain dict, without what is not known."""
        known = {k: v for k, v in asdict(self).items() if v not in (None, (), {})}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in known.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    rows: tuple[PublishedWeights, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError("duplicate name in the table", got=", ".join(sorted(twice)))


@cache
def listed() -> Mapping[str, PublishedWeights]:
    """Every row of the table by name, the refused ones too."""
    data = json.loads(TABLE.read_text(encoding="utf-8"))
    return {row.name: row for row in decode(_Table, data, where=TABLE.name).rows}


def published() -> dict[str, PublishedWeights]:
    """The rows that can be used, by name."""
    return {name: row for name, row in listed().items() if row.refused is None}


def matching(pattern: str, rows: Iterable[PublishedWeights]) -> list[PublishedWeights]:
    """Rows of which the name, the data, the family or the source matches.

    A shell pattern has to match whole; a plain word matches anywhere, whatever its case.
    """
    plain = not any(c in pattern for c in "*?[")
    wanted = f"*{pattern}*" if plain else pattern

    def found(row: PublishedWeights) -> bool:
        texts = (row.name, row.data, row.family, row.source)
        return any(fnmatch.fnmatchcase(text.lower(), wanted.lower()) for text in texts)

    return [row for row in rows if found(row)]
