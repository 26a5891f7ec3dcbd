"""VIA 3 (VGG's video annotator) project JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import (
    Box,
    Options,
    as_float,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
    read_json,
    scaled,
)
from tubelet.data.importers.tools.marks import (
    Attribute,
    Export,
    Kind,
    Mark,
    attribute_of,
    enclosing,
)
from tubelet.data.importers.tools.people import PersonIds, is_person
from tubelet.data.importers.tools.pictures import Pictures
from tubelet.errors import DataError
from tubelet.film_ids import film_id

_PICTURE = 2
_TEXT, _CHECKBOX = 1, 2
_POINT, _RECTANGLE, _CIRCLE, _ELLIPSE, _LINE, _POLYLINE, _POLYGON = range(1, 8)
_NO_BOX = {_POINT: "points", _LINE: "lines", _POLYLINE: "polylines"}


class _View(NamedTuple):
    """What a view shows: a film; or a picture, which is a frame of one; or several files."""

    name: str
    picture: bool = False
    several: bool = False


class _Option(NamedTuple):
    attribute: Attribute
    choices: Mapping[str, str]


def read(path: str | Path, options: Options | None = None) -> Export:
    """Regions at a moment, and the chosen options of their attributes.

    A text attribute named like a person's or a track's id is the person id. Segments of time
    without a region, and points and lines, have no box and are left out with a line. Seconds are
    the player's, which counts from the film's first frame. Boxes are in pixels: needs
    `options.size` or `options.videos`.
    """
    export = Export(tool="VIA", source=path)
    films = FilmClock(options or Options(), export.ledger, "VIA")
    document = as_mapping(read_json(path), path)
    views = _views(document, path)
    options_of = _attributes(document, path)
    person_key = next(
        (k for k, o in options_of.items() if not o.choices and is_person(o.attribute.name)), None
    )
    acting = [o.attribute for k, o in options_of.items() if k != person_key]
    export.labels[""] = tuple(acting)
    names = [view.name for view in views.values() if view.picture]
    pictures = Pictures(names, films, path, "VIA project") if names else None
    export.first = set() if pictures is None else {pictures.first}
    people = PersonIds(export.ledger)
    for key, value in as_mapping(field_of(document, "metadata", path), path).items():
        where = f"{path}, metadata {str(key)[:40]}"
        region = as_mapping(value, where)
        found = _region(region, views, films, where)
        if found is None:
            continue
        view, box = found
        said = _values(region, options_of, where)
        person = said.pop(person_key, "") if person_key is not None else ""
        spoken = tuple((options_of[k].attribute.name, v) for k, vs in said.items() for v in vs)
        for video, time_us in _moments(region, view, films, pictures, where):
            export.marks.append(
                Mark(
                    video=video,
                    time_us=time_us,
                    box=scaled(box, films.size(video)),
                    label="",
                    where=where,
                    attributes=spoken,
                    person=people.number(video, "".join(person)),
                )
            )
    return export


def _region(
    region: Mapping[Any, Any], views: Mapping[str, _View], films: FilmClock, where: str
) -> tuple[_View, Box] | None:
    """The view and the pixel box of a region; None for what has none, which the ledger names."""
    shape = [as_float(v, where) for v in as_sequence(field_of(region, "xy", where), where)]
    name = as_text(field_of(region, "vid", where), where)
    if name not in views:
        raise DataError("the region does not belong to any video", where=where, got=name[:40])
    view = views[name]
    if not shape:
        films.ledger.leave("segments of time without a region: they have no box")
    elif view.several:
        films.ledger.leave("regions of views that show several files: which one is not written")
    elif shape[0] in _NO_BOX:
        films.ledger.leave(f"{_NO_BOX[int(shape[0])]}: they have no box")
    else:
        return view, _box(int(shape[0]), shape[1:], where)
    return None


def _box(kind: int, numbers: list[float], where: str) -> Box:
    if kind == _RECTANGLE and len(numbers) == 4:
        x, y, width, height = numbers
        return x, y, x + width, y + height
    if kind in (_CIRCLE, _ELLIPSE) and len(numbers) in (3, 4):
        cx, cy, rx, ry = (*numbers, numbers[-1])[:4]
        return cx - rx, cy - ry, cx + rx, cy + ry
    if len(numbers) < 4 or len(numbers) % 2:
        raise DataError("invalid region", where=where, got=[kind, *numbers[:4]])
    return enclosing(list(zip(numbers[::2], numbers[1::2], strict=True)))


def _moments(
    region: Mapping[Any, Any],
    view: _View,
    films: FilmClock,
    pictures: Pictures | None,
    where: str,
) -> Iterator[tuple[str, int]]:
    """(video, microseconds) of a region: one, or those of the stretch of time that it lasts."""
    seconds = [as_float(z, where) for z in as_sequence(field_of(region, "z", where), where)]
    if view.picture and pictures is not None:
        yield pictures.moment(view.name, where)
        return
    video = film_id(view.name)
    if not seconds:
        raise DataError("a region of a film without a moment", where=where, got="z: []")
    every = films.options.every_ms
    first, last = films.at_us(video, seconds[0], where), films.at_us(video, seconds[-1], where)
    yield video, first
    if last > first:
        films.ledger.note("regions that last are taken at their first and last moment"
                          + (" and at each period between" if every else ""))  # fmt: skip
        period = (every or 0) * 1000
        inside = range(-(-first // period) * period, last, period) if period else ()
        yield from ((video, at) for at in inside if at > first)
        yield video, last


def _views(document: Mapping[Any, Any], path: str | Path) -> dict[str, _View]:
    """What each view shows."""
    files = as_mapping(field_of(document, "file", path), path)
    views = {}
    for key, value in as_mapping(field_of(document, "view", path), path).items():
        where = f"{path}, view {key}"
        listed = as_sequence(field_of(as_mapping(value, where), "fid_list", where), where)
        if not listed:
            continue
        file = as_mapping(field_of(files, as_text(listed[0], where), where), where)
        name = as_text(field_of(file, "fname", where), where)
        picture = file.get("type") in (_PICTURE, str(_PICTURE))
        views[str(key)] = _View(name, picture=picture, several=len(listed) > 1)
    return views


def _attributes(document: Mapping[Any, Any], path: str | Path) -> dict[str, _Option]:
    found = {}
    for key, value in as_mapping(field_of(document, "attribute", path), path).items():
        where = f"{path}, attribute {key}"
        one = as_mapping(value, where)
        choices = {
            str(k): as_text(v, where).strip("* ")
            for k, v in as_mapping(one.get("options", {}), where).items()
            if v not in ("", None)
        }
        kind: Kind | None = "several" if one.get("type") == _CHECKBOX else None
        name = str(one.get("aname", key))
        attribute = attribute_of(name, choices.values(), kind if choices else "text")
        found[str(key)] = _Option(attribute, choices)
    return found


def _values(
    region: Mapping[Any, Any], options_of: Mapping[str, _Option], where: str
) -> dict[str, list[str]]:
    """Attribute → the names of what was chosen: one option, or several with commas between."""
    said: dict[str, list[str]] = {}
    for key, value in as_mapping(region.get("av", {}), where).items():
        option = options_of.get(str(key))
        text = str(value) if isinstance(value, (str, int)) else ""
        if option is None or not text.strip():
            continue
        if not option.choices:
            said[str(key)] = [text.strip()]
            continue
        keys = [k for k in text.split(",") if k]
        for chosen in keys:
            if chosen not in option.choices:
                raise DataError(
                    "unknown option in the region",
                    where=where,
                    expected=f"one of {', '.join(list(option.choices)[:8])}",
                    got=chosen[:40],
                )
        said[str(key)] = [option.choices[k] for k in keys]
    return said
