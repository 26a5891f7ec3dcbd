"""Which detections are hits: the vectorised heart of the three frame-mAP evaluators.

Shape legend: N detection rows, M of them scored, T truth rows, F frames, K evaluated classes,
P (detection, truth) pairs of one frame and class. The float operations run in the originals'
order, so that an IoU equals theirs to the last bit.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.evaluate.boxtable import F64, I32, I64, Bools, BoxTable, Frames, join_frames
from tubelet.evaluate.protocols import Protocol
from tubelet.types import DataError

Columns = npt.NDArray[np.int16]
Rows = npt.NDArray[np.intp]

CELLS = 1 << 20
"""Scores that the row cap looks at in one block: bounds its memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truths:
    """Instances in order of (frame, class, original order): `row (T,)` in the truth table,
    `frame (T,)`, `column (T,)`, `box (T, 4)`."""

    row: Rows
    frame: I32
    column: Columns
    box: npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """The scored detections, in the order in which the original concatenates them.

    `row (M,)` in the detection table, `frame (M,)`, `column (M,)` of the evaluated classes,
    `score (M,)`, `hit (M,)` true positives, `best (M,)` index in `truths` of the instance of its
    class that it overlaps most (−1: none there) and `iou (M,)` that overlap.
    `instances (K,)` truths that count. `dropped`: rows left out, by reason.
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
            own[np.argsort(self.score[own], kind="stable")[::-1]]
            for own in (order[a:b] for a, b in pairwise(bounds))
        ]


@dataclass(slots=True, kw_only=True, eq=False)
class _Candidates:
    """Detections on their way through the filters, grouped by frame."""

    row: Rows
    frame: I32
    column: Columns

    def keep(self, mask: Bools) -> int:
        """Keep what `mask` says; return how many rows went."""
        gone = int(len(mask) - np.count_nonzero(mask))
        if gone:
            self.row, self.frame, self.column = self.row[mask], self.frame[mask], self.column[mask]
        return gone

    def groups(self) -> tuple[Rows, Rows]:
        """Start and size of the run of each frame."""
        starts = np.flatnonzero(np.diff(self.frame, prepend=-1))
        return starts, np.diff(np.append(starts, len(self.frame)))


def match(
    detections: BoxTable,
    truth: BoxTable,
    label_ids: tuple[int, ...],
    protocol: Protocol,
    *,
    excluded: Iterable[tuple[str, int]] = (),
    iou: float = 0.5,
    cap: int | None = None,
) -> Matches:
    """Score every detection of an evaluated class as hit or false alarm, as `protocol` does.

    `label_ids` K evaluated class ids; `excluded` (video, time in µs) pairs; `cap` replaces the
    protocol's. Raises DataError for what makes the original fail.
    """
    _check_files(detections, truth, protocol)
    left_out = _marker_rows(excluded)
    frames = join_frames(detections, truth, left_out)
    excluded_frames = _flags(frames.count, frames.of[2])
    columns = _columns(truth.labels, label_ids)
    counted = columns >= 0
    if not protocol.excluded_truth_counts:
        counted &= ~excluded_frames[frames.of[1]]
    instances = np.bincount(columns[counted], minlength=len(label_ids)).astype(np.int64)
    truths, evaluated = _truths(truth, frames.of[1], columns, excluded_frames, protocol)

    with_truth = _flags(frames.count, frames.of[1])
    scope = {
        "any truth": with_truth,
        "evaluated truth": evaluated,
        "all": np.ones(frames.count, np.bool_),
    }[protocol.frames]
    found, dropped = _in_scope(detections, frames.of[0], label_ids, scope, excluded_frames)
    _group(found, _frame_rank(protocol, found.frame, frames, columns))
    whole = replace(found)
    limit = protocol.cap if cap is None else cap
    dropped["over the row cap of a frame"] = (
        found.keep(_within_cap(detections, found, limit)) if limit is not None else 0
    )
    dropped["zero-area or inverted box"] = _remove_empty(detections, found, protocol)
    seen = _flags(frames.count, frames.of[0])
    matched = _assign(detections, truth, found, whole, truths, protocol, iou, limit)
    scores = detections.scores[found.row]
    if protocol.single_precision:
        scores = scores.astype(np.float32).astype(np.float64)
    return Matches(
        detections=detections,
        truth=truth,
        frames=frames,
        truths=matched.truths,
        row=found.row,
        frame=found.frame,
        column=found.column,
        score=scores,
        hit=matched.hit,
        best=matched.best,
        iou=matched.iou,
        instances=instances,
        threshold=iou,
        frames_with_truth=int(np.count_nonzero(with_truth & ~excluded_frames)),
        frames_scored=int(np.count_nonzero(_flags(frames.count, found.frame))),
        frames_excluded=int(np.count_nonzero(excluded_frames & (with_truth | seen))),
        frames_shared=int(np.count_nonzero(with_truth & seen)),
        dropped={reason: rows for reason, rows in dropped.items() if rows},
    )


def _check_files(detections: BoxTable, truth: BoxTable, protocol: Protocol) -> None:
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
            f"the {protocol.name} evaluator needs a score in every detection row",
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


def _flags(count: int, index: npt.NDArray[Any]) -> Bools:
    flags = np.zeros(count, np.bool_)
    flags[index] = True
    return flags


def _columns(labels: I64, ids: tuple[int, ...]) -> Columns:
    """Column of each label among `ids`, −1 outside them."""
    known = np.asarray(ids, np.int64)
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known, labels, sorter=order), len(known) - 1)
    at = order[at]
    return np.where(known[at] == labels, at, -1).astype(np.int16)


def _truths(
    truth: BoxTable, frame: I32, columns: Columns, excluded: Bools, protocol: Protocol
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
        _flags(len(excluded), frame[row]),
    )


def _in_scope(
    detections: BoxTable, frame: I32, ids: tuple[int, ...], scope: Bools, excluded: Bools
) -> tuple[_Candidates, dict[str, int]]:
    columns = _columns(detections.labels, ids)
    known = columns >= 0
    on_excluded = known & excluded[frame]
    elsewhere = known & ~on_excluded & ~scope[frame]
    row = np.flatnonzero(known & ~on_excluded & ~elsewhere)
    dropped = {
        "action not evaluated": int(len(known) - np.count_nonzero(known)),
        "excluded frame": int(np.count_nonzero(on_excluded)),
        "frame without truth": int(np.count_nonzero(elsewhere)),
    }
    return _Candidates(row=row, frame=frame[row], column=columns[row]), dropped


def _frame_rank(protocol: Protocol, found: I32, frames: Frames, columns: Columns) -> I64:
    """Rank of each frame in the order in which the original visits frames `(F,)`."""
    source = found
    if protocol.frames == "evaluated truth":
        source = frames.of[1][columns >= 0]
    rank = np.full(frames.count, len(source), np.int64)
    # Of repeated indices the last assignment stays: backwards, that is the first appearance.
    rank[source[::-1]] = np.arange(len(source))[::-1]
    return rank


def _group(found: _Candidates, rank: I64) -> None:
    """Bring the rows of each frame together, frames by `rank`, rows of a frame in file order."""
    ranks = rank[found.frame]
    if (ranks[1:] < ranks[:-1]).any():
        order = np.argsort(ranks, kind="stable")
        found.row, found.frame = found.row[order], found.frame[order]
        found.column = found.column[order]


def _within_cap(table: BoxTable, found: _Candidates, cap: int) -> Bools:
    """Which rows a heap of `cap` rows a frame keeps: the best scores of all classes together.

    A heap takes a new row only when its score beats the worst it holds, and gives up the least
    (score, class, y1, x1, y2, x2). So of the rows that tie at the limit it is left with the
    greatest of those among the first `cap` rows that reach the limit.
    """
    starts, sizes = found.groups()
    keep = np.ones(len(found.row), np.bool_)
    full = np.flatnonzero(sizes > cap)
    full = full[np.argsort(sizes[full], kind="stable")]
    score = table.scores[found.row]
    tied: list[Rows] = []
    places: list[Rows] = []
    at = 0
    while at < len(full):
        step = max(1, CELLS // int(sizes[full[at]]))
        block = full[at : at + step]
        at += step
        width = int(sizes[block].max())
        cells = starts[block, None] + np.arange(width)
        inside = np.arange(width) < sizes[block, None]
        values = np.where(inside, score[np.minimum(cells, len(score) - 1)], -np.inf)
        limit = np.partition(values, width - cap, axis=1)[:, width - cap, None]
        reach = values >= limit
        keep[cells[inside & ~reach]] = False
        many = np.flatnonzero(np.count_nonzero(reach, axis=1) > cap)
        if len(many):
            reach, cells = reach[many], cells[many]
            at_limit = reach & (values[many] == limit[many])
            keep[cells[at_limit]] = False
            early = at_limit & (np.cumsum(reach, axis=1) <= cap)
            free = cap - np.count_nonzero(reach & ~at_limit, axis=1)
            tied.append(cells[early])
            places.append(np.repeat(free, np.count_nonzero(early, axis=1)))
    if tied:
        keep[_greatest(table, found, np.concatenate(tied), np.concatenate(places))] = True
    return keep


def _greatest(table: BoxTable, found: _Candidates, index: Rows, places: Rows) -> Rows:
    """Of `index`, in each frame the `places` rows that are greatest by (class, y1, x1, y2, x2)."""
    row = found.row[index]
    x1, y1, x2, y2 = table.boxes[row].T
    frame = found.frame[index]
    order = np.lexsort((x2, y2, x1, y1, table.labels[row], frame))
    frame = frame[order]
    ends = np.searchsorted(frame, frame, side="right")
    return index[order][ends - np.arange(len(order)) <= places[order]]


def _remove_empty(table: BoxTable, found: _Candidates, protocol: Protocol) -> int:
    left, top, right, bottom = (table.boxes[found.row, i] for i in range(4))
    if protocol.drop_empty_boxes:
        return found.keep((left < right) & (top < bottom))
    inverted = (left > right) | (top > bottom)
    if inverted.any():
        _refuse_inverted(table, int(found.row[np.flatnonzero(inverted)[0]]), "detections", protocol)
    return 0


def _refuse_inverted(table: BoxTable, row: int, name: str, protocol: Protocol) -> None:
    raise DataError(
        f"an inverted box: the {protocol.name} evaluator cannot go on",
        where=f"{name}, row {row + 1}: {table.key(row)}",
        expected="x1 <= x2 and y1 <= y2",
        got=table.boxes[row].tolist(),
        hint="are the columns x1, y1, x2, y2, and not x, y, width, height?",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Assigned:
    truths: Truths
    hit: Bools
    best: I32
    iou: F64


def _assign(
    detections: BoxTable,
    truth: BoxTable,
    found: _Candidates,
    whole: _Candidates,
    truths: Truths,
    protocol: Protocol,
    threshold: float,
    cap: int | None,
) -> _Assigned:
    """Give each instance to the first detection that has it as its best overlap ≥ `threshold`.

    A detection tries only the instance it overlaps most, as in PASCAL. Orders `found` in place
    where the original's heap orders equal scores.
    """
    pairs = _Pairs.of(detections, truth, found, truths, protocol)
    if protocol.heap_order:
        reordered = _heap_ordered_truths(truth, truths, pairs, threshold)
        if reordered is not None:
            truths = reordered
            pairs = _Pairs.of(detections, truth, found, truths, protocol)
        frames = _frames_with_ties(detections, found, pairs, threshold)
        if len(frames):
            order = _heap_order_rows(detections, found, whole, frames, cap)
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
    return _Assigned(truths=truths, hit=hit, best=best, iou=iou)


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
        found: _Candidates,
        truths: Truths,
        protocol: Protocol,
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


def _refuse_inverted_truth(truth: BoxTable, truths: Truths, met: Rows, protocol: Protocol) -> None:
    inverted = (truths.box[:, 0] > truths.box[:, 2]) | (truths.box[:, 1] > truths.box[:, 3])
    if inverted.any():
        bad = met[inverted[met]]
        if len(bad):
            _refuse_inverted(truth, int(truths.row[bad[0]]), "truth", protocol)


def _frames_with_ties(
    detections: BoxTable, found: _Candidates, pairs: _Pairs, threshold: float
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


def heap_sorted(entries: list[tuple[float, ...]], cap: int | None) -> list[tuple[float, ...]]:
    """What a heap of at most `cap` entries holds at the end, best first, equals in heap order."""
    heap: list[tuple[float, ...]] = []
    for entry in entries:
        if cap is None or len(heap) < cap:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    return sorted(heap, key=lambda entry: -entry[0])


def _entries(table: BoxTable, rows: Rows) -> list[tuple[float, ...]]:
    x1, y1, x2, y2 = table.boxes[rows].T.tolist()
    return list(
        zip(table.scores[rows].tolist(), table.labels[rows].tolist(), y1, x1, y2, x2, strict=True)
    )


def _positions(entries: list[tuple[float, ...]], ordered: list[tuple[float, ...]]) -> list[int]:
    """Where each of `entries` stands in `ordered`; equal entries are interchangeable."""
    places: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for place in range(len(ordered) - 1, -1, -1):
        places[ordered[place]].append(place)
    return [places[entry].pop() for entry in entries]


def _heap_order_rows(
    table: BoxTable, found: _Candidates, whole: _Candidates, frames: I32, cap: int | None
) -> Rows:
    """An order of `found` in which the rows of `frames` stand as the original's heap leaves them.

    The heap is run over all rows of the frame, `whole`, because what it evicts shapes it too.
    """
    order = np.arange(len(found.row))
    all_starts, all_sizes = whole.groups()
    starts, sizes = found.groups()
    before = {int(whole.frame[s]): (s, n) for s, n in zip(all_starts, all_sizes, strict=True)}
    wanted = _flags(int(found.frame.max(initial=0)) + 1, frames)
    for index in np.flatnonzero(wanted[found.frame[starts]]):
        start, size = int(starts[index]), int(sizes[index])
        first, count = before[int(found.frame[start])]
        ordered = heap_sorted(_entries(table, whole.row[first : first + count]), cap)
        own = _positions(_entries(table, found.row[start : start + size]), ordered)
        order[start : start + size] = start + np.argsort(own, kind="stable")
    return order


def _heap_ordered_truths(
    truth: BoxTable, truths: Truths, pairs: _Pairs, threshold: float
) -> Truths | None:
    """Truths in the original's heap order on frames where a detection overlaps two different
    boxes equally and enough to claim one; None if there is no such frame."""
    detection, one, other = pairs.rivals.T
    differ = (truths.box[one] != truths.box[other]).any(axis=1)
    frames = np.unique(truths.frame[one[differ & (pairs.iou[detection] >= threshold)]])
    if not len(frames):
        return None
    place = np.arange(len(truths.row), dtype=np.int64)
    for frame in frames:
        at = np.flatnonzero(truths.frame == frame)
        rows = np.sort(truths.row[at])
        entries = [(1.0, *entry[1:]) for entry in _entries(truth, rows)]
        rank = dict(
            zip(rows.tolist(), _positions(entries, heap_sorted(entries, None)), strict=True)
        )
        place[at] = [rank[int(row)] for row in truths.row[at]]
    order = np.lexsort((place, truths.column, truths.frame))
    return Truths(
        row=truths.row[order],
        frame=truths.frame[order],
        column=truths.column[order],
        box=truths.box[order],
    )
