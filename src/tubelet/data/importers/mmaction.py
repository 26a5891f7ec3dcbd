"""MMAction2: the proposals pickle (read, write) and the pickle of predictions (read)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.annotations import Annotations, seconds_to_us
from tubelet.data.importers.records import (
    Imported,
    Options,
    Rows,
    as_float,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
)
from tubelet.data.untrusted.pickles import load_pickle
from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import DataError


def read_proposals(path: str | Path, options: Options | None = None) -> Imported:
    """`{'video,0902': array (N, 4 or 5)}`, boxes in fractions, the fifth number the score."""
    rows = Rows()
    for name, boxes in as_mapping(load_pickle(path), path).items():
        where = f"{path}, key {str(name)[:80]!r}"
        video, comma, seconds = as_text(name, where).rpartition(",")
        if not comma or not video:
            raise DataError("invalid key: expected 'video,seconds'", where=where)
        time_us = seconds_to_us(as_float(seconds, where), where)
        array = _matrix(boxes, where)
        if array.size and array.shape[1] not in (4, 5):
            raise DataError(
                "wrong number of box columns", where=where, expected="(N, 5)", got=array.shape
            )
        if not array.size:
            rows.add(video, time_us, None)
        for x1, y1, x2, y2, *score in array.tolist():
            rows.add(video, time_us, (x1, y1, x2, y2), score=score[0] if score else None)
    return Imported(rows.table(path))


def write_proposals(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write the people of `table` as MMAction2 and its followers read them.

    The pickle uses NumPy 1's module names, which both NumPy 1 and 2 understand.
    """
    proposals: dict[str, Any] = {}
    rows = table.frame.unique(
        ["video", "time_us", "x1", "y1", "x2", "y2", "score"], maintain_order=True
    )
    for (video, time_us), people in rows.group_by(["video", "time_us"], maintain_order=True):
        boxed = people.drop_nulls("x1").select("x1", "y1", "x2", "y2", "score")
        proposals[f"{video},{_seconds(int(str(time_us)))}"] = boxed.with_columns(
            boxed["score"].fill_null(1.0)
        ).to_numpy()
    data = pickle.dumps(proposals, protocol=2)
    data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
    write_atomic(path, data)


def read_predictions(path: str | Path, options: Options | None = None) -> Imported:
    """A list of `{'video_id', 'timestamp', 'pred_instances': {'bboxes', 'scores'}}`.

    Column k of the scores is action id k; with `options.labels`, ids outside it (AVA's background
    column 0) are dropped.
    """
    rows = Rows()
    known = set(options.labels.ids) if options is not None and options.labels is not None else None
    for number, entry in enumerate(as_sequence(load_pickle(path), path), 1):
        where = f"{path}, entry {number}"
        record = as_mapping(entry, where)
        video = as_text(field_of(record, "video_id", where), where)
        time_us = seconds_to_us(as_float(field_of(record, "timestamp", where), where), where)
        predicted = as_mapping(field_of(record, "pred_instances", where), where)
        boxes = _matrix(field_of(predicted, "bboxes", where), where).reshape(-1, 4)
        scores = _matrix(field_of(predicted, "scores", where), where)
        if len(boxes) != len(scores):
            raise DataError(
                "boxes and scores differ in number", where=where, got=(len(boxes), len(scores))
            )
        for (x1, y1, x2, y2), row in zip(boxes.tolist(), scores.tolist(), strict=True):
            for label, score in enumerate(row):
                if known is None or label in known:
                    rows.add(video, time_us, (x1, y1, x2, y2), labels=(label,), score=score)
    return Imported(rows.table(path), options.labels if options is not None else None)


def _matrix(value: Any, where: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A finite two-dimensional array, else DataError."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise DataError("invalid boxes: not numbers", where=where) from None
    if array.size == 0:
        return array.reshape(0, 5)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise DataError(
            "invalid boxes: not rows of finite numbers",
            where=where,
            expected="(N, 5)",
            got=array.shape,
        )
    return array


def _seconds(time_us: int) -> str:
    whole, rest = divmod(abs(time_us), 1_000_000)
    sign = "-" if time_us < 0 else ""
    return f"{sign}{whole:04d}" if not rest else f"{sign}{whole}.{rest:06d}".rstrip("0")
