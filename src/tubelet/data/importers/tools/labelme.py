"""LabelMe's JSON (and X-AnyLabeling's): one file a picture, which is a film's frame."""

from __future__ import annotations

import math
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
    as_text,
    field_of,
    read_json,
    scaled,
)
from tubelet.data.importers.tools.marks import Export, Mark, enclosing
from tubelet.data.importers.tools.people import PersonIds
from tubelet.data.importers.tools.pictures import Pictures
from tubelet.data.importers.tools.spoken import add_attributes, spoken
from tubelet.errors import DataError


def read(path: str | Path, options: Options | None = None) -> Export:
    """Rectangles, and what encloses polygons and circles; the group is the person id, flags and
    attributes are attributes."""
    export = Export(tool="LabelMe", source=path)
    films = FilmClock(options or Options(), export.ledger, "LabelMe")
    document = as_mapping(read_json(path), path)
    name = as_text(document.get("imagePath") or Path(path).with_suffix(".jpg").name, path)
    pictures = Pictures([name], films, path, "LabelMe file")
    export.first = {pictures.first}
    video, time_us = pictures.moment(name, path)
    size = _size(document, path) or films.size(video)
    people = PersonIds(export.ledger)
    for number, value in enumerate(as_sequence(field_of(document, "shapes", path), path), 1):
        where = f"{path}, shape {number}"
        shape = as_mapping(value, where)
        label = as_text(field_of(shape, "label", where), where).strip()
        box = _box(shape, where)
        if box is None:
            kind = str(shape.get("shape_type"))[:40]
            export.ledger.leave(f"LabelMe's {kind} of {label!r}: has no box")
            continue
        group = shape.get("group_id")
        said = [part for key in ("flags", "attributes") for part in spoken(shape.get(key))]
        export.labels.setdefault(label, ())
        export.marks.append(
            Mark(
                video=video,
                time_us=time_us,
                box=scaled(box, size),
                label=label,
                where=where,
                attributes=tuple(said),
                person=None if group is None else people.number(video, as_text(group, where)),
            )
        )
    if not export.marks:
        export.empty.append((video, time_us))
    add_attributes(export)
    return export


def _size(document: Mapping[Any, Any], path: str | Path) -> tuple[int, int] | None:
    width, height = document.get("imageWidth"), document.get("imageHeight")
    if width is None or height is None:
        return None
    size = as_int(width, path), as_int(height, path)
    if min(size) < 1:
        raise DataError("missing size of the picture", where=path, got=size)
    return size


def _box(shape: Mapping[Any, Any], where: str) -> Box | None:
    kind = shape.get("shape_type") or "polygon"
    points = []
    for point in as_sequence(field_of(shape, "points", where), where):
        x, y = (as_float(v, where) for v in (*as_sequence(point, where), None, None)[:2])
        points.append((x, y))
    if kind == "circle" and len(points) == 2:
        (cx, cy), edge = points
        radius = math.dist((cx, cy), edge)
        return cx - radius, cy - radius, cx + radius, cy + radius
    if kind in ("rectangle", "polygon", "rotation", "mask") and len(points) > 1:
        return enclosing(points)
    return None
