"""What every importer shares: options, checked access to foreign values, and a row collector."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.importers.report import Report
from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace

Box = tuple[float, float, float, float]


class Imported(NamedTuple):
    """A table; where the file names its classes, the label space its ids belong to; and what was
    taken from the file and what was left."""

    table: Annotations | ClipLabels
    labels: LabelSpace | None = None
    report: Report = Report()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What some formats do not contain, and what of a file is wanted.

    `fps`: frames per second, where a file counts frames and its film is not there, where films are
    folders of frames, or where pictures were taken out at another rate. `by_rate`: count by it
    even where the film is there (published sets, whose numbers mean a rate). `size`: (width,
    height) in pixels, where boxes are in pixels. `videos`: the folder of the films, which has the
    stamps of their frames and their sizes. `video`: the film of a file that does not name it.
    `first_frame`: the number of a film's first picture, where pictures are numbered.

    `labels`: the ids to use for class names. `every_ms`: of each so many milliseconds keep the
    moment nearest to their multiple (None: all). `attributes`: the attributes whose values are
    actions (empty: those that can be). `person_labels`: the labels that people have (empty: all).
    `ignored`: labels, attributes and classes to leave out.
    """

    fps: float | None = None
    by_rate: bool = False
    size: tuple[int, int] | None = None
    videos: Path | None = None
    video: str | None = None
    first_frame: int | None = None
    labels: LabelSpace | None = None
    every_ms: int | None = None
    attributes: tuple[str, ...] = ()
    person_labels: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < 10_000:
            raise InputError("invalid frame rate", got=self.fps, expected="such as 29.97")
        if self.size is not None and min(self.size) < 1:
            raise InputError("invalid frame size", got=self.size)
        if self.every_ms is not None and self.every_ms < 1:
            raise InputError("invalid keyframe interval", got=self.every_ms)
        if self.first_frame is not None and self.first_frame < 0:
            raise InputError("invalid number of the first picture", got=self.first_frame)


@dataclass(slots=True)
class Rows:
    """Collects rows for an Annotations table; boxes in fractions of the frame."""

    video: list[str] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    box: list[Box | None] = field(default_factory=list)
    label: list[int | None] = field(default_factory=list)
    person: list[int | None] = field(default_factory=list)
    score: list[float | None] = field(default_factory=list)

    def add(
        self,
        video: str,
        time_us: int,
        box: Box | None,
        *,
        labels: Iterable[int] = (),
        person: int | None = None,
        score: float | None = None,
    ) -> None:
        """One box with its labels, one row each (a single row without label if there is none)."""
        for label in tuple(labels) or (None,):
            self.video.append(video)
            self.time_us.append(time_us)
            self.box.append(box)
            self.label.append(label)
            self.person.append(person)
            self.score.append(score)

    def table(self, source: str | Path) -> Annotations:
        """The table; DataError if a box is far outside the frame (pixels taken for fractions)."""
        absent = (math.nan,) * 4
        boxes = np.array([b or absent for b in self.box], np.float64).reshape(-1, 4)
        table = Annotations.of(
            video=self.video,
            time_us=self.time_us,
            boxes=boxes,
            label=self.label,
            person=self.person,
            score=self.score,
            source=source,
        )
        far = np.flatnonzero(((boxes < -1) | (boxes > 2)).any(axis=1))
        if len(far):
            raise DataError(
                "the box is far outside the frame",
                where=f"{table.where(int(far[0]))}, {self.video[far[0]]}",
                expected="x1,y1,x2,y2 within the frame",
                got=boxes[far[0]].tolist(),
                hint="check the frame size that the boxes were divided by",
            )
        return table


class Vocabulary:
    """Class names of a labelling tool → ids: those of a given label space, or numbered from 1.

    `groups` are (group, names) in the tool's order. Names are compared without case and spaces,
    because the label maps that people type by hand differ from their tool's there.
    """

    def __init__(
        self, groups: Sequence[tuple[str, Sequence[str]]], labels: LabelSpace | None
    ) -> None:
        if labels is None and any(names for _, names in groups):
            ids: dict[str, int] = {}
            names_kept: list[str] = []
            members: dict[str, list[int]] = {}
            for group, names in groups:
                for name in names:
                    if plain(name) not in ids:
                        ids[plain(name)] = len(ids) + 1
                        names_kept.append(name)
                        members.setdefault(group, []).append(len(ids))
            kept = {group: tuple(m) for group, m in members.items()} if len(members) > 1 else {}
            labels = LabelSpace(
                ids=tuple(range(1, len(ids) + 1)), names=tuple(names_kept), groups=kept
            )
        self.labels = labels
        known = zip(labels.names, labels.ids, strict=True) if labels is not None else ()
        self._ids: dict[str, int] = {}
        for name, label_id in known:
            self._ids.setdefault(plain(name), label_id)

    def id(self, name: str, where: object) -> int:
        """The id of `name`; DataError if it is not in the label space."""
        found = self._ids.get(plain(name))
        if found is None:
            raise DataError(
                f"unknown action {name[:80]!r}: not in the label map",
                where=where,
                expected=f"one of its {len(self._ids)} names",
                hint="add it to the label map, or omit the label map",
            )
        return found


def plain(name: str) -> str:
    """A name without case and spaces, as names are compared."""
    return "".join(name.split()).casefold()


def read_json(path: str | Path) -> Any:
    """A JSON file's value; DataError names the row where it stops being JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            "invalid JSON", where=f"{path}, row {error.lineno}", got=error.msg
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError("cannot read the JSON", where=path, got=str(error)[:200]) from None


def as_mapping(value: Any, where: object) -> Mapping[Any, Any]:
    """`value` if it is a dict, else DataError."""
    if not isinstance(value, Mapping):
        raise _wrong(where, "an object with named fields", value)
    return value


def as_sequence(value: Any, where: object) -> Sequence[Any]:
    """`value` as a list if it is a list, tuple or array, else DataError."""
    if isinstance(value, np.ndarray):
        return list(value)
    if not isinstance(value, (list, tuple)):
        raise _wrong(where, "a list", value)
    return value


def as_text(value: Any, where: object) -> str:
    """A non-empty text (an integer is taken as one), else DataError."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(as_int(value, where))
    if not isinstance(value, str) or not value.strip():
        raise _wrong(where, "a text", value)
    return value


def as_float(value: Any, where: object) -> float:
    """A finite number (or its decimal text), else DataError."""
    try:
        number = float(value) if not isinstance(value, (bool, np.ndarray)) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(where, "a finite number", value)
    return number


def as_int(value: Any, where: object) -> int:
    """An integer (or a number or text that is one) below 2^53, else DataError."""
    number = as_float(value, where)
    if number != int(number) or abs(number) >= 2**53:
        raise _wrong(where, "an integer", value)
    return int(number)


def as_box(values: Any, where: object) -> Box:
    """Four finite numbers, else DataError."""
    numbers = [as_float(v, where) for v in as_sequence(values, where)]
    if len(numbers) != 4:
        raise _wrong(where, "four coordinates", values)
    return (numbers[0], numbers[1], numbers[2], numbers[3])


def scaled(box: Box, size: tuple[int, int]) -> Box:
    """A pixel box → fractions of a (width, height) frame."""
    return box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]


def field_of(record: Mapping[Any, Any], name: str, where: object) -> Any:
    """`record[name]`, or a DataError that says which field is missing and which are there."""
    if name not in record:
        there = ", ".join(str(k)[:30] for k in list(record)[:8])
        raise DataError(f"missing field {name!r}", where=where, got=f"fields {there or 'none'}")
    return record[name]


def _wrong(where: object, expected: str, value: Any) -> DataError:
    got = f"{type(value).__name__} {value!r:.60}" if _printable(value) else type(value).__name__
    return DataError("invalid value type", where=where, expected=expected, got=got)


def _printable(value: Any) -> bool:
    """Whether showing it is cheap: a nested value's repr may be endless."""
    return isinstance(value, (str, float, bool, bytes, type(None))) or (
        isinstance(value, int) and abs(value) < 2**64
    )
