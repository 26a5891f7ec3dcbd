"""`tubelet evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

from tubelet.cli.app import print_json
from tubelet.cli.console import note, out, show
from tubelet.data.files import write_atomic
from tubelet.render.report_page import write_report_page
from tubelet.render.tables import report_table
from tubelet.scoring import evaluate_files, study_files


def evaluate_csv(
    predictions: Path,
    truth: Path,
    *,
    labels: Path | None,
    exclude: Path | None,
    training: Path | None,
    protocol: str,
    iou: float,
    details: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score and print; with `out`, also leave report.json, report.csv and report.html there."""
    more: list[str] = []
    if details or training is not None:
        study = study_files(
            predictions,
            truth,
            labels=labels,
            excluded=exclude,
            training=training,
            protocol=protocol,
            iou=iou,
        )
        report, plain, more = study.frame, study.to_json(), study.lines()
    else:
        report = evaluate_files(
            predictions,
            truth,
            labels=labels,
            excluded=exclude,
            protocol=protocol,
            iou=iou,
            curves=out is not None,
        )
        plain = report.to_json()
    if out is not None:
        write_report(plain, report.to_csv(), out)
    for warning in report.warnings:
        note(f"warning: {warning}")
    if as_json:
        print_json(plain)
        return
    classes = {name: plain[name] for name in ("map", "classes")}
    show([report_table(classes), *report.protocol.lines(), *more])


def write_report(plain: dict[str, object], table: str, folder: Path) -> None:
    """The report as JSON, CSV and a page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "report.json", json.dumps(plain, indent=2) + "\n")
    write_atomic(folder / "report.csv", table)
    write_report_page(folder / "report.html", plain)
    out.print(f"report: {folder}")
