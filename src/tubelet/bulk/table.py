"""What is found in a film, and the table of many films.

The Parquet table has a row for each action of a person at a keyframe, in the order of the manifest,
then of time: the columns of `result_files` (`PREDICTION_COLUMNS` and the track id), which
`tubelet evaluate` reads. Format and version stand in the file's metadata as `tubelet.format` and
`tubelet.version`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tubelet.result_files import PREDICTION_COLUMNS, ROWS_FORMAT, ROWS_VERSION, TRACK_ID
from tubelet.results import Detections

SCHEMA: dict[str, type] = {**PREDICTION_COLUMNS, TRACK_ID: int}
METADATA = {"tubelet.format": ROWS_FORMAT, "tubelet.version": str(ROWS_VERSION)}
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilmRows:
    """The rows of one film, R of them: `time_ms (R,)`, `boxes (R, 4)`, `class_id (R,)`,
    `score (R,)`, `track_id (R,)`; how many keyframes and people there were, and what was wrong with
    the film that was used all the same."""

    name: str
    time_ms: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    track_id: npt.NDArray[np.int64]
    keyframes: int = 0
    people: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        moments: Iterable[Detections],
        min_score: float = 0.0,
        ghosts: Callable[[], Iterable[int]] = tuple,
    ) -> FilmRows:
        """From a film's keyframes; scores below `min_score` are left out, and so are the people
        whose track ids `ghosts` says when the last keyframe has been seen."""
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        everyone = [np.zeros(0, np.int64)]
        keyframes = 0
        for moment in moments:
            keyframes += 1
            everyone.append(moment.track_ids)
            who, what = np.nonzero(moment.action_scores >= min_score)
            if len(who):
                times = np.full(len(who), moment.key.time_ms, np.int64)
                classes = np.asarray(moment.labels.ids, np.int32)[what]
                scores = moment.action_scores[who, what]
                parts.append((times, moment.boxes[who], classes, scores, moment.track_ids[who]))
        empty = (
            np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int32),
            np.zeros(0, np.float32), np.zeros(0, np.int64),
        )  # fmt: skip
        joined = [np.concatenate(column) for column in zip(empty, *parts, strict=True)]
        gone = sorted(ghosts())
        joined = [column[~np.isin(joined[4], gone)] for column in joined]
        return cls(
            name=name,
            time_ms=joined[0],
            boxes=joined[1],
            class_id=joined[2],
            score=joined[3],
            track_id=joined[4],
            keyframes=keyframes,
            people=int((~np.isin(np.concatenate(everyone), gone)).sum()),
        )

    def __len__(self) -> int:
        return len(self.time_ms)

    def columns(self) -> Columns:
        """The table's columns, of this film alone."""
        sides = {name: self.boxes[:, side] for side, name in enumerate(("x1", "y1", "x2", "y2"))}
        return {
            "video": np.full(len(self), self.name, object),
            "time_ms": self.time_ms,
            **{name: values.astype(np.float64) for name, values in sides.items()},
            "class_id": self.class_id.astype(np.int64),
            "score": self.score.astype(np.float64),
            TRACK_ID: self.track_id,
        }


def joined_columns(films: Sequence[FilmRows]) -> Columns:
    """The columns of several films, one after the other."""
    each = [film.columns() for film in films]
    if not each:
        return FilmRows.of("", ()).columns()
    return {name: np.concatenate([columns[name] for columns in each]) for name in SCHEMA}


def parquet_of(films: Sequence[FilmRows]) -> bytes:
    """The table of several films as the content of a Parquet file."""
    file = io.BytesIO()
    pl.DataFrame(joined_columns(films), schema=SCHEMA).write_parquet(file, metadata=METADATA)
    return file.getvalue()
