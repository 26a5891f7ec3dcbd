"""Files for the servers of test sets whose labels are not public, in AVA's form, and their check.

AVA's server and that of AVA-Kinetics run ActivityNet's `get_ava_performance.py`: of each keyframe
it keeps the best 50 rows of the classes that count and drops the others without a word, and it
joins detections to the truth by microseconds. What it would drop is left out here, so that the
file is smaller and scores the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.data.tables import check_labels, read_ava_csv, write_ava_csv
from tubelet.errors import DataError
from tubelet.evaluate.clip_scores import ClipScores
from tubelet.files import write_text
from tubelet.labels import LabelSpace

MOST_ROWS = 50
"""Rows of a keyframe that the server looks at, as `evaluate.protocols.AVA.cap` has it."""
MOST_CLASSES = 5
KINETICS_VERSION = "KINETICS VERSION 1.0"
_CUT = re.compile(r"_\d{6}_\d{6}$")
_MOMENT = ["video", "time_us"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a submission file holds: `rows` for `keyframes` moments, of which `empty` have none.
    `left_out`: rows of the predictions that are not in it, by reason; `clipped`: rows whose box
    reached beyond the frame and was cut to it."""

    path: Path
    rows: int
    keyframes: int
    empty: int
    classes: int
    clipped: int
    left_out: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "rows": self.rows,
            "keyframes": self.keyframes,
            "keyframes_without_rows": self.empty,
            "classes_written": self.classes,
            "boxes_cut_to_the_frame": self.clipped,
            "left_out": dict(self.left_out),
        }

    def lines(self) -> list[str]:
        """The file in sentences."""
        lines = [
            f"submission {self.path}: {self.rows:,} rows of {self.classes} classes "
            f"for {self.keyframes - self.empty:,} of {self.keyframes:,} keyframes",
            "the labels of this set are not public: its server computes the mAP, nothing here can",
        ]
        lines += [f"left out: {count:,} rows, {why}" for why, count in self.left_out.items()]
        cut = f"cut to the frame: the boxes of {self.clipped:,} rows"
        return [*lines, cut] if self.clipped else lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSubmission:
    """What a file for Kinetics' server holds: the best `classes` classes of each of `videos`."""

    path: Path
    videos: int
    classes: int

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {"videos": self.videos, "classes_of_a_video": self.classes}

    def lines(self) -> list[str]:
        """The file in sentences."""
        return [
            f"submission {self.path}: the best {self.classes} classes of {self.videos:,} videos",
            "the classes of this set are not public: its server computes the errors",
            "external_data is empty: state what the models were pretrained on before you submit",
        ]


def write_submission(
    path: str | Path, predictions: Annotations, keyframes: Annotations, labels: LabelSpace
) -> Submission:
    """Write what the server of `keyframes`' set takes of `predictions`, whole or not at all.

    `keyframes`: every moment of the set, as `read_keyframes` gives them; predictions are joined to
    them by milliseconds and written with the list's own times. Of `labels` the evaluated classes
    are written; all, if none is marked. Raises DataError naming the row of a class, a video or a
    moment that the set does not have, and of a missing score.
    """
    check_labels(predictions, labels)
    _check_scores(predictions)
    rows = _at_keyframes(predictions, keyframes)
    cut = pl.any_horizontal(~pl.col(BOX).is_between(0, 1))
    clipped = int(rows.select(cut.sum()).item())
    rows = rows.with_columns(pl.col(BOX).clip(0, 1))
    left_out: dict[str, int] = {}
    rows = _without(rows, left_out, "their box has no area", ~_has_area())
    counted = labels.evaluated or labels.ids
    rows = _without(
        rows, left_out, "their class is not evaluated", ~pl.col("label").is_in(list(counted))
    )
    rank = pl.col("score").rank("ordinal", descending=True).over(_MOMENT)
    rows = _without(
        rows, left_out, f"beyond the best {MOST_ROWS} of their keyframe", rank > MOST_ROWS
    )
    table = Annotations(frame=rows, source=predictions.source)
    check_rows(table, keyframes, labels)
    write_ava_csv(path, table, kind="detections")
    return Submission(
        path=Path(path),
        rows=len(table),
        keyframes=len(keyframes),
        empty=len(keyframes) - rows.select(_MOMENT).n_unique(),
        classes=len(counted),
        clipped=clipped,
        left_out=left_out,
    )


def write_kinetics_submission(
    path: str | Path, found: ClipScores, labels: LabelSpace
) -> ClipSubmission:
    """Write the five best classes of each video as JSON, in the form that ActivityNet's
    `eval_kinetics.py` reads: `results` has them by YouTube id, without the seconds of the cut.

    Raises DataError where two cuts have one id.
    """
    joined = found.joined("mean")
    names = [labels.names[labels.column(i)] for i in joined.ids]
    best = np.argsort(-joined.scores, axis=1, kind="stable")[:, :MOST_CLASSES]
    results: dict[str, list[dict[str, Any]]] = {}
    for row, video in enumerate(joined.videos):
        youtube = _CUT.sub("", video)
        if youtube in results:
            raise DataError("two clips of one video", where=found.source, got=repr(youtube))
        results[youtube] = [
            {"label": names[column], "score": float(joined.scores[row, column])}
            for column in best[row]
        ]
    data = {"version": KINETICS_VERSION, "results": results, "external_data": {}}
    write_text(Path(path), json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return ClipSubmission(path=Path(path), videos=len(results), classes=best.shape[1])


def check_submission(path: str | Path, keyframes: Annotations, labels: LabelSpace) -> int:
    """The number of rows of a submission file that its server would take as it is.

    Raises DataError at the first row that it would refuse, misread or drop: a class that is not
    evaluated, a moment that is no keyframe of the set (to the microsecond), a box that has no area
    or leaves the frame, a missing score, more rows of a keyframe than are looked at.
    """
    table = read_ava_csv(path, kind="detections")
    check_labels(table, labels)
    check_rows(table, keyframes, labels)
    return len(table)


def check_rows(table: Annotations, keyframes: Annotations, labels: LabelSpace) -> None:
    """As `check_submission`, of a table in memory whose classes are in `labels`."""
    _check_scores(table)
    listed = keyframes.frame.select(_MOMENT).with_columns(pl.lit(value=True).alias("listed"))
    frame = table.frame.join(listed, on=_MOMENT, how="left", maintain_order="left")
    counted = list(labels.evaluated or labels.ids)
    nth = pl.int_range(pl.len()).over(_MOMENT)
    for bad, what, expected in (
        (
            pl.col("listed").is_null(),
            "the moment is no keyframe of the test set",
            f"one of {len(keyframes):,} keyframes, to the microsecond",
        ),
        (
            pl.any_horizontal(~pl.col(BOX).is_between(0, 1)).fill_null(value=True),
            "the box leaves the frame",
            "x1,y1,x2,y2 from 0 to 1",
        ),
        (~_has_area(), "the box has no area", "x1 < x2 and y1 < y2"),
        (
            ~pl.col("label").is_in(counted),
            "the class is not evaluated",
            f"one of {len(counted)} classes",
        ),
        (
            nth >= MOST_ROWS,
            "too many rows of one keyframe",
            f"at most {MOST_ROWS}, the rest is not looked at",
        ),
    ):
        flags = frame.select(bad).to_series()
        if flags.any():
            raise _bad_row(table, flags.arg_max() or 0, what, expected)


def _check_scores(table: Annotations) -> None:
    present = pl.col("x1").is_not_null() & ~pl.col("score").is_finite().fill_null(value=False)
    flags = table.frame.select(present).to_series()
    if flags.any():
        raise _bad_row(table, flags.arg_max() or 0, "missing score", "a finite number in column 8")


def _at_keyframes(predictions: Annotations, keyframes: Annotations) -> pl.DataFrame:
    """The rows with a box, each with the list's own time of its moment."""
    times = keyframes.frame.select("video", keyframes.time_ms, pl.col("time_us").alias("exact_us"))
    if (twice := times.select("video", "time_ms").is_duplicated()).any():
        raise DataError(
            "two keyframes of one video within a millisecond: predictions cannot tell them apart",
            where=keyframes.where(twice.arg_max() or 0),
        )
    rows = predictions.frame.with_columns(predictions.time_ms).join(
        times, on=["video", "time_ms"], how="left", maintain_order="left"
    )
    flags = rows["exact_us"].is_null() & rows["x1"].is_not_null()
    if flags.any():
        index = flags.arg_max() or 0
        video = rows["video"][index]
        own = keyframes.frame.filter(pl.col("video") == video)["time_us"]
        seconds = [time / 1e6 for time in own]
        known = (
            f"one of {len(seconds):,} moments of {video!r} from {min(seconds):g} to "
            f"{max(seconds):g} s"
            if seconds
            else f"one of {len(keyframes.videos()):,} videos, such as {keyframes.videos()[0]!r}"
        )
        raise _bad_row(
            predictions,
            index,
            "the prediction is at no keyframe of the test set",
            known,
            hint="predict at the set's keyframes, or pass the list that belongs to the predictions",
        )
    kept = rows.filter(pl.col("x1").is_not_null()).with_columns(pl.col("exact_us").alias("time_us"))
    return kept.drop("time_ms", "exact_us")


def _has_area() -> pl.Expr:
    return (pl.col("x1") < pl.col("x2")) & (pl.col("y1") < pl.col("y2"))


def _without(rows: pl.DataFrame, told: dict[str, int], why: str, drop: pl.Expr) -> pl.DataFrame:
    """The rows for which `drop` does not hold; how many were dropped is told under `why`."""
    kept = rows.filter(~drop)
    if len(kept) < len(rows):
        told[why] = len(rows) - len(kept)
    return kept


def _bad_row(
    table: Annotations, index: int, what: str, expected: str, hint: str | None = None
) -> DataError:
    row = table.frame.row(index, named=True)
    cells = [row["video"], row["time_us"] / 1e6, *(row[c] for c in BOX), row["label"], row["score"]]
    got = ",".join("" if c is None else f"{c:g}" if isinstance(c, float) else str(c) for c in cells)
    return DataError(what, where=table.where(index), expected=expected, got=got, hint=hint)
