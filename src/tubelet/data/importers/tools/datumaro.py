"""Datumaro's JSON, which CVAT and others write too: items that are frames, and their boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import (
    Box,
    Options,
    as_box,
    as_float,
    as_int,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
    read_json,
    scaled,
)
from tubelet.data.importers.tools.marks import Export, Mark, enclosing, turned
from tubelet.data.importers.tools.people import PersonIds
from tubelet.data.importers.tools.pictures import Pictures
from tubelet.data.importers.tools.spoken import add_attributes, spoken
from tubelet.errors import DataError


def read(path: str | Path, options: Options | None = None) -> Export:
    """Boxes and what encloses polygons. An item's `frame`, counted from 0, or else its id is the
    frame; the folder in its id is the film, if there is one."""
    export = Export(tool="Datumaro", source=path)
    films = FilmClock(options or Options(), export.ledger, "Datumaro")
    document = as_mapping(read_json(path), path)
    names = _labels(document, path)
    export.labels = dict.fromkeys(names, ())
    items = [
        as_mapping(v, f"{path}, item {i}")
        for i, v in enumerate(as_sequence(field_of(document, "items", path), path), 1)
    ]
    counted = all(_frame(item) is not None for item in items) and bool(items)
    ids = [as_text(field_of(item, "id", path), path) for item in items]
    pictures = Pictures(ids, films, path, "Datumaro file", zero=counted)
    people = PersonIds(export.ledger)
    for number, (item, name) in enumerate(zip(items, ids, strict=True), 1):
        where = f"{path}, item {number}"
        if counted:
            video = pictures.film(name)
            time_us = films.time_us(video, as_int(_frame(item), where), where, sampled=True)
        else:
            video, time_us = pictures.moment(name, where)
        marks = [
            mark
            for value in as_sequence(field_of(item, "annotations", where), where)
            if (mark := _mark(as_mapping(value, where), item, names, films, video, time_us,
                              people, where)) is not None
        ]  # fmt: skip
        export.marks += marks
        if not marks:
            export.empty.append((video, time_us))
    add_attributes(export)
    return export


def _labels(document: Mapping[Any, Any], path: str | Path) -> list[str]:
    categories = as_mapping(field_of(document, "categories", path), path)
    listed = as_mapping(categories.get("label", {}), path).get("labels", ())
    return [
        as_text(field_of(as_mapping(one, path), "name", path), path).strip()
        for one in as_sequence(listed, path)
    ]


def _frame(item: Mapping[Any, Any]) -> Any:
    attributes = item.get("attr", item.get("attributes"))
    return attributes.get("frame") if isinstance(attributes, Mapping) else None


def _mark(
    one: Mapping[Any, Any],
    item: Mapping[Any, Any],
    names: list[str],
    films: FilmClock,
    video: str,
    time_us: int,
    people: PersonIds,
    where: str,
) -> Mark | None:
    index = as_int(one.get("label_id", -1), where)
    if not -1 <= index < len(names):
        raise DataError("unknown label", where=where, expected=f"0 to {len(names) - 1}", got=index)
    label = names[index] if index >= 0 else ""
    attributes = one.get("attributes")
    inner: Mapping[Any, Any] = attributes if isinstance(attributes, Mapping) else {}
    box = _box(one, inner, where)
    if box is None:
        films.ledger.leave(f"Datumaro's {str(one.get('type'))[:40]} of {label!r}: has no box")
        return None
    person = inner.get("track_id", one.get("object_id"))
    return Mark(
        video=video,
        time_us=time_us,
        box=scaled(box, _size(item, where) or films.size(video)),
        label=label,
        where=where,
        attributes=spoken(inner),
        person=None if person is None else people.number(video, as_text(person, where)),
    )


def _box(one: Mapping[Any, Any], inner: Mapping[Any, Any], where: str) -> Box | None:
    kind = one.get("type")
    if kind == "bbox":
        x, y, width, height = as_box(field_of(one, "bbox", where), where)
        return turned((x, y, x + width, y + height), as_float(inner.get("rotation") or 0, where))
    if kind in ("polygon", "cuboid_2d") and one.get("points"):
        numbers = [as_float(v, where) for v in as_sequence(one["points"], where)]
        return enclosing(list(zip(numbers[::2], numbers[1::2], strict=False)))
    return None


def _size(item: Mapping[Any, Any], where: str) -> tuple[int, int] | None:
    """(width, height); Datumaro writes height first."""
    for key in ("image", "media"):
        image = item.get(key)
        size = image.get("size") if isinstance(image, Mapping) else None
        if size:
            height, width = (as_int(v, where) for v in as_sequence(size, where)[:2])
            if min(width, height) < 1:
                raise DataError("missing size of an image", where=where, got=(width, height))
            return width, height
    return None
