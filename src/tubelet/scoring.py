"""From files and records to the evaluator's columns: the bridge between data and evaluate.

Frames are joined on whole milliseconds, the unit of `Key`: a truth file that says 0.1667 and a
prediction that says 0.167 mean one frame. The official AVA script joins on microseconds; the two
agree unless one video labels two moments within a millisecond, and such a table is joined exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import read_ava_csv, read_excluded
from tubelet.evaluate.boxtable import BoxTable, join_frames
from tubelet.evaluate.files import read_detections
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.from_annotations import box_table, frame_list
from tubelet.evaluate.report import FrameReport
from tubelet.labels import LabelSpace
from tubelet.types import Detections, Ints


def detections_table(detections: Iterable[Detections]) -> Annotations:
    """One row for each person and class of every keyframe, in AVA's form."""
    videos: list[str] = []
    times, boxes, labels, scores = [], [], [], []
    for det in detections:
        people, classes = len(det), len(det.labels)
        videos += [det.key.video] * (people * classes)
        times.append(np.full(people * classes, det.key.time_ms * 1000))
        boxes.append(np.repeat(det.boxes, classes, axis=0))
        labels.append(np.tile(det.labels.ids, people))
        scores.append(det.action_scores.reshape(-1))
    if not times:
        return Annotations.of(video=[], time_us=[])
    return Annotations.of(
        video=videos,
        time_us=np.concatenate(times),
        boxes=np.concatenate(boxes),
        label=np.concatenate(labels),
        score=np.concatenate(scores).astype(np.float64),
    )


def evaluate_tables(
    detections: Annotations | BoxTable,
    truth: Annotations,
    labels: LabelSpace,
    *,
    protocol: str = "ava",
    excluded: Annotations | None = None,
    iou: float = 0.5,
    curves: bool = False,
) -> FrameReport:
    """Frame mAP of one table against another. Raises as `evaluate_frames` does."""
    found = box_table(detections) if isinstance(detections, Annotations) else detections
    known = box_table(truth)
    left_out = frame_list(excluded) if excluded is not None else []
    rounded = _in_milliseconds(known)
    if join_frames(rounded).count == join_frames(known).count:
        known, found = rounded, _in_milliseconds(found)
        left_out = [(video, int(_rounded(np.array(time)))) for video, time in left_out]
    return evaluate_frames(
        found, known, labels, protocol=protocol, excluded=left_out, iou=iou, curves=curves
    )


def evaluate_files(
    detections: Path,
    truth: Path,
    *,
    labels: Path | LabelSpace | None = None,
    excluded: Path | None = None,
    protocol: str = "ava",
    iou: float = 0.5,
    curves: bool = False,
) -> FrameReport:
    """Score an AVA detection CSV against an AVA truth CSV.

    Without `labels`, every class id of the truth counts, named by its number. Raises InputError
    or DataError naming file and row.
    """
    truth_table = read_ava_csv(truth, kind="truth")
    space = _labels_of(truth_table) if labels is None else labels
    space = read_label_map(space) if isinstance(space, Path) else space
    return evaluate_tables(
        read_detections(detections),
        truth_table,
        space,
        protocol=protocol,
        excluded=None if excluded is None else read_excluded(excluded),
        iou=iou,
        curves=curves,
    )


def _labels_of(truth: Annotations) -> LabelSpace:
    ids = sorted(truth.frame["label"].drop_nulls().unique().to_list())
    return LabelSpace(ids=tuple(ids), names=tuple(str(i) for i in ids))


def _in_milliseconds(table: BoxTable) -> BoxTable:
    return replace(table, time_us=_rounded(table.time_us))


def _rounded(time_us: Ints) -> Ints:
    """Microseconds to whole milliseconds, half up, as `Annotations.time_ms` rounds."""
    return (time_us + 500) // 1000 * 1000
