"""`Finding`: one problem found, with where to look and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.labels import LabelSpace

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`severity`: error (mAP will be wrong or training fails), warning (likely a mistake), note.

    `code` is stable for programs; `subject` names the set or file; `count` how often it occurs;
    up to three `examples` name file and row; `fix` is the likely remedy.
    """

    severity: Severity
    code: str
    subject: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self) | {"examples": list(self.examples)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One part of an experiment: `name` is "train", "val" or any other.

    `excluded` are timestamps used neither for training nor in the score (AVA's excluded
    timestamps).
    """

    name: str
    truth: Annotations
    proposals: Annotations | None = None
    excluded: Annotations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the doctor looks at: the sets, and what is known about labels and frame rate."""

    sets: tuple[DataSet, ...]
    labels: LabelSpace | None = None
    fps: float | None = None

    def named(self, name: str) -> DataSet | None:
        """The set called `name`, if there is one."""
        return next((s for s in self.sets if s.name == name), None)


def worst(findings: Sequence[Finding]) -> Severity | None:
    """The gravest severity among `findings`; None if there are none."""
    return min((f.severity for f in findings), key=SEVERITIES.index, default=None)


def about_rows(table: Annotations, flags: pl.Expr, **about: Any) -> list[Finding]:
    """One finding about the rows of `table` for which `flags` holds, or none."""
    mask = table.frame.select(flags.fill_null(False)).to_series()
    rows = mask.arg_true().to_list()
    examples = tuple(describe(table, index) for index in rows[:EXAMPLES])
    return [Finding(count=len(rows), examples=examples, **about)] if rows else []


def describe(table: Annotations, index: int) -> str:
    """`file, row 12: video at 902.000 s, box …, action 4`."""
    row = table.frame.row(index, named=True)
    parts = [f"{row['video']} at {row['time_us'] / 1e6:.3f} s"]
    if row["x1"] is not None:
        parts.append("box " + ",".join(f"{row[name]:.4g}" for name in BOX))
    named = (("action", row["label"]), ("person", row["person"]))
    parts += [f"{name} {value}" for name, value in named if value is not None]
    return f"{table.where(index)}: {', '.join(parts)}"
