"""`tubelet people bench`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from tubelet.api import choose_device
from tubelet.cli.console import note, out, print_json, show
from tubelet.errors import InputError
from tubelet.people.bench import LOWEST, BenchRow, PersonBench, SizeRow, bench
from tubelet.people.named import person_detector
from tubelet.people.stills import read_stills
from tubelet.people.training.person_small import is_held_out
from tubelet.render.tables import Column, FittedTable


def print_bench(
    images: Path,
    boxes: Path | None,
    name: str,
    threshold: float | None,
    *,
    held_out: bool,
    device: str,
    as_json: bool,
) -> None:
    """Measure the detector `name` on labelled stills and print what was found."""
    stills = [s for s in read_stills(images, boxes) if not held_out or is_held_out(s.name)]
    if not stills:
        raise InputError("no picture is left to measure on", where=images, arguments=("held_out",))
    where = choose_device(device)
    if threshold is None:
        threshold = person_detector(name, device=where).threshold
    note(f"{name}: {len(stills)} pictures")
    report = bench(
        person_detector(name, threshold=LOWEST, device=where), stills, threshold=threshold
    )
    if as_json:
        print_json({"detector": name, **_json(asdict(report))})
        return
    _print(name, report)


def _print(name: str, report: PersonBench) -> None:
    recall = f"recall at {report.threshold:g}"
    of_rows = ("source", "pictures", "people", "AP@0.5", recall, "precision", "errors", "ghosts")
    show(
        [
            FittedTable(_columns(of_rows), [_cells(row) for row in report.rows]),
            "",
            FittedTable(
                _columns(("height", "people", recall, "at any score")),
                [_size_cells(row) for row in report.sizes],
            ),
            "",
            "errors: per picture, at that score; ghosts: those of pictures without anybody",
        ]
    )
    out.print(f"{name}: {report.ms:.1f} ms of processor time a picture")


def _columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple(Column(name=name, right=number > 0) for number, name in enumerate(names))


def _cells(row: BenchRow) -> list[str | Text]:
    figures = (row.ap, row.recall, row.precision, row.errors, row.ghosts)
    return [row.name, str(row.pictures), str(row.people), *map(_figure, figures)]


def _size_cells(row: SizeRow) -> list[str | Text]:
    span = f"{row.low:g} px up" if row.high == float("inf") else f"{row.low:g} to {row.high:g} px"
    return [span, str(row.people), _figure(row.recall), _figure(row.recall_any)]


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _json(value: Any) -> Any:
    """JSON has neither NaN nor infinity: nothing is known, or there is no end."""
    if isinstance(value, dict):
        return {key: _json(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_json(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
