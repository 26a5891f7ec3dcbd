"""Large detection files, read block by block straight into the columns that evaluation needs.

A file of all AVA validation detections has millions of rows; as a data frame of text and numbers
it takes more memory than the evaluation. Here a block is parsed and forgotten at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tubelet.data.tables import read_ava_csv
from tubelet.evaluate.boxtable import F64, I64, BoxTable
from tubelet.evaluate.from_annotations import box_table, video_codes
from tubelet.types import InputError

BLOCK = 1 << 22
"""Bytes read at a time: small enough that their memory is used again, not fetched anew."""

NUMBERS = ("seconds", "x1", "y1", "x2", "y2", "label", "score")
SCHEMA = {"video": pl.String, **dict.fromkeys(NUMBERS, pl.Float64)}


def read_detections(path: str | Path, *, strict: bool = True) -> BoxTable:
    """Detections in AVA's columns `video,seconds,x1,y1,x2,y2,action,score` as a BoxTable.

    Means the same as `read_ava_csv(path, kind="detections", strict=strict)`, which also reads
    whatever is not eight plain columns (headers, gzip, tabs, missing scores) and finds the row
    and column of every mistake; this function only takes the short way where it can.
    Raises what `read_ava_csv` raises.
    """
    table = _read_plain(Path(path), strict)
    if table is not None:
        return table
    return box_table(read_ava_csv(path, kind="detections", strict=strict))


def _read_plain(path: Path, strict: bool) -> BoxTable | None:
    """The file as a BoxTable, or None unless every row is eight plain columns."""
    try:
        rows = sum(block.count(b"\n") for block in _blocks(path))
        names: dict[str, int] = {}
        video, time = np.empty(rows, np.int32), np.empty(rows, np.int64)
        boxes, labels = np.empty((rows, 4), order="F"), np.empty(rows, np.int64)
        scores = np.empty(rows)
        at = 0
        for block in _blocks(path):
            frame = _parse(block)
            if frame is None or at + frame.height > rows:
                return None
            own = slice(at, at + frame.height)
            at += frame.height
            found, codes = video_codes(frame["video"])
            shared = np.array([names.setdefault(n, len(names)) for n in found], np.int32)
            video[own] = shared[codes]
            seconds = frame["seconds"].to_numpy()
            time[own] = np.rint(seconds * 1e6)
            for i, name in enumerate(("x1", "y1", "x2", "y2")):
                boxes[own, i] = frame[name].to_numpy()
            label = frame["label"].to_numpy()
            labels[own], scores[own] = label, frame["score"].to_numpy()
            if not _plain(seconds, boxes[own], label, labels[own], scores[own], strict):
                return None
    except OSError as error:
        raise InputError(
            "cannot read the file", where=path, got=error, hint="check the path"
        ) from error
    if at != rows or "" in names:
        return None
    return BoxTable(
        videos=tuple(names),
        video=video,
        time_us=time,
        boxes=boxes,
        labels=labels,
        scores=scores,
    )


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks of whole lines; the last one ends in a line break too."""
    with path.open("rb") as file:
        while block := file.read(BLOCK) + file.readline():
            yield block if block.endswith(b"\n") else block + b"\n"


def _parse(block: bytes) -> pl.DataFrame | None:
    if b'"' in block or b"\r" in block or b"\0" in block:
        return None
    try:
        frame = pl.read_csv(block, has_header=False, schema=SCHEMA, quote_char=None)
    except pl.exceptions.PolarsError:
        return None
    return None if any(frame[name].null_count() for name in SCHEMA) else frame


def _plain(seconds: F64, boxes: F64, label: F64, whole: I64, scores: F64, strict: bool) -> bool:
    """Whether the numbers of a block are such as need no message."""
    low, high = (-1.0, 2.0) if strict else (-np.inf, np.inf)
    inside = bool(boxes.min() >= low and boxes.max() <= high)
    finite = np.isfinite(boxes).all() and np.isfinite(scores).all() and np.isfinite(seconds).all()
    return bool(inside and finite and np.array_equal(label, whole))
