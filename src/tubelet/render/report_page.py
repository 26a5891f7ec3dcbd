"""The page of an evaluation: AP of each class as bars, precision over recall, and the protocol.

One HTML file without any script; it makes no network requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tubelet.errors import DataError
from tubelet.files import atomic_text
from tubelet.render.html import render
from tubelet.render.tables import by_ap, has_truth

MAX_POINTS = 400


def write_report_page(
    path: str | Path,
    report: Mapping[str, Any],
    *,
    title: str = "Evaluation",
    unit: str = "labelled boxes",
) -> None:
    """Write the evaluation page.

    `report`: `{"map": float | None, "classes": [{"name": str, "ap": float | None (no truth),
    "instances": int, "pr": [[recall, precision], …] (optional)}, …],
    "protocol": {name: value, …} (optional)}`, and what a study adds (all optional): "groups" and
    "frequency" `{name: mAP}`, "people" `{"ap", "recall", "iou"}`, "interval" `{"low", "high",
    "level"}`, "errors" `{"cost": {cause: mAP}}`. `unit`: what `instances` count.

    Raises DataError naming the class and the field for a report with a missing field or a figure
    outside [0, 1].
    """
    try:
        mean, classes = _figure(report["map"], "map"), by_ap(report["classes"])
        rows = [_row(i, row) for i, row in enumerate(classes)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "not an evaluation report",
            where=path,
            expected="map, classes (name, ap, instances, pr), protocol",
            got=f"{type(error).__name__}: {error}",
        ) from error
    counted = sum(has_truth(row["ap"]) for row in classes)
    instances = sum(int(row["instances"]) for row in classes)
    page = render(
        "report",
        title=title,
        facts=[
            ("–" if mean is None else f"{mean:.4f}", "mean average precision"),
            (f"{counted} of {len(rows)}", "classes with truth"),
            (f"{instances:,}", unit),
            *_study_facts(report),
        ],
        groups=[
            _bar(name, value)
            for name, value in {**report.get("groups", {}), **report.get("frequency", {})}.items()
            if has_truth(value)
        ],
        errors=[
            _bar(name, value)
            for name, value in report.get("errors", {}).get("cost", {}).items()
            if has_truth(value)
        ],
        classes=rows,
        curves=[row for row in rows if row["curve"]],
        protocol=[(str(name), _words(v)) for name, v in report.get("protocol", {}).items()],
    )
    with atomic_text(Path(path)) as file:
        file.write(page)


def _study_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if "interval" in report:
        spread = report["interval"]
        if spread is not None and has_truth(spread["low"]) and has_truth(spread["high"]):
            span = f"{spread['low']:.4f}–{spread['high']:.4f}"
            facts.append((span, f"{spread['level']:.0%} interval over videos"))
    if "people" in report:
        people = report["people"]
        for name in ("ap", "recall"):
            if has_truth(people[name]):
                title = f"{'AP' if name == 'ap' else name}@{people['iou']:g} of the boxes alone"
                facts.append((f"{people[name]:.4f}", title))
    return facts


def _bar(name: str, value: float) -> dict[str, str]:
    percent = f"{100 * min(max(value, 0.0), 1.0):.2f}"
    return {"name": name, "value": f"{value:.4f}", "percent": percent}


def _row(index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    ap = _figure(row["ap"], f"ap of {row['name']}")
    return {
        "name": str(row["name"]),
        "anchor": f"class-{index}",
        "instances": f"{int(row['instances']):,}",
        "ap": "–" if ap is None else f"{ap:.4f}",
        "percent": f"{100 * (ap or 0):.2f}",
        "curve": _curve(row.get("pr") or (), str(row["name"])),
    }


def _curve(points: Sequence[Sequence[float]], name: str) -> str:
    """An SVG path in a 100×100 square; long curves keep `MAX_POINTS` points, evenly chosen."""
    keep = range(len(points))
    if len(points) > MAX_POINTS:
        keep = range(0, len(points), math.ceil(len(points) / MAX_POINTS))
    chosen = [points[i] for i in keep]
    if len(points) and keep[-1] != len(points) - 1:
        chosen.append(points[-1])
    steps = []
    for recall, precision in chosen:
        x, y = _figure(recall, f"recall of {name}"), _figure(precision, f"precision of {name}")
        if x is not None and y is not None:
            steps.append((100 * x, 100 - 100 * y))
    if not steps:
        return ""
    start = f"M0 {steps[0][1]:.2f}"
    return start + "".join(f"L{x:.2f} {y:.2f}" for x, y in steps)


def _figure(value: Any, name: str) -> float | None:
    """A share in [0, 1]; NaN, which a class without truth has, counts as None."""
    if not has_truth(value):
        return None
    if not 0 <= value <= 1:
        raise DataError(f"invalid {name}: not a share", expected="0 to 1", got=value)
    return float(value)


def _words(value: Any) -> str:
    """A protocol's value in words; lists and mappings become one line."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(v)}" for name, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(v) for v in value) or "none"
    return str(value)
