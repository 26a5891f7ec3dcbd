"""What can be wrong with one table's boxes and rows."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.data.doctor.findings import Case, Finding, about_rows

_X1, _Y1, _X2, _Y2 = (pl.col(name) for name in BOX)
_PIXELS = pl.any_horizontal((pl.col(name) < -1) | (pl.col(name) > 2) for name in BOX)
_INVERTED = (_X1 > _X2) | (_Y1 > _Y2)
# Three decimals are AVA's own precision: less than that outside the frame is rounding.
_ROUNDING = 1e-3
# A set in the form x,y,width,height shows itself by this share of impossible corners.
_XYWH_SHARE = 0.05


def check_boxes(case: Case) -> Iterator[Finding]:
    """Every check of this file, on the truth and the proposals of every set."""
    for part in case.sets:
        yield from _check(part.truth, f"{part.name} truth")
        if part.proposals is not None:
            yield from _check(part.proposals, f"{part.name} proposals")


def _check(table: Annotations, subject: str) -> Iterator[Finding]:
    if not len(table):
        yield Finding(
            severity="error",
            code="no-rows",
            subject=subject,
            message="the file has no rows",
            examples=(str(table.source),),
            fix="check the path, and whether the export worked",
        )
        return
    yield from about_rows(
        table,
        _PIXELS,
        severity="error",
        code="box-in-pixels",
        subject=subject,
        message="boxes are far outside the frame: they seem to be in pixels",
        fix="divide x by the frame's width and y by its height",
    )
    yield from _outside(table, subject)
    yield from _inverted(table, subject)
    yield from about_rows(
        table,
        ((_X1 == _X2) & (_Y1 <= _Y2)) | ((_Y1 == _Y2) & (_X1 <= _X2)),
        severity="warning",
        code="box-empty",
        subject=subject,
        message="boxes have zero area: no detection can ever match them",
        fix="delete these rows or draw the boxes again",
    )
    yield from _twice(table, subject)


def _outside(table: Annotations, subject: str) -> Iterator[Finding]:
    beyond = pl.max_horizontal(-_X1, -_Y1, _X2 - 1, _Y2 - 1)
    most = table.frame.filter(~_PIXELS).select(beyond.max()).item() or 0.0
    yield from about_rows(
        table,
        (beyond > _ROUNDING) & ~_PIXELS,
        severity="note" if most < 0.01 else "warning",
        code="box-outside-frame",
        subject=subject,
        message=f"boxes extend beyond the frame, by up to {most:.2g} of it",
        fix="clip the coordinates to 0…1; training clips them, evaluation takes them as they are",
    )


def _inverted(table: Annotations, subject: str) -> Iterator[Finding]:
    boxes = table.frame.drop_nulls("x1").filter(~_PIXELS)
    fits = (_X1 + _X2 <= 1 + _ROUNDING) & (_Y1 + _Y2 <= 1 + _ROUNDING)
    share, fit = boxes.select(share=_INVERTED.mean(), fit=fits.all()).row(0)
    xywh = bool(fit) and (share or 0) >= _XYWH_SHARE
    yield from about_rows(
        table,
        _INVERTED & ~_PIXELS,
        severity="error",
        code="box-xywh" if xywh else "box-inverted",
        subject=subject,
        message="boxes end before they begin"
        + (", and every box would fit the frame as x,y,width,height" if xywh else ""),
        fix="add width and height to x and y"
        if xywh
        else "swap the corners so that x1 <= x2 and y1 <= y2",
    )


def _twice(table: Annotations, subject: str) -> Iterator[Finding]:
    content = ["video", "time_us", *BOX, "label", "person", "score"]
    again = pl.struct(content).is_duplicated() & ~pl.struct(content).is_first_distinct()
    yield from about_rows(
        table,
        again,
        severity="warning",
        code="row-twice",
        subject=subject,
        message="duplicate rows; a repeated truth row can never be matched",
        fix="delete the duplicates (sort | uniq)",
    )
    boxes = pl.struct(BOX).n_unique().over("video", "time_us", "person")
    yield from about_rows(
        table,
        pl.col("person").is_not_null() & pl.col("x1").is_not_null() & (boxes > 1),
        severity="warning",
        code="person-in-two-places",
        subject=subject,
        message="one person id has different boxes at the same time",
        fix="give each person a unique id, and the same box in each of its action rows",
    )
