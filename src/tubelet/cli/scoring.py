"""`tubelet evaluate`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tubelet.cli.console import note, out, print_json, show
from tubelet.data.predictions import read_predictions
from tubelet.data.tables import read_ava_csv
from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import InputError
from tubelet.evaluate.from_annotations import box_table
from tubelet.evaluate.report import jsonable
from tubelet.evaluate.scoring import (
    evaluate_files,
    join_files,
    labels_for,
    score_charades,
    score_clips,
    score_tubes,
    study_files,
    tubes_of,
)
from tubelet.evaluate.video_map import VideoReport
from tubelet.files import make_folder
from tubelet.labels import LabelSpace
from tubelet.render.export import read_tubes
from tubelet.render.report_page import write_report_page
from tubelet.render.tables import report_table

Metric = Literal["frame", "video", "topk", "charades"]
METRICS: tuple[Metric, ...] = ("frame", "video", "topk", "charades")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A metric's output: `plain` for JSON, `rows` for CSV (a header first), `lines` below
    the table of classes, and `unit`, what the classes' `instances` count."""

    plain: Mapping[str, Any]
    rows: Sequence[Sequence[object]]
    lines: Sequence[str]
    warnings: Sequence[str] = ()
    unit: str = "labelled boxes"
    classes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """The options of `tubelet evaluate`."""

    predictions: Path
    truth: Path
    metric: Metric = "frame"
    labels: Path | None = None
    exclude: Path | None = None
    training: Path | None = None
    protocol: str = "ava"
    iou: float = 0.5
    details: bool = False
    curves: bool = False


def evaluate(question: EvaluateOptions, *, folder: Path | None, as_json: bool) -> None:
    """Score and print; with `folder`, also leave report.json, report.csv and report.html there.
    Raises InputError for an option that the metric does not support."""
    _check(question)
    scored = _METRICS[question.metric](question)
    if folder is not None:
        write_report(scored, folder)
    for warning in scored.warnings:
        note(f"warning: {warning}")
    if as_json:
        print_json(scored.plain)
    elif scored.classes:
        table = {name: scored.plain[name] for name in ("map", "classes")}
        show([report_table(table), *scored.lines])
    else:
        show(scored.lines)


def join(predictions: Sequence[Path], weights: str, path: Path) -> None:
    """Write the weighted mean of several files of predictions; `weights`: numbers and commas."""
    coverage = join_files(predictions, path, weights=_numbers(weights))
    for line in coverage.notes([str(file) for file in predictions]):
        note(f"warning: {line}")
    out.print(f"{coverage.total:,} {coverage.unit}: {path}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(cell) for cell in text.split(",") if cell.strip()]
    except ValueError:
        raise InputError("--weights must be numbers", expected="1,2,1", got=text) from None


def _check(question: EvaluateOptions) -> None:
    """Only the frame metric has a protocol, exclusions and details."""
    plain = EvaluateOptions(predictions=question.predictions, truth=question.truth)
    for name in ("exclude", "training", "protocol", "iou", "details"):
        if question.metric != "frame" and getattr(question, name) != getattr(plain, name):
            raise InputError(f"--{name} is only valid for the frame metric", got=question.metric)


def write_report(scored: Scored, folder: Path) -> None:
    """The report as JSON, CSV and, where it has classes, a page."""
    make_folder(folder)
    write_atomic(folder / "report.json", json.dumps(scored.plain, indent=2) + "\n")
    write_atomic(folder / "report.csv", _csv(scored.rows))
    if scored.classes:
        write_report_page(folder / "report.html", scored.plain, unit=scored.unit)
    note(f"report: {folder}")


def metric_named(name: str) -> Metric:
    """The metric called `name`. Raises InputError naming the known ones."""
    for metric in METRICS:
        if metric == name:
            return metric
    raise InputError(f"unknown metric {name!r}", expected=", ".join(METRICS))


def _frames(question: EvaluateOptions) -> Scored:
    if question.details or question.training is not None:
        study = study_files(
            question.predictions,
            question.truth,
            labels=question.labels,
            excluded=question.exclude,
            training=question.training,
            protocol=question.protocol,
            iou=question.iou,
        )
        report, plain, more = study.frame, study.to_json(), study.lines()
    else:
        report = evaluate_files(
            question.predictions,
            question.truth,
            labels=question.labels,
            excluded=question.exclude,
            protocol=question.protocol,
            iou=question.iou,
            curves=question.curves,
        )
        plain, more = report.to_json(), []
    return Scored(
        plain=plain,
        rows=list(csv.reader(io.StringIO(report.to_csv()))),
        lines=[*report.protocol.lines(), *more],
        warnings=report.warnings,
    )


def _videos(question: EvaluateOptions) -> Scored:
    found, truth = question.predictions, read_ava_csv(question.truth, kind="truth")
    if found.suffix.lower() == ".json" or found.is_dir():
        files = [read_tubes(path) for path in _tube_files(found)]
        labels = labels_for(box_table(truth), question.labels or files[0].labels)
        tubes = [tube for file in files for tube in file.tubes]
    else:
        labels = labels_for(box_table(truth), question.labels)
        tubes = tubes_of(read_predictions(found), labels)
    return _video_report(score_tubes(tubes, truth, labels), labels)


def _tube_files(path: Path) -> list[Path]:
    """The file, or every tubes.json below the folder."""
    files = sorted(path.rglob("tubes.json")) if path.is_dir() else [path]
    if not files:
        raise InputError("no tubes.json in the folder", where=path, hint="pass a results folder")
    return files


def _video_report(report: VideoReport, labels: LabelSpace) -> Scored:
    names = dict(zip(labels.ids, labels.names, strict=True))
    classes = [
        {
            "id": label,
            "name": names[label],
            "ap": ap[0.5],
            "instances": report.instances[label],
            "ap_by_iou": {f"{t:g}": value for t, value in ap.items()},
        }
        for label, ap in report.ap.items()
    ]
    rows = [
        [label, names[label], report.instances[label], *ap.values()]
        for label, ap in report.ap.items()
    ]
    return Scored(
        plain={
            "metric": "video",
            "map": jsonable(report.map[0.5]),
            "map_by_iou": jsonable({f"{t:g}": value for t, value in report.map.items()}),
            "map_50_95": jsonable(report.map_50_95),
            "classes": jsonable(classes),
            "tubes": {"truth": report.truths, "detected": report.detections},
            "warnings": list(report.warnings),
        },
        rows=[
            ["id", "action", "tubes", *(f"AP@{t:g}" for t in report.map)],
            *rows,
        ],
        lines=[
            f"video mAP@0.2 {report.map[0.2]:.4f}, @0.5 {report.map[0.5]:.4f}, "
            f"@0.5:0.95 {report.map_50_95:.4f} (table: 0.5)",
            f"{report.detections} tubes scored against {report.truths} of {report.videos} videos",
        ],
        warnings=report.warnings,
        unit="labelled tubes",
    )


def _topk(question: EvaluateOptions) -> Scored:
    found = score_clips(question.predictions, question.truth, labels=question.labels)
    plain = found.to_json()
    return Scored(
        plain=plain,
        rows=[list(plain), list(plain.values())],
        lines=[found.line()],
        classes=False,
    )


def _charades(question: EvaluateOptions) -> Scored:
    report, columns = score_charades(question.predictions, question.truth, labels=question.labels)
    plain = report.to_json(columns)
    rows = [
        [c["id"], c["name"], "" if c["ap"] is None else c["ap"], c["instances"]]
        for c in plain["classes"]
    ]
    return Scored(
        plain=plain,
        rows=[["id", "action", "AP", "videos"], *rows],
        lines=[report.line()],
        unit="labels of videos",
    )


_METRICS = {"frame": _frames, "video": _videos, "topk": _topk, "charades": _charades}


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(["" if cell != cell else cell for cell in row] for row in rows)
    return text.getvalue()
