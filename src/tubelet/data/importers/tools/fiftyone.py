"""FiftyOne's (ETA's) video labels: the objects of each frame of one film."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import (
    Box,
    Options,
    as_float,
    as_int,
    as_mapping,
    as_sequence,
    field_of,
    read_json,
)
from tubelet.data.importers.tools.marks import Export, Mark
from tubelet.data.importers.tools.spoken import add_attributes
from tubelet.errors import DataError


def read(path: str | Path, options: Options | None = None) -> Export:
    """Boxes in fractions, their `index` as person id, their attributes. Frames count from 1; the
    film is the one that the file is called after."""
    export = Export(tool="FiftyOne", source=path)
    films = FilmClock(options or Options(), export.ledger, "FiftyOne's video labels")
    document = as_mapping(read_json(path), path)
    video = films.nameless(path, "FiftyOne's video labels")
    for key, value in as_mapping(field_of(document, "frames", path), path).items():
        where = f"{path}, frame {key}"
        number, frame = as_int(key, where), as_mapping(value, where)
        if number < 1:
            raise DataError("FiftyOne counts frames from 1", where=where)
        time_us = films.time_us(video, number - 1, where)
        objects = as_mapping(frame.get("objects", {}), where).get("objects", ())
        for found in as_sequence(objects, where):
            one = as_mapping(found, where)
            index = one.get("index")
            export.marks.append(
                Mark(
                    video=video,
                    time_us=time_us,
                    box=_box(one, where),
                    label=str(one.get("label") or ""),
                    where=where,
                    attributes=_said(one, where),
                    person=None if index is None else as_int(index, where),
                    score=None if (s := one.get("confidence")) is None else as_float(s, where),
                )
            )
        if not objects:
            export.empty.append((video, time_us))
    if document.get("events"):
        export.ledger.leave("FiftyOne's temporal detections: no box", 0)
    export.labels = dict.fromkeys((mark.label for mark in export.marks), ())
    add_attributes(export)
    return export


def _box(one: Mapping[Any, Any], where: str) -> Box:
    corners = as_mapping(field_of(one, "bounding_box", where), where)
    first, last = (
        as_mapping(field_of(corners, name, where), where) for name in ("top_left", "bottom_right")
    )
    x1, y1, x2, y2 = (
        as_float(field_of(corner, axis, where), where)
        for corner in (first, last)
        for axis in ("x", "y")
    )
    return x1, y1, x2, y2


def _said(one: Mapping[Any, Any], where: str) -> tuple[tuple[str, str], ...]:
    """Attributes of words and switches; numbers are no actions."""
    listed = as_sequence(as_mapping(one.get("attrs", {}), where).get("attrs", ()), where)
    pairs = []
    for value in listed:
        attribute = as_mapping(value, where)
        name, said = attribute.get("name"), attribute.get("value")
        if name and isinstance(said, str | bool):
            pairs.append((str(name), str(said).lower() if isinstance(said, bool) else said))
    return tuple(pairs)
