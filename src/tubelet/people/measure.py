"""How good a person detector is: average precision and recall of its boxes alone.

Legend: N found boxes of a frame, G true ones. The field's person AP@0.5: detections of all frames
by falling score, each taking its best-overlapping true box if still free, precision made
monotone, area under the curve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tubelet.boxes import average_precision, iou_matrix
from tubelet.errors import ShapeError
from tubelet.types import Floats, People


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonReport:
    """`ap` and `recall` in [0, 1] (NaN without truth); `recall` counts every detection."""

    ap: float
    recall: float
    frames: int
    truth: int
    found: int

    def __str__(self) -> str:
        return (
            f"person AP@IoU {self.ap:.4f}  recall {self.recall:.4f}  "
            f"({self.truth} people in {self.frames} frames, {self.found} detections)"
        )


def measure(pairs: Iterable[tuple[People, Floats]], *, iou: float = 0.5) -> PersonReport:
    """Compare `(found people, true boxes (G, 4))` of each frame, both in the same units.

    An overlap of exactly `iou` counts. If only some people are labelled, precision and AP are
    lower bounds: finding the others looks like an error.
    """
    if not 0 < iou <= 1:
        raise ShapeError("the IoU of a match lies in (0, 1]", got=iou)
    scores: list[Floats] = []
    hits: list[np.ndarray[tuple[int], np.dtype[np.bool_]]] = []
    frames = truth = 0
    for people, boxes in pairs:
        order = np.argsort(-people.scores, kind="stable")
        scores.append(people.scores[order])
        hits.append(_hits(people.boxes[order], boxes, iou))
        frames, truth = frames + 1, truth + len(boxes)
    score = np.concatenate(scores) if scores else np.zeros(0, np.float32)
    hit = np.concatenate(hits) if hits else np.zeros(0, bool)
    hit = hit[np.argsort(-score, kind="stable")]
    return PersonReport(
        ap=average_precision(hit, truth),
        recall=int(hit.sum()) / truth if truth else float("nan"),
        frames=frames,
        truth=truth,
        found=len(hit),
    )


def _hits(found: Floats, boxes: Floats, iou: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which found boxes, best score first, match a true box that no better one has taken."""
    hit = np.zeros(len(found), bool)
    if not len(boxes):
        return hit
    overlap = iou_matrix(found, boxes)
    taken: set[int] = set()
    for i, row in enumerate(overlap):
        best = int(row.argmax())
        if row[best] >= iou and best not in taken:
            taken.add(best)
            hit[i] = True
    return hit
