"""Finds why training on a set would fail or its mAP be zero or wrong, before anything is trained.

`examine` looks at tables in memory; `examine_files` reads them first, and an unreadable file
becomes a finding too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.doctor.boxes import check_boxes
from tubelet.data.doctor.class_ids import check_labels
from tubelet.data.doctor.films import check_films
from tubelet.data.doctor.findings import SEVERITIES, Case, DataSet, Finding, worst
from tubelet.data.doctor.people import check_people
from tubelet.data.importers import Imported, Options, sniff
from tubelet.data.importers import read as read_any
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import Kind, read_ava_csv, read_excluded
from tubelet.errors import InputError, TubeletError
from tubelet.labels import LabelSpace

__all__ = ["DataSet", "Finding", "SetFiles", "examine", "examine_files", "worst"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFiles:
    """The files of one set, in any format that `importers` knows."""

    name: str
    truth: str | Path
    proposals: str | Path | None = None
    excluded: str | Path | None = None


def examine(
    sets: Sequence[DataSet],
    *,
    labels: LabelSpace | None = None,
    videos: str | Path | None = None,
    fps: float | None = None,
) -> list[Finding]:
    """Every finding about these sets, gravest first.

    Read the tables with `strict=False`, or the readers refuse the rows the doctor should see. With
    `videos` (a folder) each video is opened once; `fps` is the rate the model expects. Raises
    InputError for a duplicate set name or a missing folder.
    """
    names = [part.name for part in sets]
    if len(set(names)) != len(names):
        raise InputError("duplicate set name", got=", ".join(names))
    case = Case(sets=tuple(sets), labels=labels, fps=fps)
    findings = [*check_boxes(case), *check_labels(case), *check_people(case)]
    if videos is not None:
        if not Path(videos).is_dir():
            raise InputError("the video folder does not exist", where=videos)
        findings += check_films(case, Path(videos))
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def examine_files(
    files: Sequence[SetFiles],
    *,
    label_map: str | Path | None = None,
    videos: str | Path | None = None,
    fps: float | None = None,
) -> list[Finding]:
    """As `examine`, from files; one that cannot be read is a finding and the rest goes on.

    Without `label_map`, names that an annotation file brings itself (CVAT, VIA) are used.
    """
    findings: list[Finding] = []
    labels = None
    if label_map is not None:
        try:
            labels = read_label_map(label_map)
        except TubeletError as error:
            findings.append(_unreadable(error, "label map", "label-map-unreadable"))
    options = Options(fps=fps, videos=Path(videos) if videos is not None else None, labels=labels)
    sets = []
    for file in files:
        truth = _read(file.truth, "truth", options, f"{file.name} truth", findings)
        if truth is None or not isinstance(truth.table, Annotations):
            continue
        labels = labels or truth.labels
        proposals = excluded = None
        if file.proposals is not None:
            subject = f"{file.name} proposals"
            read = _read(file.proposals, "proposals", options, subject, findings)
            proposals = read.table if read is not None else None
        if file.excluded is not None:
            try:
                excluded = read_excluded(file.excluded)
            except TubeletError as error:
                findings.append(_unreadable(error, f"{file.name} excluded", "file-unreadable"))
        boxes = proposals if isinstance(proposals, Annotations) else None
        sets.append(DataSet(name=file.name, truth=truth.table, proposals=boxes, excluded=excluded))
    findings += examine(sets, labels=labels, videos=videos, fps=fps)
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def _read(
    path: str | Path, kind: Kind, options: Options, subject: str, findings: list[Finding]
) -> Imported | None:
    """The table of a file; what the doctor can diagnose itself is not refused here."""
    try:
        name = sniff(path) if Path(path).exists() and Path(path).stat().st_size else "ava-csv"
        if name in ("ava-csv", "detections-csv", "proposals-csv"):
            return Imported(read_ava_csv(path, kind=kind, strict=False))
        imported = read_any(path, name, options)
    except (TubeletError, OSError) as error:
        findings.append(_unreadable(error, subject, "file-unreadable"))
        return None
    if not isinstance(imported.table, Annotations):
        what = InputError("the file lists whole clips, not people", where=path)
        findings.append(_unreadable(what, subject, "file-unreadable"))
        return None
    return imported


def _unreadable(error: Exception, subject: str, code: str) -> Finding:
    told = error if isinstance(error, TubeletError) else InputError(str(error))
    got = [f"got: {told.got}"] if told.got is not None else []
    return Finding(
        severity="error",
        code=code,
        subject=subject,
        message=told.what,
        examples=tuple(str(part) for part in (told.where, *got) if part is not None),
        fix=told.hint or (f"expected {told.expected}" if told.expected is not None else ""),
    )
