"""Which detections are hits: the vectorised heart of the three frame-mAP evaluators.

Shape legend: N detection rows, M of them scored, T truth rows, F frames, K evaluated classes,
P (detection, truth) pairs of one frame and class. The float operations run in the originals'
order, so that an IoU equals theirs to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tubelet.errors import DataError
from tubelet.evaluate.boxtable import F64, I32, I64, Bools, BoxTable, Frames, join_frames
from tubelet.evaluate.candidates import Candidates, Columns, Rows, Truths, flags
from tubelet.evaluate.heap import heap_order, heap_ordered_truths, within_cap
from tubelet.evaluate.protocols import EvaluationProtocol

TABLE = 1 << 20
"""Class ids within such a range are looked up in a table, others are searched."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """The scored detections, in the order in which the original concatenates them.

    `row (M,)` in the detection table, `frame (M,)`, `column (M,)` of the evaluated classes,
    `score (M,)`, `hit (M,)` true positives, `best (M,)` index in `truths` of the instance of its
    class that it overlaps most (−1: none there) and `iou (M,)` that overlap.
    `instances (K,)` truths that count, and of each of these I `instance_column (I,)` and
    `instance_video (I,)` (index in `frames.videos`). `dropped`: rows left out, by reason.
    """

    detections: BoxTable
    truth: BoxTable
    frames: Frames
    truths: Truths
    row: Rows
    frame: I32
    column: Columns
    score: F64
    hit: Bools
    best: I32
    iou: F64
    instances: I64
    instance_column: Columns
    instance_video: I32
    threshold: float
    frames_with_truth: int
    frames_scored: int
    frames_excluded: int
    frames_shared: int
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.row)

    def by_class(self) -> list[Rows]:
        """For each class its detections, best score first.

        Of equal scores the later one comes first: the originals reverse an ascending sort.
        """
        order = np.argsort(self.column, kind="stable")
        bounds = np.searchsorted(self.column[order], np.arange(len(self.instances) + 1))
        return [
            own[best_first(self.score[own])] for own in (order[a:b] for a, b in pairwise(bounds))
        ]


def best_first(scores: F64) -> Rows:
    """The order `(N,)` of falling `scores`; of equal ones the later comes first.

    NumPy's unstable sort takes a third of the stable one's time; only ties are sorted again.
    """
    order = np.argsort(scores)
    ranked = scores[order]
    same = ranked[1:] == ranked[:-1]
    if same.any():
        tied = np.zeros(len(scores), np.bool_)
        tied[1:] = same
        tied[:-1] |= same
        rows = order[tied]
        order[tied] = rows[np.lexsort((rows, scores[rows]))]
    return order[::-1]


def match(
    detections: BoxTable,
    truth: BoxTable,
    label_ids: tuple[int, ...],
    protocol: EvaluationProtocol,
    *,
    excluded: Iterable[tuple[str, int]] = (),
    iou: float = 0.5,
    cap: int | None = None,
) -> Matches:
    """Score every detection of an evaluated class as hit or false alarm, as `protocol` does.

    `label_ids` K evaluated class ids; `excluded` (video, time in µs) pairs; `cap` replaces the
    protocol's. Raises DataError where the original fails.
    """
    _check_files(detections, truth, protocol)
    left_out = _marker_rows(excluded)
    frames = join_frames(detections, truth, left_out)
    excluded_frames = flags(frames.count, frames.of[2])
    columns = columns_of(truth.labels, label_ids)
    counted = columns >= 0
    if not protocol.excluded_truth_counts:
        counted &= ~excluded_frames[frames.of[1]]
    truths, evaluated = _truths(truth, frames.of[1], columns, excluded_frames, protocol)

    with_truth = flags(frames.count, frames.of[1])
    scope = {
        "any truth": with_truth,
        "evaluated truth": evaluated,
        "all": np.ones(frames.count, np.bool_),
    }[protocol.frames]
    found, dropped = _in_scope(detections, frames.of[0], label_ids, scope, excluded_frames)
    _group(found, _frame_rank(protocol, found.frame, frames, columns))
    before_cap = replace(found)
    limit = protocol.cap if cap is None else cap
    dropped |= _thin_out(detections, found, protocol, limit)
    matched = _assign(detections, truth, found, before_cap, truths, protocol, iou, limit)
    seen = flags(frames.count, frames.of[0])
    return Matches(
        detections=detections,
        truth=truth,
        frames=frames,
        truths=matched.truths,
        row=found.row,
        frame=found.frame,
        column=found.column,
        score=matched.score,
        hit=matched.hit,
        best=matched.best,
        iou=matched.iou,
        instances=np.bincount(columns[counted], minlength=len(label_ids)).astype(np.int64),
        instance_column=columns[counted],
        instance_video=frames.video[frames.of[1][counted]],
        threshold=iou,
        frames_with_truth=int(np.count_nonzero(with_truth & ~excluded_frames)),
        frames_scored=int(np.count_nonzero(flags(frames.count, found.frame))),
        frames_excluded=int(np.count_nonzero(excluded_frames & (with_truth | seen))),
        frames_shared=int(np.count_nonzero(with_truth & seen)),
        dropped={reason: rows for reason, rows in dropped.items() if rows},
    )


def _check_files(detections: BoxTable, truth: BoxTable, protocol: EvaluationProtocol) -> None:
    if protocol.strict_files:
        for name, table in (("detections", detections), ("truth", truth)):
            for bad, what, hint in (
                (table.time_us % 1_000_000 != 0, "a time that is not a whole second", "ava"),
                (np.isnan(table.boxes[:, 0]), "a row without a box", "ava"),
            ):
                if bad.any():
                    row = int(np.flatnonzero(bad)[0])
                    raise DataError(
                        f"the {protocol.name} evaluator cannot read {what}",
                        where=f"{name}, row {row + 1}: {table.key(row)}",
                        hint=f"use the protocol {hint!r}, which can",
                    )
    if protocol.needs_scores and detections.scored is not None and not detections.scored.all():
        row = int(np.flatnonzero(~detections.scored)[0])
        raise DataError(
            f"missing score: the {protocol.name} evaluator needs one in every detection row",
            where=f"detections, row {row + 1}: {detections.key(row)}",
            hint="add the eighth column, or use the protocol 'ava', which takes it as 1",
        )


def _marker_rows(pairs: Iterable[tuple[str, int]]) -> BoxTable:
    listed = list(pairs)
    return BoxTable.of(
        videos=[video for video, _ in listed],
        time_us=[time for _, time in listed],
        boxes=np.full((len(listed), 4), np.nan),
    )


def columns_of(labels: I64, ids: tuple[int, ...]) -> Columns:
    """Column of each label among `ids`, −1 outside them `(N,)`."""
    known = np.asarray(ids, np.int64)
    low, high = int(known.min()), int(known.max())
    if high - low < TABLE:
        # One slot more on both sides takes everything outside the range.
        slots = np.full(high - low + 3, -1, np.int16)
        slots[known - low + 1] = np.arange(len(known))
        return slots[np.clip(labels, low - 1, high + 1) - (low - 1)]
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known, labels, sorter=order), len(known) - 1)]
    return np.where(known[at] == labels, at, -1).astype(np.int16)


def _truths(
    truth: BoxTable, frame: I32, columns: Columns, excluded: Bools, protocol: EvaluationProtocol
) -> tuple[Truths, Bools]:
    """The instances that can be matched, and which frames have one."""
    row = np.flatnonzero((columns >= 0) & ~excluded[frame])
    row = row[np.lexsort((columns[row], frame[row]))]
    box = truth.boxes[row]
    return (
        Truths(
            row=row,
            frame=frame[row],
            column=columns[row],
            box=box.astype(np.float32) if protocol.single_precision else box,
        ),
        flags(len(excluded), frame[row]),
    )


def _in_scope(
    detections: BoxTable, frame: I32, ids: tuple[int, ...], scope: Bools, excluded: Bools
) -> tuple[Candidates, dict[str, int]]:
    columns = columns_of(detections.labels, ids)
    known = columns >= 0
    on_excluded = known & excluded[frame]
    elsewhere = known & ~on_excluded & ~scope[frame]
    row = np.flatnonzero(known & ~on_excluded & ~elsewhere)
    dropped = {
        "action not evaluated": int(len(known) - np.count_nonzero(known)),
        "excluded frame": int(np.count_nonzero(on_excluded)),
        "frame without truth": int(np.count_nonzero(elsewhere)),
    }
    return Candidates(row=row, frame=frame[row], column=columns[row]), dropped


def _frame_rank(protocol: EvaluationProtocol, found: I32, frames: Frames, columns: Columns) -> I64:
    """Rank of each frame in the order in which the original visits frames `(F,)`."""
    source = found
    if protocol.frames == "evaluated truth":
        source = frames.of[1][columns >= 0]
    rank = np.full(frames.count, len(source), np.int64)
    # Of repeated indices the last assignment stays: backwards, that is the first appearance.
    rank[source[::-1]] = np.arange(len(source))[::-1]
    return rank


def _group(found: Candidates, rank: I64) -> None:
    """Bring the rows of each frame together, frames by `rank`, rows of a frame in file order."""
    ranks = rank[found.frame]
    if (ranks[1:] < ranks[:-1]).any():
        order = np.argsort(ranks, kind="stable")
        found.row, found.frame = found.row[order], found.frame[order]
        found.column = found.column[order]


def _thin_out(
    table: BoxTable, found: Candidates, protocol: EvaluationProtocol, cap: int | None
) -> dict[str, int]:
    """Apply the row cap, then drop empty boxes: the cap counts them. Rows lost, by reason."""
    over = found.keep(within_cap(table, found, cap)) if cap is not None else 0
    empty = _remove_empty(table, found, protocol)
    return {"over the row cap of a frame": over, "zero-area or inverted box": empty}


def _remove_empty(table: BoxTable, found: Candidates, protocol: EvaluationProtocol) -> int:
    left, top, right, bottom = (table.boxes[found.row, i] for i in range(4))
    if protocol.drop_empty_boxes:
        return found.keep((left < right) & (top < bottom))
    inverted = (left > right) | (top > bottom)
    if inverted.any():
        _refuse_inverted(table, int(found.row[np.flatnonzero(inverted)[0]]), "detections", protocol)
    return 0


def _refuse_inverted(table: BoxTable, row: int, name: str, protocol: EvaluationProtocol) -> None:
    raise DataError(
        f"inverted box: the {protocol.name} evaluator fails on it",
        where=f"{name}, row {row + 1}: {table.key(row)}",
        expected="x1 <= x2 and y1 <= y2",
        got=table.boxes[row].tolist(),
        hint="are the columns x1, y1, x2, y2, and not x, y, width, height?",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Assigned:
    truths: Truths
    score: F64
    hit: Bools
    best: I32
    iou: F64


def _assign(
    detections: BoxTable,
    truth: BoxTable,
    found: Candidates,
    before_cap: Candidates,
    truths: Truths,
    protocol: EvaluationProtocol,
    threshold: float,
    cap: int | None,
) -> _Assigned:
    """Give each instance to the first detection that has it as its best overlap ≥ `threshold`.

    A detection tries only the instance it overlaps most, as in PASCAL. Orders `found` in place
    where the original's heap orders equal scores.
    """
    pairs = _Pairs.of(detections, truth, found, truths, protocol)
    if protocol.heap_order:
        frames = _frames_with_rivals(truths, pairs, threshold)
        if len(frames):
            truths = heap_ordered_truths(truth, truths, frames)
            pairs = _Pairs.of(detections, truth, found, truths, protocol)
        frames = _frames_with_ties(detections, found, pairs, threshold)
        if len(frames):
            order = heap_order(detections, found, before_cap, frames, cap)
            found.row, found.frame = found.row[order], found.frame[order]
            found.column = found.column[order]
            pairs = _Pairs.of(detections, truth, found, truths, protocol)
    hit = np.zeros(len(found.row), np.bool_)
    best = np.full(len(found.row), -1, np.int32)
    iou = np.zeros(len(found.row), np.float64)
    best[pairs.detection], iou[pairs.detection] = pairs.best, pairs.iou
    able = pairs.iou >= threshold
    claim, wanted = pairs.detection[able], pairs.best[able]
    if protocol.match_by_score:
        first = np.lexsort((-detections.scores[found.row[claim]], wanted))
    else:
        first = np.argsort(wanted, kind="stable")
    claim, wanted = claim[first], wanted[first]
    hit[claim[np.diff(wanted, prepend=-1) != 0]] = True
    scores = detections.scores[found.row]
    if protocol.single_precision:
        scores = scores.astype(np.float32).astype(np.float64)
    return _Assigned(truths=truths, score=scores, hit=hit, best=best, iou=iou)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pairs:
    """`detection (D,)` those with truth of their class on their frame, `best (D,)` the instance
    each overlaps most (the first of equals), `iou (D,)`; `rivals (R, 3)` (detection, instance,
    another instance with the same greatest overlap)."""

    detection: Rows
    best: Rows
    iou: npt.NDArray[np.floating]
    rivals: Rows

    @classmethod
    def of(
        cls,
        detections: BoxTable,
        truth: BoxTable,
        found: Candidates,
        truths: Truths,
        protocol: EvaluationProtocol,
    ) -> _Pairs:
        width = int(max(truths.column.max(initial=0), found.column.max(initial=0))) + 1
        keys = truths.frame.astype(np.int64) * width + truths.column
        wanted = found.frame.astype(np.int64) * width + found.column
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        distinct = keys[firsts]
        slot = np.minimum(np.searchsorted(distinct, wanted), max(len(distinct) - 1, 0))
        detection = (
            np.flatnonzero(distinct[slot] == wanted) if len(distinct) else np.zeros(0, np.intp)
        )
        slot = slot[detection]
        sizes = np.diff(np.append(firsts, len(keys)))[slot]
        starts = np.cumsum(sizes) - sizes
        left = np.repeat(np.arange(len(detection)), sizes)
        right = np.arange(len(left)) - np.repeat(starts - firsts[slot], sizes)
        _refuse_inverted_truth(truth, truths, right, protocol)
        boxes = detections.boxes[found.row[detection]].astype(truths.box.dtype)
        overlap = pair_iou(boxes[left], truths.box[right])
        best = np.maximum.reduceat(overlap, starts) if len(starts) else overlap
        top = np.flatnonzero(overlap == np.repeat(best, sizes))
        winner = np.diff(left[top], prepend=-1) != 0
        chosen = right[top[winner]]
        tie = top[~winner]
        return cls(
            detection=detection,
            best=chosen,
            iou=best,
            rivals=np.stack([left[tie], chosen[left[tie]], right[tie]], 1),
        )


def pair_iou(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """IoU of row i of `a` with row i of `b` `(P,)`; 0 where both boxes are empty."""
    height = np.maximum(0, np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]))
    width = np.maximum(0, np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]))
    inter = height * width
    area_a = (a[:, 3] - a[:, 1]) * (a[:, 2] - a[:, 0])
    area_b = (b[:, 3] - b[:, 1]) * (b[:, 2] - b[:, 0])
    union = area_a + area_b - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union != 0))


def _refuse_inverted_truth(
    truth: BoxTable, truths: Truths, met: Rows, protocol: EvaluationProtocol
) -> None:
    inverted = (truths.box[:, 0] > truths.box[:, 2]) | (truths.box[:, 1] > truths.box[:, 3])
    if inverted.any():
        bad = met[inverted[met]]
        if len(bad):
            _refuse_inverted(truth, int(truths.row[bad[0]]), "truth", protocol)


def _frames_with_rivals(truths: Truths, pairs: _Pairs, threshold: float) -> I32:
    """Frames where a detection overlaps two different boxes equally and enough to claim one."""
    detection, one, other = pairs.rivals.T
    differ = (truths.box[one] != truths.box[other]).any(axis=1)
    return np.unique(truths.frame[one[differ & (pairs.iou[detection] >= threshold)]])


def _frames_with_ties(
    detections: BoxTable, found: Candidates, pairs: _Pairs, threshold: float
) -> I32:
    """Frames where two detections of one class tie and at least one could be a hit."""
    row, frame = found.row[pairs.detection], found.frame[pairs.detection]
    column, score = found.column[pairs.detection], detections.scores[row]
    order = np.lexsort((score, column, frame))
    frame, column, score = frame[order], column[order], score[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (frame[1:] != frame[:-1]) | (column[1:] != column[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(new)
    if not len(starts):
        return frame
    able = np.logical_or.reduceat((pairs.iou >= threshold)[order], starts)
    sizes = np.diff(np.append(starts, len(order)))
    return np.unique(frame[starts[able & (sizes > 1)]])
