"""Tables for a terminal: who does what from when to when, and the scores of an evaluation.

Functions take records and return rich renderables; the command line prints them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tubelet.render.draw import colour_of
from tubelet.render.html import hex_colour
from tubelet.render.timeline import segments
from tubelet.types import Tube

_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def action_table(
    tubes: Iterable[Tube],
    *,
    threshold: float,
    every_ms: int,
    title: str | None = None,
    limit: int = 40,
) -> RenderableType:
    """One row an action of a person, in order of time; the score is the mean over its keyframes.

    At most `limit` rows; a last line says how many were left out.
    """
    found = [(tube, part) for tube in tubes for part in segments(tube, threshold, every_ms)]
    if not found:
        return Text(f"Nobody does anything at threshold {threshold:g}.", style="yellow")
    found.sort(key=lambda pair: (pair[1].start_ms, pair[1].track_id, -pair[1].score))
    table = Table(box=SIMPLE_HEAD, title=title and Text(title), title_justify="left")
    for name in ("person", "action"):
        table.add_column(name)
    for name in ("from", "to", "score"):
        table.add_column(name, justify="right")
    table.add_column("")
    for tube, part in found[:limit]:
        style = hex_colour(colour_of(part.track_id))
        table.add_row(
            Text("●", style).append(f" {part.track_id if part.track_id >= 0 else '?'}", "default"),
            Text(tube.labels.names[part.column]),
            _clock(part.start_ms),
            _clock(part.end_ms),
            f"{part.score:.2f}",
            Text(bar(part.score, 10), style),
        )
    if len(found) <= limit:
        return table
    return Group(table, Text(f"  … and {len(found) - limit} more in the CSV", style="dim"))


def report_table(report: Mapping[str, Any]) -> RenderableType:
    """An evaluation: one row a class with its AP as a bar, best first, then the mean.

    `report`: `{"map": float, "classes": [{"name", "ap" (None without truth), "instances"}],
    "protocol": {…}}`, as `report_page.write_report_page` takes it.
    """
    table = Table(box=SIMPLE_HEAD)
    table.add_column("class")
    table.add_column("truth", justify="right")
    table.add_column("AP", justify="right")
    table.add_column("")
    for row in by_ap(report["classes"]):
        ap = row["ap"]
        table.add_row(
            Text(str(row["name"])),
            f"{row['instances']:,}",
            f"{ap:.4f}" if has_truth(ap) else "–",
            Text(bar(ap, _BAR), "cyan") if has_truth(ap) else Text("no truth", "dim"),
        )
    table.add_section()
    mean = report["map"]
    shown, length = (f"{mean:.4f}", mean) if has_truth(mean) else ("–", 0)
    table.add_row(Text("mean", "bold"), "", Text(shown, "bold"), Text(bar(length, _BAR), "green"))
    lines = [Text(f"{name}: {value}", "dim") for name, value in report.get("protocol", {}).items()]
    return Group(table, *lines)


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
