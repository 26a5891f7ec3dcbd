"""Boxes with track ids in a CSV whose header names its columns: what trackers' users write
(supervision's CSVSink, a data frame of their own)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tubelet.data.annotations import seconds_to_us
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.glance import Glance
from tubelet.data.importers.records import Box, Options, as_float, as_int, scaled
from tubelet.data.importers.tools.marks import Export, Mark
from tubelet.data.importers.tools.people import PersonIds
from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError, InputError
from tubelet.film_ids import film_id

_NAMES: Mapping[str, tuple[str, ...]] = {
    "video": ("video", "video_id", "film", "video_name"),
    "frame": ("frame", "frame_index", "frame_number", "frame_id", "frame_idx"),
    "seconds": ("time_s", "seconds", "timestamp", "timestamp_s"),
    "ms": ("time_ms", "timestamp_ms"),
    "id": ("track_id", "tracker_id", "person_id", "object_id", "id"),
    "score": ("score", "confidence", "conf", "person_score"),
    "class": ("class_name", "label", "class_id", "class", "cls"),
}
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
)
_SIZES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("bb_left", "bb_top", "bb_width", "bb_height"),
)
_LARGEST_FRACTION = 2.0  # a box reaches a little out of the picture, pixels much further


def _header(line: str) -> list[str]:
    return [cell.strip().strip('"').strip().casefold() for cell in line.split(",")]


def is_named_tracks(sample: Glance) -> bool:
    """Whether the header names a box and a frame or a time; AVA's own columns do not count."""
    names = _header(sample.lines[0]) if sample.lines else []
    if names[:1] and names[0] in _NAMES["video"] and names[1:2] == ["timestamp"]:
        return False
    timed = any(name in names for key in ("frame", "seconds", "ms") for name in _NAMES[key])
    boxed = any(set(box) <= set(names) for box in (*_CORNERS, *_SIZES))
    return timed and boxed and "action" not in names and "action_id" not in names


def read(path: str | Path, options: Options | None = None) -> Export:
    """Boxes with their track ids. Columns: a box (`x1,y1,x2,y2` or `x,y,width,height`, and what
    other programs call them), a time (`frame`, `time_s` or `time_ms`), and if there are such
    columns `track_id`, `score`, `class_name` or `class_id`, and `video`.

    Boxes of which one coordinate is above 2 are in pixels. The detector's classes are no actions:
    boxes of those in `options.person_labels` are people, all if none is given. Raises InputError
    where frames could be counted from 0 or from 1 (no frame 0, and `options.first_frame` not
    stated).
    """
    options = options or Options()
    export = Export(tool="tracks", source=path)
    films = FilmClock(options, export.ledger, "the table of tracks")
    rows = _rows(path)
    names = list(rows[0]) if rows else []
    columns = {k: next((n for n in v if n in names), None) for k, v in _NAMES.items()}
    box = _box_columns(names, path)
    boxes = [_box(row, box, f"{path}, row {n}") for n, row in enumerate(rows, 2)]
    pixels = any(side > _LARGEST_FRACTION for one in boxes for side in one)
    counted = columns["frame"] if not columns["ms"] and not columns["seconds"] else None
    first = _first_frame(rows, counted, options, path) if counted else 0
    people = PersonIds(export.ledger)
    nameless = None if columns["video"] else films.nameless(path, "the table of tracks")
    for number, (row, place) in enumerate(zip(rows, boxes, strict=True), 2):
        where = f"{path}, row {number}"
        kind = row.get(columns["class"] or "", "").strip()
        if options.person_labels and kind not in options.person_labels:
            export.ledger.leave(f"boxes of {kind!r}: not a person's label")
            continue
        export.ledger.kinds[kind] += 1
        video = nameless or film_id(row[str(columns["video"])])
        export.marks.append(
            Mark(
                video=video,
                time_us=_time_us(row, columns, films, video, first, where),
                box=scaled(place, films.size(video)) if pixels else place,
                label=kind if options.person_labels else "",
                where=where,
                person=_person(row.get(columns["id"] or "", ""), people, video),
                score=as_float(row[columns["score"]], where) if columns["score"] else None,
            )
        )
    return export


def _rows(path: str | Path) -> list[dict[str, str]]:
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    names = _header(lines[0]) if lines else []
    found = []
    for number, cells in enumerate(csv.reader(io.StringIO("\n".join(lines[1:]))), 2):
        if len(cells) != len(names):
            raise DataError(
                "wrong number of columns",
                where=f"{path}, row {number}",
                expected=f"{len(names)}, as in the header",
                got=len(cells),
            )
        found.append(dict(zip(names, cells, strict=True)))
    if not found:
        raise DataError("no box in the file", where=path, expected="rows below the header")
    return found


def _box_columns(names: Sequence[str], path: str | Path) -> tuple[tuple[str, ...], bool]:
    """The four columns, and whether the last two are a size."""
    for known, sized in ((_CORNERS, False), (_SIZES, True)):
        for four in known:
            if set(four) <= set(names):
                return four, sized
    raise DataError("no columns of a box", where=path, expected="x1,y1,x2,y2", got=", ".join(names))


def _box(row: Mapping[str, str], columns: tuple[tuple[str, ...], bool], where: str) -> Box:
    x1, y1, x2, y2 = (as_float(row[name], where) for name in columns[0])
    return (x1, y1, x1 + x2, y1 + y2) if columns[1] else (x1, y1, x2, y2)


def _first_frame(
    rows: Sequence[Mapping[str, str]], column: str, options: Options, path: str | Path
) -> int:
    """The number of a film's first frame. Raises InputError where nobody but the user knows it."""
    frames = [as_int(row[column], f"{path}, row {n}") for n, row in enumerate(rows, 2)]
    if options.first_frame is not None:
        return options.first_frame
    if min(frames) == 0:
        return 0
    raise InputError(
        f"is a film's first frame number 0 or 1? The column {column!r} begins at {min(frames)}",
        where=path,
        hint="state the number of a film's first frame",
        arguments=("first_frame",),
    )


def _time_us(
    row: Mapping[str, str],
    columns: Mapping[str, str | None],
    films: FilmClock,
    video: str,
    first: int,
    where: str,
) -> int:
    if columns["ms"]:
        return as_int(row[columns["ms"]], where) * 1000
    if columns["seconds"]:
        return seconds_to_us(as_float(row[columns["seconds"]], where), where)
    return films.time_us(video, as_int(row[str(columns["frame"])], where) - first, where)


def _person(text: str, people: PersonIds, video: str) -> int | None:
    """The id; None where the tracker has none yet (empty, none, −1)."""
    found = None if text.strip().casefold() in ("", "none", "nan") else people.number(video, text)
    return found if found is None or found >= 0 else None
