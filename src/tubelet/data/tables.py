"""The normal form of annotations, and AVA's comma-separated files, read fast and checked exactly.

`video,seconds[,x1,y1,x2,y2[,action[,person or score]]]`: 2 columns are a frame without people,
6 a box without an action, 7 a box with one; an 8th is the person's id in truth files and the
score in detections and proposals, whose 7th may be empty. Seconds may be `0902` or `902.4`.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from tubelet.data.annotations import BOX, Annotations, Keyframe, seconds_to_us
from tubelet.data.dialects import canonical, with_ids
from tubelet.data.untrusted.reading import (
    decode,
    find_video,
    read_bytes,
    read_text,
    video_path,
    write_atomic,
)
from tubelet.errors import DataError
from tubelet.labels import LabelSpace

__all__ = [
    "KINDS",
    "Annotations",
    "Keyframe",
    "Kind",
    "check_labels",
    "find_video",
    "read_ava_csv",
    "read_excluded",
    "read_included",
    "video_path",
    "write_ava_csv",
]

Kind = Literal["truth", "detections", "proposals"]
KINDS: tuple[Kind, ...] = ("truth", "detections", "proposals")
_COLUMNS = ("video", "seconds", *BOX, "label", "last")
_NUMBERS = _COLUMNS[1:]
# What a user calls them.
_MEANT = ("a video id", "seconds", *(f"{name}, in fractions of the frame" for name in BOX),
          "an action id", "a number: person ids are numbers, and so are scores")  # fmt: skip
_WIDTHS = (2, 6, 7, 8)
# A coordinate this far out cannot be a person leaving the frame: it is pixels or percent.
_PIXELS_BELOW, _PIXELS_ABOVE = -1.0, 2.0
_HEADER_NAMES = {
    **dict.fromkeys(("video", "video_id", "video_name", "vid"), 0),
    **dict.fromkeys(
        ("timestamp", "time", "seconds", "frame_timestamp", "middle_frame_timestamp"), 1
    ),
    **dict.fromkeys(("x1", "xmin", "x_min"), 2),
    **dict.fromkeys(("y1", "ymin", "y_min"), 3),
    **dict.fromkeys(("x2", "xmax", "x_max"), 4),
    **dict.fromkeys(("y2", "ymax", "y_max"), 5),
    **dict.fromkeys(("label", "label_id", "action", "action_id", "class_id"), 6),
    **dict.fromkeys(("person", "person_id", "track_id", "entity_id", "score", "confidence"), 7),
}


def read_ava_csv(
    path: str | Path,
    *,
    kind: Kind = "truth",
    labels: LabelSpace | None = None,
    strict: bool = True,
) -> Annotations:
    """Read a truth, detections or proposals file, gzip or plain, comma or tab separated.

    Blank lines, one header line, a column of row numbers and a separator at the end are skipped;
    semicolons with decimal commas, UTF-16, and with `labels` class names are read as well. Always
    refused, naming row and column: a wrong number of columns, something that is not a number, NaN
    or infinity, a fractional action id, a detection without an action, and (with `labels`) an
    unknown action id. `strict` also refuses
    coordinates beyond [−1, 2] (pixels) and, except in detections, x1 > x2 or y1 > y2; without it
    the evaluators and the doctor see such rows as they are. A detection without a score has a
    null one (the official script reads 1).
    """
    data = with_ids(canonical(read_bytes(path)), labels, path)
    layout = _layout(data, path, kind)
    parsed = _parse_fast(data, layout)
    if parsed is None:
        parsed = _parse_slow(data, layout, path)
    blank = pl.col("video").fill_null("").str.strip_chars() == ""
    for name in _NUMBERS:
        blank &= pl.col(name).is_null()
    parsed = parsed.filter(~blank)
    for check in [*_always(kind), *(_strict(kind) if strict else [])]:
        check.apply(parsed, path)
    frame = parsed.select(
        "video",
        (pl.col("seconds") * 1e6).round().cast(pl.Int64).alias("time_us"),
        *BOX,
        pl.col("label").cast(pl.Int64),
        pl.col("last").cast(pl.Int64).alias("person")
        if kind == "truth"
        else pl.col("last").alias("score"),
        pl.col("row"),
    )
    table = Annotations(frame=frame, source=str(path))
    if labels is not None:
        check_labels(table, labels)
    return table


def check_labels(table: Annotations, labels: LabelSpace) -> None:
    """Raise DataError at the first row whose action id is not in `labels`."""
    known = pl.Series(labels.ids, dtype=pl.Int64).implode()
    unknown = table.frame["label"].is_not_null() & ~table.frame["label"].is_in(known)
    index = unknown.arg_max() if unknown.any() else None
    if index is None:
        return
    used = table.frame["label"].drop_nulls().unique().sort().to_list()
    low, high = min(labels.ids), max(labels.ids)
    shifted = used[0] == low - 1 or used[-1] == high + 1
    raise DataError(
        f"unknown action id {table.frame['label'][index]}",
        where=f"{table.where(index)}, column 7",
        expected=f"one of {len(labels)} ids from {low} to {high}",
        got=f"ids from {used[0]} to {used[-1]} in the file",
        hint="the ids seem off by one: does the file count from 0?"
        if shifted
        else "pass the label map that belongs to this file",
    )


def write_ava_csv(path: str | Path, table: Annotations, *, kind: Kind = "truth") -> None:
    """Write `table`, whole or not at all; `read_ava_csv` of the same kind reads the same back.

    Whole seconds have four digits as in AVA, others up to six decimals. Truth files have an 8th
    column if any person id is known; detections and proposals always do.
    """
    frame = table.frame
    last = "person" if kind == "truth" else "score"
    short = kind == "truth" and frame["person"].null_count() == frame.height
    seconds, micros = pl.col("time_us").abs() // 1_000_000, pl.col("time_us").abs() % 1_000_000
    sign = pl.when(pl.col("time_us") < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    fraction = micros.cast(pl.String).str.zfill(6).str.strip_chars_end("0")
    time = (
        pl.when(micros == 0)
        .then(sign + seconds.cast(pl.String).str.zfill(4))
        .otherwise(sign + seconds.cast(pl.String) + "." + fraction)
    )
    broken = frame["video"].str.contains(r"[\r\n]")
    if broken.any():
        raise DataError(
            "a video id with a line break in it cannot be written",
            where=table.where(broken.arg_max() or 0),
            got=repr(frame["video"][broken.arg_max() or 0]),
        )
    video = pl.col("video")
    quoted = '"' + video.str.replace_all('"', '""', literal=True) + '"'
    name = pl.when(video.str.contains(r'[",\t]|^\s|\s$')).then(quoted).otherwise(video)
    tail = [*BOX, "label"] if short else [*BOX, "label", last]
    cells = [pl.col(column).cast(pl.String).fill_null("") for column in tail]
    box = pl.concat_str(name, time, *cells, separator=",")
    bare = pl.concat_str(name, time, separator=",")
    lines = frame.select(pl.when(pl.col("x1").is_null()).then(bare).otherwise(box)).to_series()
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_excluded(path: str | Path) -> Annotations:
    """`video,seconds` rows (excluded timestamps): frames for `Annotations.without`."""
    table = read_ava_csv(path)
    boxed = table.frame["x1"].is_not_null()
    if boxed.any():
        raise DataError(
            "a list of timestamps has two columns",
            where=table.where(boxed.arg_max() or 0),
            expected="video,seconds",
        )
    return table


def read_included(path: str | Path) -> tuple[int, ...]:
    """One time per line in seconds (AVA's included timestamps) → microseconds, in file order."""
    times = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            where = f"{path}, row {number}"
            seconds = _number(line, where, 2)
            times.append(seconds_to_us(float("nan") if seconds is None else seconds, where))
    return tuple(times)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    separator: str
    header_lines: int


def _layout(data: bytes, path: str | Path, kind: Kind) -> _Layout:
    """Separator and number of lines to skip, from the first line that is not blank."""
    for number, raw in enumerate(io.BytesIO(data)):
        line = raw.decode("utf-8", "replace").strip()
        if not line:
            continue
        separator = "\t" if "\t" in line and "," not in line else ","
        names = [name.strip().strip('"').lower() for name in line.split(separator)]
        header = len(names) > 1 and not any(_is_number(name) for name in names[1:]) and names[1]
        if header:
            _check_header(names, f"{path}, row {number + 1}", kind)
        return _Layout(separator=separator, header_lines=number + 1 if header else 0)
    return _Layout(separator=",", header_lines=0)


def _check_header(names: list[str], where: str, kind: Kind) -> None:
    for place, name in enumerate(names):
        known = _HEADER_NAMES.get(name)
        if known is not None and known != place:
            raise DataError(
                f"column {name!r} is in the wrong place",
                where=where,
                expected=f"column {known + 1}",
                got=f"column {place + 1}",
                hint="order the columns video,seconds,x1,y1,x2,y2,action,person-or-score",
            )
    wrong = ("score", "confidence") if kind == "truth" else ("person_id", "track_id", "entity_id")
    if len(names) == 8 and names[7] in wrong:
        raise DataError(
            f"the 8th column is {names[7]!r}, which a {kind} file does not have",
            where=where,
            hint="read it as detections or proposals" if kind == "truth" else "read it as truth",
        )


def _parse_fast(data: bytes, layout: _Layout) -> pl.DataFrame | None:
    """Columns of `_COLUMNS` and `row` by polars' parser, or None if it cannot parse the file."""
    body = data
    for _ in range(layout.header_lines):
        body = body[body.index(b"\n") + 1 :] if b"\n" in body else b""
    if (
        b'"' in body
        or b"\0" in body
        or (b"\r" in body and body.count(b"\r") != body.count(b"\r\n"))
    ):
        return None
    # A header of our own lets rows be shorter than eight columns, in every polars version.
    header = layout.separator.join(_COLUMNS).encode() + b"\n"
    try:
        frame = pl.read_csv(
            header + body,
            separator=layout.separator,
            schema={"video": pl.String, **dict.fromkeys(_NUMBERS, pl.Float64)},
            quote_char=None,
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return None
    return frame.with_row_index("row", offset=1 + layout.header_lines)


def _parse_slow(data: bytes, layout: _Layout, path: str | Path) -> pl.DataFrame:
    """The same by Python's own parser; raises DataError at the first impossible cell."""
    text = decode(data, path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.separator, strict=True)
    rows: list[list[str | float | int | None]] = []
    number = 0
    try:
        for cells in reader:
            first, number = number + 1, reader.line_num
            if number > first:  # else one stray quote would swallow rows without a word
                raise DataError(
                    "unclosed quote: a quoted cell spans lines",
                    where=f"{path}, row {first}",
                    got=f"one row that ends in line {number}",
                    hint="close the quote",
                )
            if number <= layout.header_lines or not any(cell.strip() for cell in cells):
                continue
            where = f"{path}, row {number}"
            if len(cells) > 8:
                raise DataError("too many columns", where=where, expected=8, got=len(cells))
            numbers = [_number(c, where, i) for i, c in enumerate(cells[1:], 2)]
            numbers += [None] * (7 - len(numbers))
            rows.append([cells[0], *numbers, number])
    except csv.Error as error:
        raise DataError(
            "invalid row: not comma-separated text",
            where=f"{path}, row {reader.line_num}",
            got=error,
        ) from error
    schema = {"video": pl.String, **dict.fromkeys(_NUMBERS, pl.Float64), "row": pl.UInt32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _number(cell: str, where: str, column: int) -> float | None:
    if not cell.strip():
        return None
    if not _is_number(cell):
        several = column == 7 and re.fullmatch(r"\s*\d+(\s*[,;|/]\s*\d+)+\s*", cell)
        raise DataError(
            "several actions in one cell" if several else "invalid number",
            where=f"{where}, column {column}",
            expected=_MEANT[column - 1],
            got=repr(cell[:60]),
            hint="write one row each, with the same box" if several else None,
        )
    return float(cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """A row for which `bad` holds is refused."""

    bad: pl.Expr
    what: str
    column: str
    expected: str
    hint: str | None = None

    def apply(self, parsed: pl.DataFrame, path: str | Path) -> None:
        flags = parsed.select(self.bad.fill_null(False)).to_series()
        if not flags.any():
            return
        row = parsed.row(flags.arg_max() or 0, named=True)
        cells = [row[name] for name in _COLUMNS]
        got = ",".join("" if c is None else f"{c:g}" if isinstance(c, float) else c for c in cells)
        raise DataError(
            self.what,
            where=f"{path}, row {row['row']}, {self.column}",
            expected=self.expected,
            got=got.rstrip(","),
            hint=self.hint,
        )


def _always(kind: Kind) -> list[_Check]:
    corners = [pl.col(name) for name in BOX]
    absent = pl.sum_horizontal(c.is_null().cast(pl.Int8) for c in corners)
    label, last = pl.col("label"), pl.col("last")
    integer = "an integer or nothing"
    checks = [
        _Check(
            bad=pl.col("video").fill_null("").str.strip_chars() == "",
            what="missing video id",
            column="column 1",
            expected="a video id",
        ),
        _Check(
            bad=~(pl.col("seconds").abs() < 1e10).fill_null(False),
            what="invalid time",
            column="column 2",
            expected="seconds, such as 0902 or 902.4",
        ),
        _Check(
            bad=((absent > 0) & (absent < 4))
            | ((absent == 4) & (label.is_not_null() | last.is_not_null())),
            what="incomplete box",
            column="columns 3 to 6",
            expected=f"one of {', '.join(map(str, _WIDTHS))} columns",
        ),
        _Check(
            bad=pl.any_horizontal(~c.is_finite() for c in corners),
            what="invalid coordinate: not a finite number",
            column="columns 3 to 6",
            expected="x1,y1,x2,y2 in [0, 1]",
        ),
        _Check(
            bad=_fractional(label),
            what="invalid action id: not an integer",
            column="column 7",
            expected=integer,
            hint="a score belongs in column 8; leave column 7 empty in a proposals file",
        ),
    ]
    if kind == "truth":
        hint = "if the 8th column is a score, read the file as detections or proposals"
        what = "invalid person id: not an integer"
        return [
            *checks,
            _Check(
                bad=_fractional(last), what=what, column="column 8", expected=integer, hint=hint
            ),
        ]
    what = "invalid score: not a finite number"
    checks.append(_Check(bad=~last.is_finite(), what=what, column="column 8", expected="a number"))
    if kind == "detections":
        bad = label.is_null() & corners[0].is_not_null()
        what = "missing action of the detection"
        checks.append(_Check(bad=bad, what=what, column="column 7", expected="an action id"))
    return checks


def _strict(kind: Kind) -> list[_Check]:
    corners = [pl.col(name) for name in BOX]
    pixels = _Check(
        bad=pl.any_horizontal((c < _PIXELS_BELOW) | (c > _PIXELS_ABOVE) for c in corners),
        what="the box is far outside the frame",
        column="columns 3 to 6",
        expected="x1,y1,x2,y2 in fractions of the frame, from 0 to 1",
        hint="the boxes seem to be in pixels: divide x by the width and y by the height",
    )
    if kind == "detections":
        return [pixels]
    inverted = _Check(
        bad=(pl.col("x1") > pl.col("x2")) | (pl.col("y1") > pl.col("y2")),
        what="the box is inverted",
        column="columns 3 to 6",
        expected="x1 <= x2 and y1 <= y2",
        hint="is it x,y,width,height? then add the size to the corner",
    )
    return [pixels, inverted]


def _fractional(column: pl.Expr) -> pl.Expr:
    return ~((column == column.round()) & (column.abs() < 2**53))
