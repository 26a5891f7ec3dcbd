"""What the official AVA script's binary heap does to a frame: its row cap and its order of ties.

The script pushes (score, class, y1, x1, y2, x2) on a heap of 50, then sorts by score. Which rows
survive has a closed form, computed for all frames at once; the order of equal scores has none, so
the heap is run again, but only on the few frames where that order can change a result.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from tubelet.evaluate.boxtable import I32, Bools, BoxTable
from tubelet.evaluate.candidates import Candidates, Rows, Truths, flags

CELLS = 1 << 18
"""Scores that the row cap looks at in one block: bounds its memory."""


def within_cap(table: BoxTable, found: Candidates, cap: int) -> Bools:
    """Which rows a heap of `cap` rows per frame keeps: the best scores of all classes together.

    A heap takes a new row only when its score beats the worst it holds, and drops the least
    (score, class, y1, x1, y2, x2). So of the rows that tie at the limit it keeps the greatest of
    those among the first `cap` rows that reach it.
    """
    starts, sizes = found.groups()
    keep = np.ones(len(found.row), np.bool_)
    score = table.scores[found.row]
    tied: list[Rows] = []
    places: list[Rows] = []
    for cells in _blocks(starts, sizes, cap):
        values = score[cells]
        limit = np.partition(values, -cap, axis=1)[:, -cap, None]
        reach = values >= limit
        keep[cells] = reach
        many = np.count_nonzero(reach, axis=1) > cap
        if many.any():
            reach, cells = reach[many], cells[many]
            at_limit = values[many] == limit[many]
            keep[cells[at_limit]] = False
            early = at_limit & (np.cumsum(reach, axis=1) <= cap)
            free = cap - np.count_nonzero(reach & ~at_limit, axis=1)
            tied.append(cells[early])
            places.append(np.repeat(free, np.count_nonzero(early, axis=1)))
    if tied:
        keep[_greatest(table, found, np.concatenate(tied), np.concatenate(places))] = True
    return keep


def _blocks(starts: Rows, sizes: Rows, cap: int) -> Iterator[Rows]:
    """Row positions `(frames, rows)` of the frames with more than `cap` rows, by equal size."""
    full = np.flatnonzero(sizes > cap)
    full = full[np.argsort(sizes[full], kind="stable")]
    for group in np.split(full, np.flatnonzero(np.diff(sizes[full])) + 1):
        width = int(sizes[group[0]]) if len(group) else cap
        step = max(1, CELLS // width)
        for at in range(0, len(group), step):
            yield starts[group[at : at + step], None] + np.arange(width)


def _greatest(table: BoxTable, found: Candidates, index: Rows, places: Rows) -> Rows:
    """Of `index`, in each frame the `places` rows that are greatest by (class, y1, x1, y2, x2)."""
    row = found.row[index]
    x1, y1, x2, y2 = table.boxes[row].T
    frame = found.frame[index]
    order = np.lexsort((x2, y2, x1, y1, table.labels[row], frame))
    frame = frame[order]
    ends = np.searchsorted(frame, frame, side="right")
    return index[order][ends - np.arange(len(order)) <= places[order]]


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
    """Position of each of `entries` in `ordered`; equal entries are interchangeable."""
    places: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for place in range(len(ordered) - 1, -1, -1):
        places[ordered[place]].append(place)
    return [places[entry].pop() for entry in entries]


def heap_order(
    table: BoxTable, found: Candidates, whole: Candidates, frames: I32, cap: int | None
) -> Rows:
    """An order of `found` in which the rows of `frames` are as the original's heap leaves them.

    The heap is run over all rows of the frame, `whole`, because what it evicts shapes it too.
    """
    order = np.arange(len(found.row))
    all_starts, all_sizes = whole.groups()
    starts, sizes = found.groups()
    before = {int(whole.frame[s]): (s, n) for s, n in zip(all_starts, all_sizes, strict=True)}
    wanted = flags(int(found.frame.max(initial=0)) + 1, frames)
    for index in np.flatnonzero(wanted[found.frame[starts]]):
        start, size = int(starts[index]), int(sizes[index])
        first, count = before[int(found.frame[start])]
        ordered = heap_sorted(_entries(table, whole.row[first : first + count]), cap)
        own = _positions(_entries(table, found.row[start : start + size]), ordered)
        order[start : start + size] = start + np.argsort(own, kind="stable")
    return order


def heap_ordered_truths(truth: BoxTable, truths: Truths, frames: I32) -> Truths:
    """Truths of `frames` in the original's heap order, the others as they are."""
    place = np.arange(len(truths.row), dtype=np.int64)
    for frame in frames:
        first, end = np.searchsorted(truths.frame, [frame, frame + 1])
        at = np.arange(first, end)
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
