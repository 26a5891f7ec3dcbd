"""Tables for a terminal: who does what and when, and the scores of an evaluation.

Functions take records and return rich renderables; the command line prints them. A table fits its
terminal by leaving out columns, never by cutting or wrapping their content.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tubelet.drawing.draw import colour_of
from tubelet.render.html import hex_colour
from tubelet.render.timeline import Segment, Spans, segments
from tubelet.results import Tube

_BAR = 16
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 3  # cells between two columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a `FittedTable`; an `optional` one goes where the terminal is too narrow."""

    name: str
    right: bool = False
    optional: bool = False


class FittedTable:
    """Rows of whole cells, as wide as the terminal has room.

    Optional columns that do not fit are left out, the last first. Where even the others are too
    wide, cells wrap to the next line, so that nothing is lost. The last row is set apart, as a
    sum, if `foot`.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str | Text]],
        *,
        title: str | None = None,
        foot: bool = False,
    ) -> None:
        self.columns, self.rows, self.title, self.foot = tuple(columns), list(rows), title, foot

    def shown(self, width: int) -> list[int]:
        """The columns that `width` has room for."""
        kept = list(range(len(self.columns)))
        for index in reversed(range(len(self.columns))):
            if sum(self._width(i) + _GAP for i in kept) - _GAP <= width:
                break
            if self.columns[index].optional:
                kept.remove(index)
        return kept

    def _width(self, index: int) -> int:
        cells = [Text(self.columns[index].name), *(as_text(row[index]) for row in self.rows)]
        return max(line.cell_len for cell in cells for line in cell.split())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = self.shown(options.max_width)
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            title=self.title and Text(self.title),
            title_justify="left",
        )
        for index in kept:
            column = self.columns[index]
            table.add_column(
                Text(column.name), justify="right" if column.right else "left", overflow="fold"
            )
        for number, row in enumerate(self.rows, 1):
            last_before_foot = self.foot and number == len(self.rows) - 1
            table.add_row(*(as_text(row[i]) for i in kept), end_section=last_before_foot)
        yield table


def as_text(cell: str | Text) -> Text:
    """A cell without markup: a name may hold brackets."""
    return cell if isinstance(cell, Text) else Text(cell)


def action_table(
    tubes: Iterable[Tube],
    *,
    spans: Spans,
    every_ms: int,
    title: str | None = None,
    limit: int = 40,
    film_end_ms: int | None = None,
) -> RenderableType:
    """One row per action of a person, in order of time; the score is the mean over its keyframes.
    Somebody of whom no action is shown has a row with "–".

    At most `limit` rows; a last line says how many were left out.
    """
    rows, actions = [], 0
    for tube in tubes:
        parts = segments(tube, spans, every_ms, film_end_ms=film_end_ms)
        actions += len(parts)
        rows += [((p.start_ms, p.track_id, -p.score), _action_row(tube, p)) for p in parts]
        if not parts and len(tube):
            start_ms, end_ms = tube.life(every_ms, film_end_ms)
            rows.append(((start_ms, tube.track_id, 0.0), _person_row(tube, start_ms, end_ms)))
    nothing = Text(f"No actions found at threshold {spans.on:g}.", style="yellow")
    if not rows:
        return nothing
    rows.sort(key=lambda pair: pair[0])
    columns = (
        Column(name="person"),
        Column(name="action"),
        Column(name="from", right=True),
        Column(name="to", right=True),
        Column(name="score", right=True),
        Column(name="", optional=True),
    )
    below: list[RenderableType] = [] if actions else [nothing]
    if len(rows) > limit:
        below.append(Text(f"  … and {len(rows) - limit} more in the files", style="dim"))
    table = FittedTable(columns, [row for _, row in rows[:limit]], title=title)
    return Group(table, *below) if below else table


def _person(track_id: int) -> Text:
    mark = Text("●", hex_colour(colour_of(track_id)))
    return mark.append(f" {track_id if track_id >= 0 else '?'}", "default")


def _person_row(tube: Tube, start_ms: int, end_ms: int) -> list[str | Text]:
    return [_person(tube.track_id), "–", _clock(start_ms), _clock(end_ms), "", ""]


def _action_row(tube: Tube, part: Segment) -> list[str | Text]:
    style = hex_colour(colour_of(part.track_id))
    return [
        _person(part.track_id),
        tube.labels.names[part.column],
        _clock(part.start_ms),
        _clock(part.end_ms),
        f"{part.score:.2f}",
        Text(bar(part.score, 10), style),
    ]


def report_table(report: Mapping[str, Any]) -> RenderableType:
    """An evaluation: one row per class with its AP as a bar, best first, then the mean.

    `report`: `{"map": float, "classes": [{"name", "ap" (None without truth), "instances"}],
    "protocol": {…}}`, as `report_page.write_report_page` takes it.
    """
    columns = (
        Column(name="class"),
        Column(name="truth", right=True),
        Column(name="AP", right=True),
        Column(name="", optional=True),
    )
    rows: list[list[str | Text]] = [_class_row(row) for row in by_ap(report["classes"])]
    mean = report["map"]
    shown, length = (f"{mean:.4f}", mean) if has_truth(mean) else ("–", 0)
    rows.append([Text("mean", "bold"), "", Text(shown, "bold"), Text(bar(length, _BAR), "green")])
    table = FittedTable(columns, rows, foot=True)
    lines = [Text(f"{name}: {value}", "dim") for name, value in report.get("protocol", {}).items()]
    return Group(table, *lines)


def _class_row(row: Mapping[str, Any]) -> list[str | Text]:
    ap, truth = row["ap"], f"{row['instances']:,}"
    if not has_truth(ap):
        return [str(row["name"]), truth, "–", Text("no truth", "dim")]
    return [str(row["name"]), truth, f"{ap:.4f}", Text(bar(ap, _BAR), "cyan")]


def by_ap(classes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Classes best first; those without truth (AP None or NaN) last, in their own order."""
    return sorted(classes, key=lambda row: row["ap"] if has_truth(row["ap"]) else -1, reverse=True)


def has_truth(ap: float | None) -> TypeGuard[float]:
    """Whether a class could be scored at all."""
    return ap is not None and not math.isnan(ap)


def bar(share: float, width: int) -> str:
    """A bar of `share` of `width` characters, to an eighth of one."""
    eighths = round(min(max(share, 0), 1) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _clock(time_ms: int) -> str:
    minutes, tenths = divmod(round(time_ms / 100), 600)
    return f"{minutes}:{tenths / 10:04.1f}"
