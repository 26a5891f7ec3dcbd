"""Frame mAP: the official AVA evaluation, and the two variants behind published logs.

    report = evaluate_frames(detections, truth, labels)
    print(report.map, *report.protocol.lines(), *report.warnings, sep="\\n")

Source of the semantics: ActivityNet's `get_ava_performance.py` and what it imports; PySlowFast's
and MMAction2's own copies of it. Where scores tie the originals depend on the processor's sort;
here, as in the originals with a stable sort, the later row of an ascending order comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tubelet.boxes import average_precision
from tubelet.errors import InputError
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable
from tubelet.evaluate.curves import Curve, curve, mean
from tubelet.evaluate.matching import Matches, columns_of, match
from tubelet.evaluate.protocols import EvaluationProtocol, protocol_named
from tubelet.evaluate.report import ClassResult, FrameReport, ProtocolSummary
from tubelet.labels import LabelSpace

__all__ = ["NO_LABEL", "BoxTable", "EvaluationProtocol", "FrameReport", "evaluate_frames"]

PIXELS = 2.0
"""A coordinate beyond this is taken for pixels: real boxes in [0, 1] overshoot only a little."""


def evaluate_frames(
    detections: BoxTable,
    truth: BoxTable,
    labels: LabelSpace,
    *,
    protocol: str | EvaluationProtocol = "ava",
    excluded: Iterable[tuple[str, int]] = (),
    iou: float = 0.5,
    cap: int | None = None,
    curves: bool = False,
) -> FrameReport:
    """Mean average precision over the evaluated classes of `labels`.

    `excluded`: (video, time in µs) of frames to leave out. The official script has no such
    option and scores them; a warning says when it matters. `iou` in (0, 1], inclusive. `cap`
    replaces the protocol's limit of rows per frame. `curves` keeps precision–recall curves.

    Raises ConfigError for an unknown protocol, InputError for an impossible `iou` or `cap`, and
    DataError for rows on which the original evaluator fails.
    """
    rules = protocol_named(protocol)
    if not 0 < iou <= 1:
        raise InputError("an IoU threshold must be in (0, 1]", got=iou)
    if cap is not None and cap < 1:
        raise InputError("a cap on the rows of a frame must be at least 1", got=cap)
    ids = labels.evaluated or labels.ids
    found = match(detections, truth, ids, rules, excluded=excluded, iou=iou, cap=cap)
    classes, kept = _score_classes(found, labels, ids, rules, curves)
    by_id = {c.id: c.ap for c in classes}
    return FrameReport(
        map=mean(np.array([c.ap for c in classes])),
        classes=classes,
        groups={
            name: mean(np.array([by_id[i] for i in members if i in by_id]))
            for name, members in labels.groups.items()
        },
        protocol=_summary(found, classes, rules, iou, rules.cap if cap is None else cap),
        warnings=tuple(_warnings(found, labels, ids, rules)),
        curves=kept,
        matches=found,
    )


def _score_classes(
    found: Matches,
    labels: LabelSpace,
    ids: tuple[int, ...],
    rules: EvaluationProtocol,
    curves: bool,
) -> tuple[tuple[ClassResult, ...], dict[int, Curve] | None]:
    results = []
    kept: dict[int, Curve] = {}
    for column, (class_id, order) in enumerate(zip(ids, found.by_class(), strict=True)):
        hits = found.hit[order]
        instances = int(found.instances[column])
        ap = average_precision(hits, instances)
        if rules.skip_undetected and not len(order):
            ap = float("nan")
        if curves and instances:
            kept[class_id] = curve(hits, found.score[order], instances)
        results.append(
            ClassResult(
                id=class_id,
                name=labels.names[labels.column(class_id)],
                ap=ap,
                instances=instances,
                detections=len(order),
                hits=int(np.count_nonzero(hits)),
            )
        )
    return tuple(results), kept if curves else None


def _summary(
    found: Matches,
    classes: tuple[ClassResult, ...],
    rules: EvaluationProtocol,
    iou: float,
    cap: int | None,
) -> ProtocolSummary:
    return ProtocolSummary(
        name=rules.name,
        source=rules.source,
        iou=iou,
        cap=cap,
        match_order="score" if rules.match_by_score else "file",
        classes=len(classes),
        classes_counted=sum(not np.isnan(c.ap) for c in classes),
        classes_without_truth=tuple(c.id for c in classes if not c.instances),
        classes_without_detections=tuple(c.id for c in classes if c.instances and not c.detections),
        frames_with_truth=found.frames_with_truth,
        frames_scored=found.frames_scored,
        frames_excluded=found.frames_excluded,
        instances=int(found.instances.sum()),
        detections=len(found.detections),
        detections_scored=len(found),
        dropped=found.dropped,
    )


def _warnings(
    found: Matches, labels: LabelSpace, ids: tuple[int, ...], rules: EvaluationProtocol
) -> list[str]:
    """Reasons to doubt the figure, most damaging first."""
    detections, truth = found.detections, found.truth
    notes = []
    if not len(detections):
        notes.append("there are no detections")
    elif not len(truth):
        notes.append("there is no truth")
    elif not found.frames_shared:
        notes.append(_no_shared_frame(detections, truth))
    if found.instances.sum() == 0:
        notes.append("no truth row is of an evaluated class, so no AP is defined")
    for name, table in (("detections", detections), ("truth", truth)):
        high = np.nanmax(table.boxes) if len(table) and not _all_empty(table) else 0.0
        if high > PIXELS:
            notes.append(f"{name} reach {high:g}: boxes should be in [0, 1], not in pixels")
    outside = _labels_outside(detections, labels)
    if outside:
        notes.append(outside)
    if found.dropped.get("action not evaluated", 0) == len(detections) > 0:
        listed = ", ".join(map(str, ids[:5]))
        notes.append(f"no detection is of an evaluated class (ids {listed}…)")
    if rules.name == "ava" and found.frames_excluded:
        notes.append(
            f"{found.frames_excluded} frames were excluded as requested; "
            "the official script has no such option and scores them"
        )
    if len(found) and not np.ptp(found.score):
        notes.append("all scores are equal: the order of the file decides the precision")
    return notes


def _all_empty(table: BoxTable) -> bool:
    return bool(np.isnan(table.boxes[:, 0]).all())


def _no_shared_frame(detections: BoxTable, truth: BoxTable) -> str:
    common = sorted(set(detections.videos) & set(truth.videos))
    cause = (
        f"{len(common)} videos are in both, so the times differ (different unit or frame rate?)"
        if common
        else "no video name is in both"
    )
    return (
        "no detection is on a frame of the truth: "
        f"{cause}; for example {detections.key(0)} against {truth.key(0)}"
    )


def _labels_outside(detections: BoxTable, labels: LabelSpace) -> str | None:
    outside = detections.labels[columns_of(detections.labels, labels.ids) < 0]
    strange = [int(i) for i in np.unique(outside) if i != NO_LABEL]
    if not strange:
        return None
    note = f"detections have action ids missing from the label map: {strange[:5]}"
    if min(strange) == min(labels.ids) - 1:
        note += "; are the ids counted from 0 in one file and from 1 in the other?"
    return note
