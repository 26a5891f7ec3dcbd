"""BoxTable: a table of labelled or scored boxes as plain columns, and how two tables join.

Shape legend: N rows, V videos, F frames. A frame is a (video, time) pair; the time is an integer
number of microseconds, so that it equals the `%.6f` key of the official AVA script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.errors import DataError, ShapeError
from tubelet.types import check_shape

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

NO_LABEL = int(np.iinfo(np.int64).min)
"""Label of a row without an action: a bare person box, or a frame without people."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxTable:
    """N rows in file order.

    `videos` V distinct names and `video (N,)` int32 codes into them; `time_us (N,)` int64;
    `boxes (N, 4)` float64 xyxy, four NaNs in a row that only says that its frame has no people;
    `labels (N,)` int64 class ids, `NO_LABEL` where there is none; `scores (N,)` float64;
    `scored (N,)` False where the file gave no score (its score is then 1), None if all have one.

    Use `BoxTable.of` to build one from names. Raises ShapeError for columns that do not fit each
    other, and DataError for a score or a coordinate that is not a number.
    """

    videos: tuple[str, ...]
    video: I32
    time_us: I64
    boxes: F64
    labels: I64
    scores: F64
    scored: Bools | None = None

    def __post_init__(self) -> None:
        n = len(self.video)
        check_shape(self.time_us, (n,), "BoxTable.time_us")
        check_shape(self.boxes, (n, 4), "BoxTable.boxes")
        check_shape(self.labels, (n,), "BoxTable.labels")
        check_shape(self.scores, (n,), "BoxTable.scores")
        if self.scored is not None:
            check_shape(self.scored, (n,), "BoxTable.scored")
        if n and not 0 <= int(self.video.min()) <= int(self.video.max()) < len(self.videos):
            raise ShapeError(
                "BoxTable.video has a code without a video",
                expected=f"0 to {len(self.videos) - 1}",
                got=f"{self.video.min()} to {self.video.max()}",
            )
        _refuse_rows(~np.isfinite(self.scores), self.scores, "score")
        corners = [np.isfinite(self.boxes[:, i]) for i in range(4)]
        empty = np.isnan(self.boxes[:, 0])
        for i in range(1, 4):
            empty &= np.isnan(self.boxes[:, i])
        complete = corners[0] & corners[1] & corners[2] & corners[3]
        empty &= self.labels == NO_LABEL
        _refuse_rows(~(complete | empty), self.boxes, "box")

    @classmethod
    def of(
        cls,
        *,
        videos: Sequence[str] | npt.NDArray[Any],
        time_us: npt.ArrayLike,
        boxes: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        scores: npt.ArrayLike | None = None,
        scored: npt.ArrayLike | None = None,
    ) -> BoxTable:
        """A table from one video name per row; without labels or scores, none are known."""
        listed = np.asarray(videos, dtype=np.str_).reshape(-1)
        names, codes = np.unique(listed, return_inverse=True)
        n = len(listed)
        known = np.ones(n, np.bool_) if scored is None else np.asarray(scored, np.bool_)
        return cls(
            videos=tuple(names.tolist()),
            video=codes.astype(np.int32),
            time_us=np.asarray(time_us, np.int64).reshape(-1),
            boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
            labels=np.full(n, NO_LABEL) if labels is None else np.asarray(labels, np.int64),
            scores=np.ones(n) if scores is None else np.asarray(scores, np.float64),
            scored=known if scores is not None else np.zeros(n, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.video)

    def select(self, rows: npt.NDArray[Any]) -> BoxTable:
        """The rows at `rows` (integers or a mask), in that order, with the same video names."""
        return BoxTable(
            videos=self.videos,
            video=self.video[rows],
            time_us=self.time_us[rows],
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            scores=self.scores[rows],
            scored=None if self.scored is None else self.scored[rows],
        )

    def key(self, row: int) -> str:
        """Where a row belongs, for messages: `video @ seconds`."""
        return f"{self.videos[int(self.video[row])]} @ {int(self.time_us[row]) / 1e6:.6f}"


def _refuse_rows(bad: Bools, values: F64, what: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"invalid {what}: not a number",
            where=f"row {row + 1} of the table ({int(bad.sum())} such rows)",
            expected="finite numbers",
            got=values[row].tolist(),
            hint="the model that wrote this row diverged, or the columns are in the wrong order",
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Frame numbers shared by several tables: `of[i] (N_i,)` is the frame of each row of table i.

    Frames count from 0 to `count` − 1; `video (F,)` indexes `videos`.
    """

    of: tuple[I32, ...]
    count: int
    video: I32
    time_us: I64
    videos: tuple[str, ...]


def join_frames(*tables: BoxTable) -> Frames:
    """Number the frames of several tables alike: equal video name and time, equal number.

    Runs of rows of one frame are found first, so a file in frame order costs one pass.
    """
    names: dict[str, int] = {}
    for table in tables:
        for name in table.videos:
            names.setdefault(name, len(names))
    run_video, run_time, run_sizes = [], [], []
    for table in tables:
        shared = np.array([names[v] for v in table.videos], np.int32)
        change = np.ones(len(table), np.bool_)
        if len(table):
            np.not_equal(table.video[1:], table.video[:-1], out=change[1:])
            change[1:] |= table.time_us[1:] != table.time_us[:-1]
        starts = np.flatnonzero(change)
        run_video.append(shared[table.video[starts]] if len(starts) else np.zeros(0, np.int32))
        run_time.append(table.time_us[starts])
        run_sizes.append(np.diff(np.append(starts, len(table))))
    video, time = np.concatenate(run_video), np.concatenate(run_time)
    times, time_index = np.unique(time, return_inverse=True)
    key = video.astype(np.int64) * max(len(times), 1) + time_index
    distinct, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    ends = np.cumsum([len(v) for v in run_video])[:-1]
    return Frames(
        of=tuple(
            np.repeat(part.astype(np.int32), sizes)
            for part, sizes in zip(np.split(inverse, ends), run_sizes, strict=True)
        ),
        count=len(distinct),
        video=video[first],
        time_us=time[first],
        videos=tuple(names),
    )
