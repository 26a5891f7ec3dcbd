"""The common form of every labelling tool's export: marked boxes, and what can be said of them.

A reader says where, when and what the tool wrote; which of it are actions is decided afterwards, in
one place for all tools (`meaning.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tubelet.data.importers.records import Box
from tubelet.data.importers.report import Ledger

Kind = Literal["choice", "several", "switch", "number", "text"]
"""One of the values; any number of the values; yes or no; a number; free text."""

_YES, _NO = frozenset({"true", "yes", "1", "on"}), frozenset({"false", "no", "0", "off", ""})
_NUMBER = ("0123456789.", "+-0123456789.eE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """What a label can be given besides: its name, its kind, and the values to choose from."""

    name: str
    kind: Kind
    values: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Mark:
    """One box at one moment as the tool has it. `attributes`: (name, value) pairs; `ids`: class ids
    that the file gives without names (None: classes have names)."""

    video: str
    time_us: int
    box: Box
    label: str
    where: str
    attributes: tuple[tuple[str, str], ...] = ()
    person: int | None = None
    score: float | None = None
    ids: tuple[int, ...] | None = None


@dataclass(slots=True, kw_only=True)
class Export:
    """What one file of a tool holds.

    `labels`: the tool's labels and the attributes of each, in its order; `ids`: the class ids that
    the file itself gives to labels; `empty`: (video, time) of frames without people; `first`: the
    numbers that the file's pictures were taken to be counted from.
    """

    tool: str
    labels: dict[str, tuple[Attribute, ...]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    empty: list[tuple[str, int]] = field(default_factory=list)
    first: set[int] = field(default_factory=set)
    ledger: Ledger = field(default_factory=Ledger)
    source: str | Path = ""


def attribute_of(name: str, values: Iterable[str], kind: Kind | None = None) -> Attribute:
    """An attribute whose kind the file says, or else what its values look like."""
    listed = tuple(dict.fromkeys(v.strip() for v in values if v.strip()))
    return Attribute(name=name.strip(), kind=kind or _kind_of(listed), values=listed)


def _kind_of(values: Sequence[str]) -> Kind:
    if values and all(is_yes(v) or is_no(v) for v in values) and not _numbers(values):
        return "switch"
    if not values:
        return "text"
    return "number" if _numbers(values) else "choice"


def _numbers(values: Sequence[str]) -> bool:
    return all(v[0] in "+-.0123456789" and set(v) <= set(_NUMBER[1]) for v in values)


def is_yes(value: str) -> bool:
    """Whether a switch is on."""
    return value.strip().casefold() in _YES


def is_no(value: str) -> bool:
    """Whether a switch is off."""
    return value.strip().casefold() in _NO


def enclosing(points: Sequence[tuple[float, float]]) -> Box:
    """The box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def turned(box: Box, degrees: float, pivot: tuple[float, float] | None = None) -> Box:
    """The box around a rectangle that is turned clockwise by `degrees` about its centre, or about
    `pivot`."""
    if not degrees % 360:
        return box
    x1, y1, x2, y2 = box
    cx, cy = pivot or ((x1 + x2) / 2, (y1 + y2) / 2)
    # Quarter turns stay exact.
    sin, cos = (round(f(math.radians(degrees)), 12) for f in (math.sin, math.cos))
    corners = [(x, y) for x in (x1, x2) for y in (y1, y2)]
    around = [(cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos)
              for x, y in corners]  # fmt: skip
    return enclosing(around)
