"""What a model predicted, on disk: AVA's detection CSV, or the same rows as Parquet.

Parquet has the columns `video, time_ms, x1, y1, x2, y2, class_id, score`, and `track_id` where it
comes from a detection; a file of all of AVA's
validation set is a fraction of the CSV, and read at once. The file's name decides: `.parquet`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.data.tables import read_ava_csv, write_ava_csv
from tubelet.errors import DataError, InputError
from tubelet.files import atomic_path
from tubelet.result_files import PREDICTION_COLUMNS, TRACK_ID

_TYPES: dict[type, pl.DataType] = {str: pl.String(), int: pl.Int64(), float: pl.Float64()}
COLUMNS = {name: _TYPES[kind] for name, kind in PREDICTION_COLUMNS.items()}
_PERSON = pl.when(pl.col(TRACK_ID) >= 0).then(TRACK_ID).alias("person")


def is_parquet(path: str | Path) -> bool:
    """Whether a file of this name is Parquet."""
    return Path(path).suffix.lower() == ".parquet"


def write_predictions(path: str | Path, table: Annotations) -> None:
    """Write detections, whole or not at all; `read_predictions` reads the same back.

    Parquet keeps whole milliseconds.
    """
    if not is_parquet(path):
        write_ava_csv(path, table, kind="detections")
        return
    rows = table.frame.with_columns(table.time_ms).rename({"label": "class_id"})
    write_parquet(path, rows.select(list(COLUMNS)))


def read_predictions(path: str | Path) -> Annotations:
    """Read detections of either form.

    Raises InputError where the file cannot be read, DataError naming the invalid row: a
    missing video, time, box, class or score, a number that is not finite, a box in pixels.
    """
    if not is_parquet(path):
        return read_ava_csv(path, kind="detections")
    frame = read_parquet(path)
    columns = {**COLUMNS, TRACK_ID: pl.Int64()} if TRACK_ID in frame.columns else COLUMNS
    if dict(frame.schema) != columns:
        raise DataError(
            "invalid columns for predictions",
            where=path,
            expected=", ".join(f"{name} {kind}" for name, kind in columns.items()),
            got=", ".join(f"{name} {kind}" for name, kind in frame.schema.items()),
        )
    numbers = pl.all_horizontal(pl.col(*BOX, "score").is_finite())
    inside = pl.all_horizontal(pl.col(*BOX).is_between(-1, 2))
    complete = pl.all_horizontal(pl.all().is_not_null())
    bad = ~frame.select((complete & numbers & inside).fill_null(False)).to_series()
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(
            "invalid detection row",
            where=f"{path}, row {row + 1}",
            expected="a video, a time, a box in [0, 1], a class and a finite score",
            got=", ".join(map(str, frame.row(row))),
        )
    return Annotations(
        frame=frame.select(
            "video",
            (pl.col("time_ms") * 1000).alias("time_us"),
            *BOX,
            pl.col("class_id").alias("label"),
            "score",
            *([_PERSON] if TRACK_ID in frame.columns else []),
        ),
        source=str(path),
    )


def write_parquet(path: str | Path, frame: pl.DataFrame) -> None:
    """Write a table, whole or not at all. Raises InputError where it cannot be written."""
    with atomic_path(Path(path)) as part:
        frame.write_parquet(part)


def read_parquet(path: str | Path, *, rows: int | None = None) -> pl.DataFrame:
    """A Parquet file, or its first `rows`.

    Raises InputError where it cannot be opened, DataError for another format.
    """
    try:
        with Path(path).open("rb") as file:
            return pl.read_parquet(file, n_rows=rows)
    except OSError as error:
        raise InputError(
            "cannot read the file", where=path, got=error.strerror, hint="check the path"
        ) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            "not a Parquet file", where=path, got=str(error).splitlines()[0][:120]
        ) from None
