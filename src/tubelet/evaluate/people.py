"""Person boxes alone: their AP and recall, ignoring actions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from tubelet.evaluate.boxtable import F64, I32, Bools, BoxTable, join_frames
from tubelet.evaluate.curves import Curve
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.protocols import AVA
from tubelet.labels import LabelSpace

PERSON = LabelSpace(ids=(1,), names=("person",))
PERSON_PROTOCOL = replace(
    AVA, name="person", source="person AP of boxes", cap=None, heap_order=False
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeopleReport:
    """`ap` in [0, 1]; `recall` of all `people` by all `boxes` on their frames; `precision` of
    all boxes; `curve` of the two by falling score; `warnings` as for actions."""

    ap: float
    recall: float
    precision: float
    people: int
    boxes: int
    frames: int
    iou: float
    curve: Curve | None
    warnings: tuple[str, ...]


def evaluate_people(
    detections: BoxTable,
    truth: BoxTable,
    *,
    iou: float = 0.5,
    excluded: Iterable[tuple[str, int]] = (),
) -> PeopleReport:
    """Person AP: each distinct box of a frame is one person, its actions forgotten.

    A detected box in several rows has the highest of their scores. Matching is that
    of the official AVA script without its row cap; detections on frames without truth, and boxes
    without area, do not count.
    """
    report = evaluate_frames(
        distinct_boxes(detections),
        distinct_boxes(truth),
        PERSON,
        protocol=PERSON_PROTOCOL,
        excluded=excluded,
        iou=iou,
        curves=True,
    )
    (person,) = report.classes
    return PeopleReport(
        ap=person.ap,
        recall=person.recall,
        precision=person.hits / person.detections if person.detections else float("nan"),
        people=person.instances,
        boxes=person.detections,
        frames=report.protocol.frames_with_truth,
        iou=iou,
        curve=(report.curves or {}).get(1),
        warnings=report.warnings,
    )


def distinct_boxes(table: BoxTable) -> BoxTable:
    """One row for each distinct box of a frame, in file order, with label 1 and its best score.

    Rows without a box are kept: they mark a frame without people.
    """
    frame = join_frames(table).of[0]
    best = table.scores
    # The actions of one box usually follow each other: with those together, the sort is short.
    rows = np.flatnonzero(_changes(frame, table.boxes))
    if len(rows):
        best = np.maximum.reduceat(best, rows)
    x1, y1, x2, y2 = table.boxes[rows].T
    order = np.lexsort((-best, y2, x2, y1, x1, frame[rows]))
    new = _changes(frame[rows[order]], table.boxes[rows[order]])
    kept = np.sort(order[new])
    people = table.select(rows[kept])
    empty = np.isnan(people.boxes[:, 0])
    return replace(people, labels=np.where(empty, people.labels, 1), scores=best[kept], scored=None)


def _changes(frame: I32, boxes: F64) -> Bools:
    """Rows `(N,)` whose frame or box is not that of the row before."""
    new = np.ones(len(frame), np.bool_)
    if len(frame):
        new[1:] = frame[1:] != frame[:-1]
    for i in range(4):
        new[1:] |= boxes[1:, i] != boxes[:-1, i]
    return new
