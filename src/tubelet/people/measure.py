"""How good a person detector is: average precision and recall of its boxes alone.

Legend: N found boxes of a frame, G true ones. The field's person AP@0.5: detections of all frames
by falling score, each taking its best-overlapping true box if still free, precision made
monotone, area under the curve. A detection that takes no true box but lies mostly in an ignored
region, such as a crowd nobody counted, is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.boxes import area, average_precision, iou_matrix
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameMatch:
    """One frame's detections, best first, and its true boxes, compared.

    `scores`, `hits` (N,): of the detections that count. `found_at` (G,): the score that each true
    box was found with, 0 where it was not.
    """

    scores: Floats
    hits: npt.NDArray[np.bool_]
    found_at: Floats


def match(
    people: People, truth: Floats, ignored: Floats | None = None, *, iou: float
) -> FrameMatch:
    """Compare found people with true boxes `(G, 4)` and ignored regions `(I, 4)` of their frame."""
    order = np.argsort(-people.scores, kind="stable")
    boxes, scores = people.boxes[order], people.scores[order]
    taken = _takes(boxes, truth, iou)
    found_at = np.zeros(len(truth), np.float32)
    found_at[taken[taken >= 0]] = scores[taken >= 0]
    counts = (taken >= 0) | ~_inside(boxes, ignored)
    return FrameMatch(scores=scores[counts], hits=taken[counts] >= 0, found_at=found_at)


def precision_area(matches: Sequence[FrameMatch]) -> float:
    """AP of the detections of all frames together; NaN without a true box."""
    if not matches:
        return float("nan")
    score = np.concatenate([m.scores for m in matches])
    hit = np.concatenate([m.hits for m in matches])
    truth = sum(len(m.found_at) for m in matches)
    return average_precision(hit[np.argsort(-score, kind="stable")], truth)


def measure(pairs: Iterable[tuple[People, Floats]], *, iou: float = 0.5) -> PersonReport:
    """Compare `(found people, true boxes (G, 4))` of each frame, both in the same units.

    An overlap of exactly `iou` counts. If only some people are labelled, precision and AP are
    lower bounds: finding the others looks like an error.
    """
    if not 0 < iou <= 1:
        raise ShapeError("the IoU of a match lies in (0, 1]", got=iou)
    frames = [match(people, boxes, iou=iou) for people, boxes in pairs]
    truth = sum(len(frame.found_at) for frame in frames)
    return PersonReport(
        ap=precision_area(frames),
        recall=sum(int(f.hits.sum()) for f in frames) / truth if truth else float("nan"),
        frames=len(frames),
        truth=truth,
        found=sum(len(frame.hits) for frame in frames),
    )


def _takes(found: Floats, boxes: Floats, iou: float) -> npt.NDArray[np.int64]:
    """Which true box each found box, best score first, takes; −1 for none or one taken before."""
    takes = np.full(len(found), -1, np.int64)
    if not len(boxes):
        return takes
    taken: set[int] = set()
    for i, row in enumerate(iou_matrix(found, boxes)):
        best = int(row.argmax())
        if row[best] >= iou and best not in taken:
            taken.add(best)
            takes[i] = best
    return takes


def _inside(boxes: Floats, regions: Floats | None) -> npt.NDArray[np.bool_]:
    """Which boxes lie by half or more in one of the regions."""
    if regions is None or not len(regions):
        return np.zeros(len(boxes), bool)
    corner = np.minimum(boxes[:, None, 2:], regions[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], regions[None, :, :2]
    )
    common = corner.clip(min=0).prod(-1)
    inside: npt.NDArray[np.bool_] = (2 * common >= area(boxes)[:, None]).any(1)
    return inside & (area(boxes) > 0)
