"""`Annotations`: the one normal form of every box annotation, detection and proposal file.

Legend: R rows. A row is one (box, action) at one time. `label` null: a box without an action;
box null: a frame without people. Times are integer microseconds, because the official AVA script
keys a frame on its seconds with six decimals; boxes are xyxy in fractions of the frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from tubelet.errors import DataError, ShapeError
from tubelet.types import Key, People

BOX = ("x1", "y1", "x2", "y2")
SCHEMA: dict[str, Any] = {
    "video": pl.String,
    "time_us": pl.Int64,
    **dict.fromkeys(BOX, pl.Float64),
    "label": pl.Int64,
    "person": pl.Int64,
    "score": pl.Float64,
    "row": pl.UInt32,
}
CONTENT = tuple(name for name in SCHEMA if name != "row")


class Keyframe(NamedTuple):
    """One labelled keyframe: `labels[i]` are the action ids of person `i`, in file order."""

    key: Key
    people: People
    labels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations:
    """Rows of (video, time_us, x1, y1, x2, y2, label, person, score) in file order.

    `frame` has exactly the columns of `SCHEMA`; a missing nullable one is filled with nulls.
    `row` is the line in `source` that a row came from (null where the format has no lines).
    Coordinates are kept as the file gives them, a little outside [0, 1] included, because
    evaluation must see what the file says; readers refuse boxes that are clearly in pixels.
    """

    frame: pl.DataFrame
    source: str | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.frame.columns if name not in SCHEMA]
        if unknown or not {"video", "time_us"} <= set(self.frame.columns):
            raise ShapeError(
                "an annotation table has the wrong columns",
                expected=", ".join(SCHEMA),
                got=", ".join(self.frame.columns),
            )
        columns = [
            pl.col(name).cast(kind)
            if name in self.frame.columns
            else pl.lit(None, kind).alias(name)
            for name, kind in SCHEMA.items()
        ]
        try:
            frame = self.frame.select(columns)
        except pl.exceptions.PolarsError as error:
            raise ShapeError("an annotation table has the wrong types", got=error) from error
        if frame["video"].null_count() or frame["time_us"].null_count():
            raise ShapeError("missing video or time in an annotation", got="null")
        object.__setattr__(self, "frame", frame)

    @classmethod
    def of(
        cls,
        *,
        video: Sequence[str],
        time_us: npt.ArrayLike,
        boxes: npt.ArrayLike | None = None,
        label: Sequence[int | None] | npt.NDArray[Any] | None = None,
        person: Sequence[int | None] | npt.NDArray[Any] | None = None,
        score: Sequence[float | None] | npt.NDArray[Any] | None = None,
        row: Sequence[int | None] | npt.NDArray[Any] | None = None,
        source: str | Path | None = None,
    ) -> Annotations:
        """A table from columns of R values; `boxes (R, 4)`. None leaves a column null.

        Raises ShapeError when the columns differ in length.
        """
        columns: dict[str, Any] = {"video": video, "time_us": np.asarray(time_us, np.int64)}
        if boxes is not None:
            xyxy = np.asarray(boxes, np.float64).reshape(-1, 4)
            columns |= {name: xyxy[:, i] for i, name in enumerate(BOX)}
        named = {"label": label, "person": person, "score": score, "row": row}
        columns |= {name: values for name, values in named.items() if values is not None}
        if len({len(values) for values in columns.values()}) > 1:
            raise ShapeError(
                "the columns of an annotation table differ in length",
                got={name: len(values) for name, values in columns.items()},
            )
        frame = pl.DataFrame(
            {k: pl.Series(k, v, dtype=SCHEMA[k], strict=False) for k, v in columns.items()}
        )
        if boxes is not None:
            frame = frame.with_columns(pl.col(BOX).fill_nan(None))
        return cls(frame=frame, source=None if source is None else str(source))

    @classmethod
    def concat(cls, tables: Iterable[Annotations], source: str | None = None) -> Annotations:
        """The rows of several tables, one after the other; their row numbers are dropped
        unless they share one source."""
        listed = list(tables)
        if not listed:
            return cls.of(video=[], time_us=[], source=source)
        sources = {table.source for table in listed}
        frames = [table.frame for table in listed]
        if len(sources) > 1:
            frames = [frame.with_columns(row=pl.lit(None, pl.UInt32)) for frame in frames]
        shared = next(iter(sources)) if len(sources) == 1 else None
        return cls(frame=pl.concat(frames), source=source or shared)

    def __len__(self) -> int:
        return self.frame.height

    @property
    def time_ms(self) -> pl.Series:
        """Milliseconds, rounded half up, as `Key` wants them `(R,)`."""
        return self.frame.select(_TIME_MS).to_series()

    @property
    def boxes(self) -> npt.NDArray[np.float64]:
        """Boxes `(R, 4)`; NaN for a frame without people."""
        return self.frame.select(BOX).to_numpy()

    def videos(self) -> list[str]:
        """The video ids, sorted."""
        return sorted(self.frame["video"].unique().to_list())

    def keys(self) -> list[Key]:
        """Every keyframe once, sorted by video and time."""
        moments = self.frame.select("video", _TIME_MS).unique().sort("video", "time_ms")
        return [Key(video=video, time_ms=time) for video, time in moments.iter_rows()]

    def of_video(self, *videos: str) -> Annotations:
        """The rows of these videos."""
        return self._filtered(pl.col("video").is_in(videos))

    def without(self, moments: Annotations) -> Annotations:
        """The rows whose (video, time) is not among `moments` (excluded timestamps)."""
        kept = self.frame.join(
            moments.frame.select("video", "time_us").unique(),
            on=["video", "time_us"],
            how="anti",
            maintain_order="left",
        )
        return Annotations(frame=kept, source=self.source)

    def at_least(self, score: float) -> Annotations:
        """The rows scored `score` or higher; rows without a score are kept."""
        return self._filtered(pl.col("score").is_null() | (pl.col("score") >= score))

    def every(self, period_ms: int) -> Annotations:
        """Of each video, the timestamp nearest to each multiple of `period_ms`, among those that
        are nearer to it than to another; of two equally near the earlier."""
        period = period_ms * 1000
        multiple = (pl.col("time_us") / period).round()
        distance = (pl.col("time_us") - multiple * period).abs()
        nearest = distance == distance.min().over("video", multiple)
        first = pl.col("time_us") == (
            pl.when(nearest).then(pl.col("time_us")).min().over("video", multiple)
        )
        return self._filtered(nearest & first)

    def same_content(self, other: Annotations) -> bool:
        """Whether both say the same in the same order, wherever they were read from."""
        return self.frame.select(CONTENT).equals(other.frame.select(CONTENT))

    def where(self, index: int) -> str:
        """`file, row 12`: where row `index` of the table comes from."""
        row = self.frame["row"][index]
        place = f"row {row}" if row is not None else f"entry {index + 1}"
        return f"{self.source}, {place}" if self.source else place

    def keyframes(self) -> Iterator[Keyframe]:
        """Keyframes sorted by video and time, people in file order.

        Rows of one keyframe with the same box and person id are one person with several actions.
        A person's score is the highest of its rows, 1 where the file has none.
        """
        people = self._people()
        boxed = people["x1"].is_not_null() & people["x1"].is_not_nan().fill_null(False)
        own = people.filter(boxed)
        labels = list(map(tuple, own["label"].to_list()))
        moments = people.select("video", "time_ms")
        first = (moments != moments.shift(1)).fill_null(True).select(pl.any_horizontal(pl.all()))
        starts = first.to_series().arg_true()
        # People counted up to each keyframe: one without a box only says that the moment is known.
        counted = np.append(0, np.cumsum(boxed.to_numpy()))[[*starts, people.height]]
        bounds = counted.tolist()
        everyone = People.split(
            own.select(BOX).to_numpy(),
            own["score"].fill_null(1.0).to_numpy(),
            own["person"].fill_null(-1).to_numpy(),
            bounds,
        )
        for (video, time), present, begin, end in zip(
            moments[starts].iter_rows(), everyone, bounds, bounds[1:], strict=False
        ):
            yield Keyframe(Key(video=video, time_ms=time), present, tuple(labels[begin:end]))

    def _people(self) -> pl.DataFrame:
        one = ["video", "time_ms", *BOX, "person"]
        return (
            self.frame.with_columns(_TIME_MS)
            .group_by(one, maintain_order=True)
            .agg(pl.col("label").drop_nulls().unique(maintain_order=True), pl.col("score").max())
            .sort("video", "time_ms", maintain_order=True)
        )

    def _filtered(self, condition: pl.Expr) -> Annotations:
        return Annotations(frame=self.frame.filter(condition), source=self.source)


_TIME_MS = ((pl.col("time_us") + 500) // 1000).alias("time_ms")


def seconds_to_us(seconds: float, where: object = None) -> int:
    """Integer microseconds of a time in seconds; DataError unless finite and under 300 years."""
    if not abs(seconds) < 1e10:
        raise DataError("invalid time", where=where, expected="seconds", got=seconds)
    return round(seconds * 1e6)
