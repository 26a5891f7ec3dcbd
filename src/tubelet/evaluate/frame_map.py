"""Frame mAP: the official AVA evaluation, and the two variants behind published logs.

    report = evaluate_frames(detections, truth, labels)
    print(report.map, *report.protocol.lines(), *report.warnings, sep="\\n")

Source of the semantics: ActivityNet's `get_ava_performance.py` and what it imports; PySlowFast's
and MMAction2's own copies of it. Where scores tie the originals depend on the processor's sort;
here, as in the originals with a stable sort, the later row of an ascending order comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from tubelet.boxes import average_precision
from tubelet.errors import InputError
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable
from tubelet.evaluate.candidates import flags
from tubelet.evaluate.curves import Curve, curve, mean
from tubelet.evaluate.doubts.doubt import Doubt
from tubelet.evaluate.doubts.geometry import of_boxes
from tubelet.evaluate.doubts.moments import unseen
from tubelet.evaluate.doubts.rows import of_rows
from tubelet.evaluate.matching import Matches, match
from tubelet.evaluate.protocols import EvaluationProtocol, protocol_named
from tubelet.evaluate.report import ClassResult, FrameReport, ProtocolSummary
from tubelet.labels import LabelSpace

__all__ = ["NO_LABEL", "BoxTable", "EvaluationProtocol", "FrameReport", "evaluate_frames"]


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
        doubts=tuple(_doubts(found, labels, ids, rules)),
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


def _doubts(
    found: Matches, labels: LabelSpace, ids: tuple[int, ...], rules: EvaluationProtocol
) -> Iterator[Doubt]:
    """Reasons to doubt the figure, most damaging first."""
    detections, truth = found.detections, found.truth
    if not len(detections):
        yield Doubt(kind="nothing to score", message="there are no detections")
    elif not len(truth):
        yield Doubt(kind="nothing to score", message="there is no truth")
    elif not found.frames_shared:
        yield Doubt(kind="no shared frame", message=_no_shared_frame(detections, truth))
    if found.instances.sum() == 0:
        told = "no truth row is of an evaluated class, so no AP is defined"
        yield Doubt(kind="nothing to score", message=told)
    if found.dropped.get("action not evaluated", 0) == len(detections) > 0:
        listed = ", ".join(map(str, ids[:5]))
        told = f"no detection is of an evaluated class (ids {listed}…)"
        yield Doubt(kind="nothing to score", message=told)
    yield from of_boxes(found)
    yield from of_rows(found, labels, ids)
    labelled = flags(found.frames.count, found.frames.of[1][~np.isnan(truth.boxes[:, 0])])
    if (missed := unseen(found.frames, labelled)) is not None and found.frames_shared:
        yield missed
    if rules.name == "ava" and found.frames_excluded:
        told = (
            f"{found.frames_excluded} frames were excluded as requested; "
            "the official script has no such option and scores them"
        )
        yield Doubt(kind="excluded frames", message=told, count=found.frames_excluded)


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
