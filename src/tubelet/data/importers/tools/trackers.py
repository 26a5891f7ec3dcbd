"""What trackers write: MOT challenge text, and YOLO's text of one picture with track ids."""

from __future__ import annotations

import re
from pathlib import Path

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.glance import Glance
from tubelet.data.importers.records import Options, as_float, as_int, scaled
from tubelet.data.importers.tools.marks import Export, Mark
from tubelet.data.importers.tools.pictures import Pictures
from tubelet.data.untrusted.archives import in_archive
from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError, InputError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"[-+]?\d+(\.0*)?")
# Of the classes of MOT's ground truth: pedestrian, person on a vehicle, static person.
_PEOPLE = frozenset({1, 2, 7})


def _cells(line: str) -> list[str]:
    return [cell for cell in re.split(r"\s*[,\s]\s*", line.strip()) if cell]


def is_mot(sample: Glance) -> bool:
    """Whether lines are `frame, id, x, y, w, h, …`, in pixels."""
    rows = [_cells(line) for line in sample.lines]
    return (
        bool(rows)
        and all(6 <= len(row) <= 10 and all(_NUMBER.fullmatch(c) for c in row) for row in rows)
        and all(_WHOLE.fullmatch(row[0]) and _WHOLE.fullmatch(row[1]) for row in rows)
        and all(float(row[0]) >= 0 and float(row[4]) > 0 and float(row[5]) > 0 for row in rows)
        and any(float(cell) > 2 for row in rows for cell in row[2:6])
    )


def is_yolo(sample: Glance) -> bool:
    """Whether lines are `class x y w h [score] [id]` in fractions of the picture."""
    return bool(sample.words) and all(
        5 <= len(row) <= 7
        and _WHOLE.fullmatch(row[0]) is not None
        and all(_NUMBER.fullmatch(cell) for cell in row)
        and all(0 <= float(cell) <= 1 for cell in row[1:5])
        for row in sample.words
    )


def read_mot(path: str | Path, options: Options | None = None) -> Export:
    """Boxes of people with their track ids; boxes are in pixels. Frames are counted from 1, unless
    `options.first_frame` says otherwise or the file has a frame 0.

    Classes have names where `labels.txt` lies beside the file, as CVAT writes it. Otherwise nine
    columns are MOT's ground truth: rows whose seventh is 0 are to be ignored, and only people's
    classes are kept.
    """
    export = Export(tool="MOT", source=path)
    films = FilmClock(options or Options(), export.ledger, "MOT")
    names = _names_beside(path)
    export.labels = dict.fromkeys(names, ())
    lines = read_text(path).splitlines()
    video = films.nameless(path, "MOT text")
    first = _first_frame(lines, films)
    for number, line in enumerate(lines, 1):
        cells = _cells(line)
        if not cells:
            continue
        where = f"{path}, row {number}"
        if len(cells) not in range(6, 11):
            raise DataError("wrong number of columns", where=where,
                            expected="frame,id,x,y,w,h,…", got=line[:80])  # fmt: skip
        frame, person = as_int(cells[0], where), as_int(cells[1], where)
        x, y, width, height = (as_float(cell, where) for cell in cells[2:6])
        truth = len(cells) == 9
        label = ""
        if truth and as_float(cells[6], where) == 0:
            export.ledger.leave("MOT rows that are marked to be ignored (7th column 0)")
            continue
        if truth or (names and len(cells) > 7):
            kind = as_int(cells[7], where)
            if names and not 1 <= kind <= len(names):
                raise DataError("unknown class", where=where, expected=f"1 to {len(names)}",
                                got=kind)  # fmt: skip
            if not names and kind not in _PEOPLE:
                export.ledger.leave(f"MOT class {kind}: not a person")
                continue
            label = names[kind - 1] if names else ""
        score = as_float(cells[6], where) if len(cells) in (7, 8, 10) else None
        export.marks.append(
            Mark(
                video=video,
                time_us=films.time_us(video, frame - first, where),
                box=scaled((x, y, x + width, y + height), films.size(video)),
                label=label,
                where=where,
                person=person if person >= 0 else None,
                score=score if score is not None and 0 < score < 1 else None,
            )
        )
    if not export.marks:
        raise DataError("no box in the file", where=path, expected="frame,id,x,y,w,h,…")
    return export


def _first_frame(lines: list[str], films: FilmClock) -> int:
    if films.options.first_frame is not None:
        return films.options.first_frame
    zero = any(float(cells[0]) == 0 for line in lines if (cells := _cells(line))[:1]
               and _WHOLE.fullmatch(cells[0]))  # fmt: skip
    if zero:
        films.ledger.note("MOT frames are counted from 0: the file has a frame 0")
    return 0 if zero else 1


def read_yolo(path: str | Path, options: Options | None = None) -> Export:
    """Boxes of one picture, `film_25.txt` (frame 25, counted from 1), in fractions of it.

    With `options.labels` the first column is an action's id; without, it has no name and boxes are
    people without an action: those of the numbers in `options.person_labels`, if any are given.
    """
    options = options or Options()
    export = Export(tool="YOLO", source=path)
    films = FilmClock(options, export.ledger, "YOLO text")
    lines = read_text(path).splitlines()
    name = Path(path).with_suffix(".jpg").name
    pictures = Pictures([name], films, path, "YOLO text")
    export.first = {pictures.first}
    video, time_us = pictures.moment(name, path)
    known = set(options.labels.ids) if options.labels is not None else None
    wanted = set(options.person_labels) if known is None else set()
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        where = f"{path}, row {number}"
        if len(cells) not in (5, 6, 7):
            raise DataError("wrong number of columns", where=where,
                            expected="class x y w h [score] [id]", got=line[:80])  # fmt: skip
        kind = as_int(cells[0], where)
        x, y, width, height = (as_float(cell, where) for cell in cells[1:5])
        last = cells[5:]
        ids = [as_int(c, where) for c in last[-1:] if _WHOLE.fullmatch(c)]
        scores = [as_float(c, where) for c in last if not _WHOLE.fullmatch(c)]
        if known is not None and kind not in known:
            raise InputError(f"unknown class {kind}", where=where, arguments=("labels",),
                             expected=f"one of {len(known)} ids of the label map")  # fmt: skip
        if wanted and str(kind) not in wanted:
            export.ledger.leave(f"YOLO's class {kind}: not a person's number")
            continue
        export.ledger.kinds[str(kind)] += 1
        export.marks.append(
            Mark(
                video=video,
                time_us=time_us,
                box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
                label=str(kind) if wanted else "",
                where=where,
                person=ids[0] if ids else None,
                score=scores[0] if scores else None,
                ids=(kind,) if known is not None else None,
            )
        )
    if known is None:
        export.ledger.leave("YOLO's class numbers, which no label map names", 0)
    return export


def _names_beside(path: str | Path) -> list[str]:
    """The lines of `labels.txt` beside the file, if it is there."""
    beside = Path(path).with_name("labels.txt")
    try:
        if not (beside.is_file() or in_archive(path) is not None):
            return []
        lines = read_text(beside).splitlines()
    except (InputError, OSError, ValueError):
        return []  # there is none
    return [line.strip() for line in lines if line.strip()]
