"""Tube pickles: `JHMDB-GT.pkl`, `UCF101v2-GT.pkl`, MultiSports' (one format); `pyannot.pkl`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import (
    Box,
    Imported,
    Options,
    Rows,
    as_int,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
    scaled,
)
from tubelet.data.untrusted.pickles import load_pickle
from tubelet.errors import DataError
from tubelet.labels import LabelSpace

# UCF101 is 320×240 throughout; its annotation pickle does not say so.
_UCF_SIZE = (320, 240)
_LONGEST = 10_000_000


def read(path: str | Path, options: Options | None = None) -> Imported:
    """`gttubes[video][class]` is a list of `(L, 5)` arrays: frame from 1, then a pixel box.

    Ids are class index + 1; the person id numbers a video's tubes. Needs `options.fps` or
    `options.videos`. The last pixel belongs to the box (the format's own evaluator counts
    x2 − x1 + 1), so a box that ends at pixel 239 of 240 ends at 1.0 here.
    """
    films = FilmClock(options or Options(), tool="the pickle")
    content = as_mapping(load_pickle(path), path)
    names = [as_text(n, path) for n in as_sequence(field_of(content, "labels", path), path)]
    labels = LabelSpace.of(names, exclusive=True)
    sizes = as_mapping(field_of(content, "resolution", path), path)
    rows = Rows()
    for name, by_class in as_mapping(field_of(content, "gttubes", path), path).items():
        where = f"{path}, video {str(name)[:80]}"
        video = as_text(name, where)
        height, width = (as_int(s, where) for s in _pair(field_of(sizes, name, where), where))
        if min(height, width) < 1:
            raise DataError("missing frame size of the video", where=where, got=(height, width))
        person = 0
        for index, tubes in as_mapping(by_class, where).items():
            label = _class(index, len(labels), where)
            for tube in as_sequence(tubes, where):
                person += 1
                for frame, *box in _numbers(tube, 5, where).tolist():
                    if not 1 <= frame <= _LONGEST or frame != int(frame):
                        raise DataError("invalid frame number", where=where, got=frame)
                    rows.add(
                        video,
                        films.time_us(video, int(frame) - 1, where),
                        _inclusive(box, (width, height)),
                        labels=(label,),
                        person=person,
                    )
    return Imported(rows.table(path), labels, films.ledger.report())


def read_pyannot(path: str | Path, options: Options | None = None) -> Imported:
    """UCF101-24's `pyannot.pkl`: frames `sf` to `ef` (from 0, without the last), boxes x, y, w, h.

    Class names are the videos' folders; ids are class index + 1. Needs `options.fps` (25 for the
    distributed AVIs) or `options.videos`.
    """
    options = options or Options()
    films = FilmClock(options, tool="the pickle")
    rows = Rows()
    names: dict[int, str] = {}
    for name, record in as_mapping(load_pickle(path), path).items():
        where = f"{path}, video {str(name)[:80]}"
        video = as_text(name, where)
        tubes = field_of(as_mapping(record, where), "annotations", where)
        for person, value in enumerate(as_sequence(tubes, where), 1):
            tube = as_mapping(value, where)
            label = as_int(field_of(tube, "label", where), where) + 1
            names.setdefault(label, video.split("/", maxsplit=1)[0])
            start = as_int(field_of(tube, "sf", where), where)
            if not 0 <= start <= _LONGEST:
                raise DataError("invalid start frame", where=where, got=start)
            boxes = _numbers(field_of(tube, "boxes", where), 4, where)
            for frame, (x, y, w, h) in enumerate(boxes.tolist(), start):
                box = scaled((x, y, x + w, y + h), options.size or _UCF_SIZE)
                time_us = films.time_us(video, frame, where)
                rows.add(video, time_us, box, labels=(label,), person=person)
    if not names:
        raise DataError("the pickle annotates no video", where=path)
    ids = tuple(sorted(names))
    labels = LabelSpace(ids=ids, names=tuple(names[i] for i in ids), exclusive=True)
    return Imported(rows.table(path), labels, films.ledger.report())


def _numbers(value: Any, width: int, where: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise DataError("invalid tube: not numbers", where=where) from None
    if array.ndim != 2 or array.shape[1] != width or not np.isfinite(array).all():
        raise DataError(
            "invalid tube shape", where=where, expected=f"(L, {width})", got=array.shape
        )
    return array


def _inclusive(box: list[float], size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = box
    return scaled((x1, y1, min(x2 + 1, size[0]), min(y2 + 1, size[1])), size)


def _class(index: Any, count: int, where: str) -> int:
    label = as_int(index, where)
    if not 0 <= label < count:
        raise DataError(
            "class index out of range",
            where=where,
            expected=f"0 to {count - 1}",
            got=label,
        )
    return label + 1


def _pair(value: Any, where: str) -> tuple[Any, Any]:
    pair = as_sequence(value, where)
    if len(pair) != 2:
        raise DataError("invalid resolution: expected (height, width)", where=where, got=len(pair))
    return pair[0], pair[1]
