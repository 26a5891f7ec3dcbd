"""`tubelet people list` and `tubelet people bench`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from tubelet.api import choose_device
from tubelet.cli.console import note, out, print_json, show
from tubelet.errors import InputError
from tubelet.people.auto import AUTO, BETTER
from tubelet.people.bench import LOWEST, BenchRow, PersonBench, SizeRow, bench
from tubelet.people.detectors.small import KIND, WEIGHTS
from tubelet.people.named import person_detector, resolved
from tubelet.people.rows import DetectorRow, rows_like
from tubelet.people.stills import read_stills
from tubelet.people.training.person_small import is_held_out
from tubelet.render.tables import Column, FittedTable


def list_detectors(pattern: str, *, as_json: bool) -> None:
    """Ours and the published person detectors whose name or family matches."""
    rows = rows_like(pattern) if pattern not in (KIND, AUTO) else []
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    columns = (
        Column(name="detector"),
        Column(name="COCO AP", right=True),
        Column(name="MB", right=True),
        Column(name="licence"),
        Column(name="where"),
        Column(name="source", optional=True),
    )
    show([FittedTable(columns, [_ours(), *(_listed(row) for row in rows)])])
    out.print("COCO AP: published, of 80 classes; of people alone: tubelet people bench")
    for text in dict.fromkeys(row.note for row in rows if row.note):
        names = [row.name for row in rows if row.note == text]
        out.print(f"{names[0]} to {names[-1]}: {text}" if names[1:] else f"{names[0]}: {text}")
    out.print(f"{AUTO}, the default: {BETTER.name} where it can be had, else {KIND}")
    out.print("take one: --people NAME; fetch: tubelet pull NAME; by hand: yolox:FILE.onnx")


def _ours() -> list[str]:
    size = f"{WEIGHTS.stat().st_size / 1e6:.1f}" if WEIGHTS.is_file() else ""
    return [KIND, "–", size, "Apache-2.0", "package", "this one"]


def _listed(row: DetectorRow) -> list[str]:
    where = row.where()
    source = row.url or row.spelling if where == "by hand" else row.model_id or row.source
    return [row.name, f"{row.ap:.1f}", f"{row.megabytes:.0f}", row.licence, where, source]


def print_bench(
    images: Path,
    boxes: Path | None,
    names: Sequence[str],
    threshold: float | None,
    *,
    held_out: bool,
    device: str,
    as_json: bool,
) -> None:
    """Measure detectors on labelled stills and print what was found; several side by side."""
    stills = [s for s in read_stills(images, boxes) if not held_out or is_held_out(s.name)]
    if not stills:
        raise InputError("no picture is left to measure on", where=images, arguments=("held_out",))
    where = choose_device(device)
    reports: dict[str, PersonBench] = {}
    for name in dict.fromkeys(resolved(name, note) for name in names):
        sure = person_detector(name, device=where).threshold if threshold is None else threshold
        note(f"{name}: {len(stills)} pictures")
        reports[name] = bench(
            person_detector(name, threshold=LOWEST, device=where), stills, threshold=sure
        )
        if not as_json:  # the next may take long
            _print(name, reports[name])
    if as_json:
        found = [{"detector": name, **_json(asdict(one))} for name, one in reports.items()]
        print_json(found if found[1:] else found[0])
    elif len(reports) > 1:
        _print_beside(reports)


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


def _print_beside(reports: dict[str, PersonBench]) -> None:
    """One line a detector: all pictures, AP of each source, recall by height."""
    some = next(iter(reports.values()))
    out.print("\nside by side")
    for name, report in reports.items():
        total = report.rows[0]
        figures = [("AP@0.5", total.ap), ("recall", total.recall), ("precision", total.precision)]
        figures.append(("ghosts", total.ghosts))
        told = "  ".join(f"{what} {_figure(value)}" for what, value in figures)
        out.print(f"{name}  {told}  {report.ms:.1f} ms")
    tables = [
        FittedTable(
            _columns(("AP@0.5 of source", *reports)),
            [
                [row.name, *(_figure(report.rows[n].ap) for report in reports.values())]
                for n, row in enumerate(some.rows)
            ],
        ),
        FittedTable(
            _columns(("recall of height", *reports)),
            [
                [_span(row), *(_figure(report.sizes[n].recall) for report in reports.values())]
                for n, row in enumerate(some.sizes)
            ],
        ),
    ]
    show(["", tables[0], "", tables[1]])


def _columns(names: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple(Column(name=name, right=number > 0) for number, name in enumerate(names))


def _cells(row: BenchRow) -> list[str | Text]:
    figures = (row.ap, row.recall, row.precision, row.errors, row.ghosts)
    return [row.name, str(row.pictures), str(row.people), *map(_figure, figures)]


def _size_cells(row: SizeRow) -> list[str | Text]:
    return [_span(row), str(row.people), _figure(row.recall), _figure(row.recall_any)]


def _span(row: SizeRow) -> str:
    return f"{row.low:g} px up" if row.high == float("inf") else f"{row.low:g} to {row.high:g} px"


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _json(value: Any) -> Any:
    """JSON has neither NaN nor infinity: nothing is known, or there is no end."""
    if isinstance(value, dict):
        return {key: _json(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_json(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
