"""The file formats of results, in plain values, so that a record can save itself.

CSV is AVA's detection file, without a header: `video_id,timestamp,x1,y1,x2,y2,action_id,score`,
which has no place for track ids. Parquet has the same rows in the columns `PREDICTION_COLUMNS` and
the track id. Both are what `tubelet evaluate` reads. JSON keeps everything: a head, and a list with
one record per line, in six decimals.

The tables for people (`TableForm`) are the same rows as CSV with a header, Parquet or JSON.
`schemas/` describes every file; a test holds each output against its description.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tubelet.errors import DataError, InputError
from tubelet.files import atomic_path, atomic_text

PREDICTION_COLUMNS: Mapping[str, type] = {
    "video": str,
    "time_ms": int,
    **dict.fromkeys(("x1", "y1", "x2", "y2"), float),
    "class_id": int,
    "score": float,
}

TRACK_ID = "track_id"  # the Parquet column beyond PREDICTION_COLUMNS; −1 unknown
ROWS_FORMAT, ROWS_VERSION = "tubelet.rows", 2

Kind = Literal["csv", "json", "parquet"]


class Row(NamedTuple):
    """One action of one person at one moment; the box is xyxy in [0, 1]."""

    video: str
    time_ms: int
    box: tuple[float, ...]
    class_id: int
    score: float
    track_id: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableForm:
    """A table for people. `format` and `version` stand in the metadata of Parquet and the head of
    JSON; CSV has only a header, which is that of this version and no other. `columns` by type;
    `decimals` of a column of fractions in CSV, 4 if not given."""

    format: str
    version: int
    columns: Mapping[str, type]
    decimals: Mapping[str, int]

    def cell(self, name: str, value: Any) -> str:
        """A value as CSV has it."""
        if self.columns[name] is float:
            return f"{value:.{self.decimals.get(name, 4)}f}"
        return str(value)


def kind_of(path: str | Path) -> Kind:
    """The format of a results file, by its extension. Raises InputError for another one."""
    match Path(path).suffix.lower():
        case ".csv":
            return "csv"
        case ".json":
            return "json"
        case ".parquet":
            return "parquet"
    raise InputError(
        "unknown extension of a results file",
        where=path,
        expected=".csv, .json or .parquet",
    )


def write_rows(path: str | Path, rows: Iterable[Row]) -> int:
    """Write rows as CSV or Parquet, by the file's name, whole or not at all; returns how many."""
    if kind_of(path) == "parquet":
        return _write_parquet(Path(path), list(rows))
    return write_csv(path, rows)


def write_csv(path: str | Path, rows: Iterable[Row]) -> int:
    """Write rows as they come, so that memory does not grow with the film; the file takes its name
    when the last is written. Returns how many."""
    count = 0
    with atomic_text(Path(path)) as file:
        table = csv.writer(file, lineterminator="\n")
        for row in rows:
            box = [f"{side:.6f}" for side in row.box]
            time, score = seconds(row.time_ms), f"{row.score:.6g}"
            table.writerow([row.video, time, *box, row.class_id, score])
            count += 1
    return count


def seconds(time_ms: int) -> str:
    """Milliseconds as AVA's seconds: `902` for whole ones, else three decimals (`902.040`)."""
    return str(time_ms // 1000) if time_ms % 1000 == 0 else f"{time_ms / 1000:.3f}"


def _write_parquet(path: Path, rows: list[Row]) -> int:
    import polars as pl  # loads slowly, and records that nobody saves do not need it

    flat = [(r.video, r.time_ms, *r.box, r.class_id, r.score, r.track_id) for r in rows]
    frame = pl.DataFrame(flat, schema={**PREDICTION_COLUMNS, TRACK_ID: int}, orient="row")
    with atomic_path(path) as part:
        frame.write_parquet(part, metadata=_versioned(ROWS_FORMAT, ROWS_VERSION))
    return len(rows)


def _versioned(name: str, version: int) -> dict[str, str]:
    return {"tubelet.format": name, "tubelet.version": str(version)}


def write_table(path: str | Path, form: TableForm, rows: Iterable[Sequence[Any]]) -> int:
    """Write rows of values in the order of `form.columns` as CSV (as they come), Parquet or JSON,
    by the file's name, whole or not at all; returns how many.

    Raises InputError for another kind of file.
    """
    match kind_of(path):
        case "csv":
            return _write_headed_csv(Path(path), form, rows)
        case "json":
            listed = [dict(zip(form.columns, row, strict=True)) for row in rows]
            head = {"format": form.format, "version": form.version}
            write_document(path, head, "rows", listed)
            return len(listed)
    import polars as pl  # as above

    frame = pl.DataFrame(list(rows), schema=dict(form.columns), orient="row")
    with atomic_path(Path(path)) as part:
        frame.write_parquet(part, metadata=_versioned(form.format, form.version))
    return frame.height


def _write_headed_csv(path: Path, form: TableForm, rows: Iterable[Sequence[Any]]) -> int:
    count = 0
    with atomic_text(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(form.columns)
        for row in rows:
            cells = zip(form.columns, row, strict=True)
            table.writerow([form.cell(name, value) for name, value in cells])
            count += 1
    return count


def write_document(
    path: str | Path, head: Mapping[str, Any], key: str, items: Iterable[Mapping[str, Any]]
) -> None:
    """Write a JSON object: the fields of `head`, then `key`, a list with one item per line."""
    with atomic_text(Path(path)) as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + f', "{key}": [')
        for i, item in enumerate(items):
            file.write((",\n" if i else "\n") + json.dumps(item, ensure_ascii=False))
        file.write("\n]}\n")


def rounded(values: npt.NDArray[np.floating]) -> Any:
    """Nested lists in six decimals."""
    # Through float64: a float32 rounded to six decimals prints as 0.10000000149.
    return np.round(np.asarray(values, np.float64), 6).tolist()


def check_finite(values: npt.NDArray[np.floating], where: str) -> None:
    """Raise DataError for a score that is not a number."""
    if not np.isfinite(values).all():
        raise DataError(
            "invalid score: not a number",
            where=where,
            expected="a probability",
            got=values[~np.isfinite(values)][0],
            hint="check the model's weights and its input",
        )
