"""Boxes in another order of columns, and class ids that are shifted by one.

Legend: D boxes of detections and T of the truth on one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tubelet.boxes import iou_matrix
from tubelet.evaluate.boxtable import F64, NO_LABEL, BoxTable
from tubelet.evaluate.candidates import flags
from tubelet.evaluate.doubts.doubt import Doubt
from tubelet.evaluate.matching import Matches
from tubelet.types import Ints

_FRAMES = 200
_PIXELS = 2.0
"""A coordinate beyond this is taken for pixels: real boxes in [0, 1] overshoot only a little."""


def _of_size(box: F64) -> F64:
    return np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)


def _of_centre(box: F64) -> F64:
    return np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)


def _y_first(box: F64) -> F64:
    return np.asarray(box[:, [1, 0, 3, 2]])


_READINGS: dict[str, Callable[[F64], F64]] = {
    "x, y, width, height": _of_size,
    "centre x, centre y, width, height": _of_centre,
    "y1, x1, y2, x2": _y_first,
}


def of_boxes(found: Matches) -> Iterator[Doubt]:
    """Every doubt of this file."""
    tables = (("detections", found.detections), ("truth", found.truth))
    for name, table in tables:
        high = np.nanmax(table.boxes, initial=0.0) if len(table) else 0.0
        if high > _PIXELS:
            told = f"{name} reach {high:g}: boxes should be in [0, 1], not in pixels"
            yield Doubt(kind="pixels", message=told)
    for name, table in tables:
        if (doubt := _inverted(table, name)) is not None:
            yield doubt
    sample = _Sample(found)
    for doubt in (sample.other_columns(), sample.shifted_ids()):
        if doubt is not None:
            yield doubt


def _inverted(table: BoxTable, name: str) -> Doubt | None:
    x1, y1, x2, y2 = table.boxes.T
    bad = (x1 >= x2) | (y1 >= y2)
    count = int(np.count_nonzero(bad))
    if not count:
        return None
    which = "all" if count == len(table) else f"{count} of"
    message = (
        f"{which} {len(table)} rows of the {name} have boxes that are empty or inverted "
        "(x1 ≥ x2 or y1 ≥ y2) and cannot match anything"
    )
    inside = (x1[bad] + x2[bad] <= 1.05) & (y1[bad] + y2[bad] <= 1.05)
    if inside.mean() > 0.95:
        message += "; are they x, y, width, height?"
    return Doubt(kind="inverted boxes", message=message, count=count)


class _Sample:
    """Some frames that both tables have, evenly spread."""

    def __init__(self, found: Matches) -> None:
        frames = found.frames
        shared = flags(frames.count, frames.of[0]) & flags(frames.count, frames.of[1])
        chosen = np.flatnonzero(shared)
        chosen = chosen[:: max(1, -(-len(chosen) // _FRAMES))]
        wanted = flags(frames.count, chosen)
        self._detections, self._truth = found.detections, found.truth
        self._pairs = list(self._rows(found, wanted, chosen))

    def _rows(
        self, found: Matches, wanted: np.typing.NDArray[np.bool_], chosen: Ints
    ) -> Iterator[tuple[Ints, Ints]]:
        """Row numbers of detections and truth, frame by frame."""
        sides = []
        for side, table in enumerate((self._detections, self._truth)):
            frame = found.frames.of[side]
            rows = np.flatnonzero(wanted[frame] & ~np.isnan(table.boxes[:, 0]))
            rows = rows[np.argsort(frame[rows], kind="stable")]
            begin = np.searchsorted(frame[rows], chosen)
            end = np.searchsorted(frame[rows], chosen, side="right")
            sides.append([rows[a:b] for a, b in zip(begin, end, strict=True)])
        for detected, labelled in zip(*sides, strict=True):
            if len(detected) and len(labelled):
                yield detected, labelled

    def _overlap(self, found_as: Callable[[F64], F64], known_as: Callable[[F64], F64]) -> float:
        """Mean over labelled boxes of their best IoU."""
        best = [
            iou_matrix(
                known_as(self._truth.boxes[known]),
                found_as(np.unique(self._detections.boxes[own], axis=0)),
            ).max(axis=1)
            for own, known in self._pairs
        ]
        return float(np.concatenate(best).mean()) if best else 0.0

    def other_columns(self) -> Doubt | None:
        """Another order of columns under which boxes meet that do not meet as they stand."""
        if not self._pairs:
            return None
        now = self._overlap(_same, _same)
        if now > 0.45:
            return None
        for name, read in _READINGS.items():
            for table, then in (
                ("detections", self._overlap(read, _same)),
                ("truth", self._overlap(_same, read)),
            ):
                if then > 0.5 and then > 1.5 * now:
                    told = (
                        f"the boxes of the {table} seem to be {name}: read so, labelled boxes are "
                        f"overlapped by {then:.2f} on average, as x1, y1, x2, y2 by {now:.2f}"
                    )
                    return Doubt(kind="columns of boxes", message=told)
        return None

    def shifted_ids(self) -> Doubt | None:
        """Whether the best class of a box that lies on a labelled one is its neighbour's id."""
        shifts, labels = [], set()
        for own, known in self._pairs:
            overlaps = iou_matrix(self._truth.boxes[known], self._detections.boxes[own])
            for row, overlap in zip(known, overlaps, strict=True):
                if overlap.max() < 0.5 or self._truth.labels[row] == NO_LABEL:
                    continue
                there = own[overlap == overlap.max()]
                top = there[np.argmax(self._detections.scores[there])]
                shifts.append(int(self._detections.labels[top] - self._truth.labels[row]))
                labels.add(int(self._truth.labels[row]))
        if len(shifts) < 6 or len(labels) < 3:
            return None
        for shift in (1, -1):
            share = float(np.mean([s == shift for s in shifts]))
            if share >= 0.7:
                told = (
                    f"on {share:.0%} of labelled boxes the best class has the id {shift:+d} of the "
                    "right one: are the ids counted from 0 in one file and from 1 in the other?"
                )
                return Doubt(kind="shifted ids", message=told, count=len(shifts))
        return None


def _same(box: F64) -> F64:
    return box
