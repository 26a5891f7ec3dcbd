"""From files and records to the evaluator's columns: the bridge between data and evaluate.

Frames are joined on whole milliseconds, the unit of `Key`: a truth file that says 0.1667 and a
prediction that says 0.167 mean one frame. The official AVA script joins on microseconds; the two
agree unless one video labels two moments within a millisecond, and such a table is joined exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import read_ava_csv, read_excluded
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.report import FrameReport
from tubelet.labels import LabelSpace
from tubelet.types import Detections


def box_table(table: Annotations, *, exact: bool = False) -> BoxTable:
    """`Annotations` as the evaluator's columns; times rounded to milliseconds unless `exact`."""
    frame = table.frame
    times = frame["time_us"].to_numpy() if exact else table.time_ms.to_numpy() * 1000
    return BoxTable.of(
        videos=frame["video"].to_numpy(),
        time_us=times,
        boxes=table.boxes,
        labels=frame["label"].fill_null(NO_LABEL).to_numpy(),
        scores=frame["score"].fill_null(1.0).to_numpy(),
        scored=frame["score"].is_not_null().to_numpy(),
    )


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
    detections: Annotations,
    truth: Annotations,
    labels: LabelSpace,
    *,
    protocol: str = "ava",
    excluded: Annotations | None = None,
    iou: float = 0.5,
    curves: bool = False,
) -> FrameReport:
    """Frame mAP of one table against another. Raises as `evaluate_frames` does."""
    exact = _has_submillisecond_frames(truth)
    left_out = excluded.frame.select("video", "time_us").iter_rows() if excluded else ()
    return evaluate_frames(
        box_table(detections, exact=exact),
        box_table(truth, exact=exact),
        labels,
        protocol=protocol,
        excluded=[(video, int(time)) for video, time in left_out],
        iou=iou,
        curves=curves,
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
        read_ava_csv(detections, kind="detections"),
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


def _has_submillisecond_frames(table: Annotations) -> bool:
    exact = table.frame.select("video", "time_us").unique().height
    return exact != len(table.keys())
