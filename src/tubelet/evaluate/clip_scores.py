"""Classification of whole videos: the files of scores and labels, and the figures of both.

A score file is a table with the header `video,<class id>,<class id>,…` and a row per video, or
a row per view of it; `.parquet` holds the same table. Charades' submissions (`id s0 s1 …`, spaces,
no header) are read too.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from tubelet.data.clips import ClipLabels
from tubelet.data.predictions import is_parquet, read_parquet, write_parquet
from tubelet.data.untrusted.reading import read_head, read_text, write_atomic
from tubelet.errors import DataError
from tubelet.evaluate.boxtable import F64
from tubelet.evaluate.topk import MultiLabelReport, TopK, charades_map, top_k
from tubelet.labels import LabelSpace
from tubelet.types import check_shape

_DIGITS = 7
_FIRST = ("video", "id", "video_id")
_CLASS = re.compile(r"\s*-?\d{1,18}\s*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipScores:
    """R rows of scores: `videos (R,)` names, a name again for each view of it; `ids (K,)` class
    ids; `scores (R, K)`."""

    videos: tuple[str, ...]
    ids: tuple[int, ...]
    scores: F64
    source: str | None = None

    def __post_init__(self) -> None:
        check_shape(self.scores, (len(self.videos), len(self.ids)), "ClipScores.scores")

    def joined(self, join: Literal["mean", "max"]) -> ClipScores:
        """One row per video, in order of appearance: the mean or the maximum of its views."""
        place: dict[str, int] = {}
        rows = np.array([place.setdefault(video, len(place)) for video in self.videos], np.int64)
        if join == "max":
            scores = np.full((len(place), len(self.ids)), -np.inf)
            np.maximum.at(scores, rows, self.scores)
        else:
            scores = np.zeros((len(place), len(self.ids)))
            np.add.at(scores, rows, self.scores)
            scores /= np.bincount(rows, minlength=len(place))[:, None]
        return ClipScores(videos=tuple(place), ids=self.ids, scores=scores, source=self.source)


def write_clip_scores(path: str | Path, found: ClipScores) -> None:
    """Write a score file, whole or not at all; a CSV with seven significant digits per score."""
    if is_parquet(path):
        columns = [pl.Series(str(i), found.scores[:, k]) for k, i in enumerate(found.ids)]
        videos = pl.Series("video", found.videos, dtype=pl.String)
        write_parquet(path, pl.DataFrame([videos, *columns]))
        return
    lines = [",".join(["video", *map(str, found.ids)])]
    for video, row in zip(found.videos, found.scores.tolist(), strict=True):
        if re.search(r'[",\r\n]', video):
            raise DataError(
                "a video id with a comma, quote or line break cannot be written", got=repr(video)
            )
        lines.append(",".join([video, *(f"{score:.{_DIGITS}g}" for score in row)]))
    write_atomic(path, "\n".join(lines) + "\n")


def read_clip_scores(path: str | Path, labels: LabelSpace | None = None) -> ClipScores:
    """Read a score file. `labels`: the classes of a file without class ids.

    Raises DataError naming the row for a score that is missing or not finite, and for a header
    without classes.
    """
    if is_parquet(path):
        return _scores_of(read_parquet(path), path)
    text = read_text(path)
    first, _, rest = text.lstrip().partition("\n")
    head = first.strip().split(",")
    numbered = len(head) > 1 and head[0].strip().lower() in _FIRST
    if numbered:
        ids = _class_ids(head[1:], path)
    elif labels is not None and "," not in first:
        ids, rest = labels.ids, text
    else:
        raise DataError(
            "missing class ids in the header",
            where=f"{path}, row 1",
            expected="video,0,1,2,…",
            got=first[:80],
            hint="or give the label map, if it is a Charades submission",
        )
    return _parse(rest, ids, "," if numbered else " ", 2 if numbered else 1, path)


def is_clip_scores(path: str | Path) -> bool:
    """Whether a file of predictions scores whole videos, not people. Raises InputError or
    DataError where it cannot be read."""
    if is_parquet(path):
        return "time_ms" not in read_parquet(path, rows=0).columns
    head = read_head(path, 1 << 16).decode("utf-8-sig", "replace")
    name, *ids = head.lstrip().partition("\n")[0].split(",")
    # AVA's tables may begin with the same word, but never with numbers alone after it.
    return name.strip().lower() in _FIRST and all(map(_CLASS.fullmatch, ids))


def _class_ids(cells: list[str], path: str | Path) -> tuple[int, ...]:
    wrong = [cell for cell in cells if not _CLASS.fullmatch(cell)]
    if wrong or len(set(map(int, cells))) < len(cells):
        raise DataError(
            "duplicate class id in the header",
            where=f"{path}, row 1",
            got=wrong[0] if wrong else "a repeated class id",
        )
    return tuple(map(int, cells))


def _parse(
    text: str, ids: tuple[int, ...], separator: str, first: int, path: str | Path
) -> ClipScores:
    if separator == " ":
        text = re.sub(r"[ \t]+", " ", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))
    names = [str(i) for i in range(len(ids))]
    schema = {"video": pl.String, **dict.fromkeys(names, pl.Float64)}
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode()),
            has_header=False,
            schema=schema,
            separator=separator,
            quote_char=None,
        )
    except pl.exceptions.NoDataError:
        frame = pl.DataFrame(schema=schema)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"invalid rows: expected a video and {len(ids)} scores",
            where=path,
            got=str(error).splitlines()[0][:120],
        ) from None
    return _checked(frame, ids, first, path)


def _scores_of(frame: pl.DataFrame, path: str | Path) -> ClipScores:
    """A Parquet file's table."""
    kinds = [frame.schema[name].is_numeric() for name in frame.columns[1:]]
    if not frame.width or frame.schema[frame.columns[0]] != pl.String or not all(kinds):
        raise DataError(
            "invalid columns for clip scores",
            where=path,
            expected="video, then a column of numbers for each class id",
            got=", ".join(frame.columns[:8]),
        )
    return _checked(frame, _class_ids(frame.columns[1:], path), 1, path)


def _checked(frame: pl.DataFrame, ids: tuple[int, ...], first: int, path: str | Path) -> ClipScores:
    """The scores of a table, its rows counted from `first` in messages."""
    videos, numbers = frame.to_series(0), frame.select(frame.columns[1:]).cast(pl.Float64)
    scores = numbers.to_numpy().astype(np.float64)
    bad = ~np.isfinite(scores).all(axis=1) | videos.is_null().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            "missing or non-finite score",
            where=f"{path}, row {row + first}",
            expected=f"a video and {len(ids)} scores",
        )
    return ClipScores(
        videos=tuple(videos.str.strip_chars().to_list()),
        ids=ids,
        scores=scores,
        source=str(path),
    )


def evaluate_topk(found: ClipScores, truth: ClipLabels) -> TopK:
    """Top-1 and top-5 of the videos of `truth`, views of a video averaged.

    Raises DataError for a labelled video without scores, with two classes or with a class that
    has no column; scored videos that are not labelled are left out.
    """
    scores = found.joined("mean")
    labels = {v: ids for v, ids in truth.labels_of_videos().items() if ids}
    several = next((v for v, ids in labels.items() if len(ids) > 1), None)
    if several is not None:
        raise DataError(
            f"video {several!r} has several classes",
            where=truth.source,
            hint="score it with the metric charades",
        )
    rows = _rows_of(scores, list(labels), truth)
    column = {label: i for i, label in enumerate(scores.ids)}
    _check_classes(column, labels, truth)
    targets = np.array([column[ids[0]] for ids in labels.values()], np.int64)
    return top_k(scores.scores[rows], targets)


def evaluate_multilabel(found: ClipScores, truth: ClipLabels) -> MultiLabelReport:
    """Charades' mAP of the videos of `truth`, the maximum taken over the views of a video.

    Raises DataError for a listed video without scores or a class that has no column.
    """
    scores = found.joined("max")
    labels = truth.labels_of_videos()
    rows = _rows_of(scores, list(labels), truth)
    column = {label: i for i, label in enumerate(scores.ids)}
    _check_classes(column, labels, truth)
    wanted = np.zeros((len(labels), len(scores.ids)), np.int64)
    for row, ids in enumerate(labels.values()):
        wanted[row, [column[i] for i in ids]] = 1
    return charades_map(scores.scores[rows], wanted)


def _rows_of(scores: ClipScores, videos: list[str], truth: ClipLabels) -> list[int]:
    """The row of each video of the truth."""
    place = {video: row for row, video in enumerate(scores.videos)}
    absent = [video for video in videos if video not in place]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(videos)} labelled videos have no scores",
            where=scores.source,
            expected=", ".join(absent[:3]),
            got=", ".join(scores.videos[:3]) or "an empty file",
            hint=f"compare the video ids with those of {truth.source}",
        )
    return [place[video] for video in videos]


def _check_classes(
    column: dict[int, int], labels: dict[str, tuple[int, ...]], truth: ClipLabels
) -> None:
    for video, ids in labels.items():
        for label in ids:
            if label not in column:
                raise DataError(
                    f"class {label} of video {video!r} has no score",
                    where=truth.source,
                    expected=f"one of {len(column)} classes from {min(column)} to {max(column)}",
                    hint="do both files count their classes from the same number?",
                )
