"""Why detections are wrong: false alarms and misses by cause, and what each costs in mAP.

After TIDE (Bolya et al., ECCV 2020), adapted to people who do several things at once. With s the
IoU to the nearest instance of the detection's own class and a to that of any evaluated class,
every false alarm has the first cause that fits, t being the evaluation's threshold and b = 0.1:

    duplicate       s ≥ t    its instance already belongs to a better detection
    classification  a ≥ t    a person is there, doing something else
    localisation    s ≥ b    the right action, but the box is off
    both            a ≥ b    a person is near, the box is off and the action wrong
    background      a < b    nobody is there

`missed` is an instance that no detection claims and none of its class even comes near (s ≥ b).

TIDE asks for localisation before classification and duplicate; here a box on the right person
counts by what is said of that person, because another person of the class is often close by. The
cost of a cause is the mAP that fixing it alone would add: the best misplaced detection of an
unclaimed instance becomes a hit and the others go; detections with any other cause go; missed
instances no longer count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.boxes import average_precision
from tubelet.errors import InputError
from tubelet.evaluate.boxtable import F64
from tubelet.evaluate.candidates import Rows
from tubelet.evaluate.curves import mean
from tubelet.evaluate.matching import Matches, pair_iou
from tubelet.evaluate.report import FrameReport

CAUSES = ("duplicate", "classification", "localisation", "both", "background")
HIT = len(CAUSES)
BLOCK = 1 << 18
"""Detections compared with the truth of their frames at once: bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBreakdown:
    """`cost` mAP that fixing each cause, or "missed", would add; `counts` detections by cause
    (and "hit") among each class's best n, n being its number of instances, as in Hoiem et al.
    2012; `all_counts` the same among all scored detections; `missed` instances."""

    cost: Mapping[str, float]
    counts: Mapping[str, int]
    all_counts: Mapping[str, int]
    missed: int
    instances: int
    background_iou: float


def error_breakdown(report: FrameReport, *, background_iou: float = 0.1) -> ErrorBreakdown:
    """Sort the false alarms and misses of `report` by cause; definitions in the module's text.

    Raises InputError unless 0 < `background_iou` < the evaluation's threshold.
    """
    found = report.matches
    if not 0 < background_iou < found.threshold:
        raise InputError(
            "the background IoU must lie between 0 and the evaluation's threshold",
            expected=f"in (0, {found.threshold:g})",
            got=background_iou,
        )
    cause = _causes(found, background_iou)
    order = found.by_class()
    counted = [not np.isnan(c.ap) for c in report.classes]
    top = [own[: int(n)] for own, n in zip(order, found.instances, strict=True)]
    missed = _missed(found, background_iou)
    cost = {
        name: _mended(report, cause, order, counted, index) - report.map
        for index, name in enumerate(CAUSES)
    }
    fewer = found.instances - missed
    without = [
        average_precision(found.hit[own], int(n))
        for own, n, c in zip(order, fewer, counted, strict=True)
        if c
    ]
    cost["missed"] = mean(np.array(without)) - report.map
    return ErrorBreakdown(
        cost=cost,
        counts=_tally(cause[np.concatenate(top)] if top else cause[:0]),
        all_counts=_tally(cause),
        missed=int(missed.sum()),
        instances=int(found.instances.sum()),
        background_iou=background_iou,
    )


def _causes(found: Matches, background: float) -> npt.NDArray[np.int8]:
    """Index into CAUSES of each detection `(M,)`, HIT for true positives."""
    own, near = found.iou, _nearest_any(found)
    cause = np.select(
        [
            found.hit,
            own >= found.threshold,
            near >= found.threshold,
            own >= background,
            near >= background,
        ],
        [HIT, 0, 1, 2, 3],
        4,
    )
    return cause.astype(np.int8)


def _nearest_any(found: Matches) -> F64:
    """IoU `(M,)` with the instance of any class on the frame that is overlapped most."""
    result = np.zeros(len(found))
    frames = found.truths.frame
    first = np.searchsorted(frames, found.frame, side="left")
    count = np.searchsorted(frames, found.frame, side="right") - first
    for start in range(0, len(found), BLOCK):
        with_truth = start + np.flatnonzero(count[start : start + BLOCK])
        if not len(with_truth):
            continue
        sizes = count[with_truth]
        begins = np.cumsum(sizes) - sizes
        left = np.repeat(with_truth, sizes)
        right = np.arange(len(left)) - np.repeat(begins - first[with_truth], sizes)
        boxes = found.detections.boxes[found.row[left]].astype(found.truths.box.dtype)
        result[with_truth] = np.maximum.reduceat(pair_iou(boxes, found.truths.box[right]), begins)
    return result


def _missed(found: Matches, background: float) -> npt.NDArray[np.int64]:
    """Missed instances of each class `(K,)`."""
    touched = np.zeros(len(found.truths.row), np.bool_)
    touched[found.best[found.iou >= background]] = True
    columns = found.truths.column[~touched]
    return np.bincount(columns, minlength=len(found.instances)).astype(np.int64)


def _mended(
    report: FrameReport,
    cause: npt.NDArray[np.int8],
    order: list[Rows],
    counted: list[bool],
    mend: int,
) -> float:
    """mAP as if no detection had the cause `mend`."""
    found = report.matches
    claimed = np.zeros(len(found.truths.row), np.bool_)
    claimed[found.best[found.hit]] = True
    values = []
    for own, instances, counts in zip(order, found.instances, counted, strict=True):
        if not counts:
            continue
        hit, faulty = found.hit[own].copy(), cause[own] == mend
        if CAUSES[mend] == "localisation":
            free = np.flatnonzero(faulty & ~claimed[found.best[own]])
            _, first = np.unique(found.best[own[free]], return_index=True)
            hit[free[first]] = True
            faulty[free[first]] = False
        values.append(average_precision(hit[~faulty], int(instances)))
    return mean(np.array(values))


def _tally(cause: npt.NDArray[np.int8]) -> dict[str, int]:
    rows = np.bincount(cause, minlength=HIT + 1)
    return {name: int(n) for name, n in zip((*CAUSES, "hit"), rows, strict=True)}
