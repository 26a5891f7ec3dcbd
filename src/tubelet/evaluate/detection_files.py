"""Large detection files, read block by block straight into the columns that evaluation needs.

A file of all AVA validation detections has millions of rows; as a data frame of text and numbers
it takes more memory than the evaluation. Here a block is parsed and forgotten at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tubelet.data.predictions import is_parquet, read_predictions
from tubelet.data.tables import read_ava_csv
from tubelet.errors import InputError
from tubelet.evaluate.boxtable import F64, I32, I64, BoxTable
from tubelet.evaluate.from_annotations import box_table, video_codes

BLOCK = 1 << 22
"""Bytes read at a time: small enough that their memory is used again, not fetched anew."""

SPARE = 1.05
"""Room beyond the rows that a file's first block leads to expect."""

NUMBERS = ("seconds", "x1", "y1", "x2", "y2", "label", "score")
SCHEMA = {"video": pl.String, **dict.fromkeys(NUMBERS, pl.Float64)}


def read_detections(path: str | Path, *, strict: bool = True) -> BoxTable:
    """Detections in AVA's columns `video,seconds,x1,y1,x2,y2,action,score` as a BoxTable.

    Means the same as `read_ava_csv(path, kind="detections", strict=strict)`, which also reads
    whatever is not eight plain columns (headers, gzip, tabs, missing scores) and finds the row
    and column of every mistake; this function only takes the short way where it can. Parquet is
    read as `read_predictions` does. Raises what these two raise.
    """
    if is_parquet(path):
        return box_table(read_predictions(path))
    table = _read_plain(Path(path), strict)
    if table is not None:
        return table
    return box_table(read_ava_csv(path, kind="detections", strict=strict))


def _read_plain(path: Path, strict: bool) -> BoxTable | None:
    """The file as a BoxTable, or None unless every row is eight plain columns."""
    table: _Columns | None = None
    names: dict[str, int] = {}
    try:
        size = path.stat().st_size
        for block in _blocks(path):
            frame = _parse(block)
            if frame is None:
                return None
            if table is None:
                table = _Columns(round(size / len(block) * frame.height * SPARE) + 1)
            own = table.rows(frame.height)
            table.video[own] = _codes(frame["video"], names)
            seconds = frame["seconds"].to_numpy()
            table.time[own] = np.rint(seconds * 1e6)
            for i, name in enumerate(("x1", "y1", "x2", "y2")):
                table.boxes[own, i] = frame[name].to_numpy()
            label = frame["label"].to_numpy()
            table.labels[own], table.scores[own] = label, frame["score"].to_numpy()
            numbers = table.boxes[own], label, table.labels[own], table.scores[own]
            if not _plain(seconds, *numbers, strict):
                return None
    except OSError as error:
        raise InputError(
            "cannot read the file", where=path, got=error, hint="check the path"
        ) from error
    return None if table is None or "" in names else table.finished(tuple(names))


class _Columns:
    """Columns that grow: room for `capacity` rows costs nothing until it is written to."""

    def __init__(self, capacity: int) -> None:
        self.video, self.time = np.empty(capacity, np.int32), np.empty(capacity, np.int64)
        self.boxes = np.empty((capacity, 4), order="F")
        self.labels, self.scores = np.empty(capacity, np.int64), np.empty(capacity)
        self._used = 0

    def rows(self, count: int) -> slice:
        """The next `count` rows."""
        own = slice(self._used, self._used + count)
        if own.stop > len(self.video):
            self._grow(2 * own.stop)
        self._used = own.stop
        return own

    def _grow(self, capacity: int) -> None:
        larger = _Columns(capacity)
        for name, column in vars(self).items():
            if isinstance(column, np.ndarray):
                getattr(larger, name)[: self._used] = column[: self._used]
                setattr(self, name, getattr(larger, name))

    def finished(self, videos: tuple[str, ...]) -> BoxTable:
        own = slice(self._used)
        return BoxTable(
            videos=videos,
            video=self.video[own],
            time_us=self.time[own],
            boxes=self.boxes[own],
            labels=self.labels[own],
            scores=self.scores[own],
        )


def _codes(video: pl.Series, names: dict[str, int]) -> I32 | int:
    """The number of each row's video, new names added; one number where all rows share it."""
    if (video == video[0]).all():
        return names.setdefault(video[0], len(names))
    found, codes = video_codes(video)
    return np.array([names.setdefault(n, len(names)) for n in found], np.int32)[codes]


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
    return None if any(frame[name].null_count() for name in SCHEMA) or not frame.height else frame


def _plain(seconds: F64, boxes: F64, label: F64, whole: I64, scores: F64, strict: bool) -> bool:
    """Whether the numbers of a block are such as need no message."""
    low, high = (-1.0, 2.0) if strict else (-np.inf, np.inf)
    inside = bool(boxes.min() >= low and boxes.max() <= high)
    finite = np.isfinite(boxes).all() and np.isfinite(scores).all() and np.isfinite(seconds).all()
    return bool(inside and finite and np.array_equal(label, whole))
