"""A detector that also looks at a frame piece by piece, for people too small to be seen whole.

`sliced:<detector>` shows a detector the frame and four overlapping quarters of it, and merges what
it finds (after slicing-aided inference, Akyon et al., ICIP 2022). It costs five times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubelet.boxes import nms
from tubelet.people.detectors.base import Image, ThresholdedDetector, check_image
from tubelet.types import Floats, People

PREFIX = "sliced:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicedDetector:
    """`detector` on the whole frame and on `grid` × `grid` pieces that overlap by `overlap`.

    A box that ends at an edge that its piece does not share with the frame is part of a person
    whom another piece, or the whole frame, shows in full: it is dropped. Of boxes that overlap by
    more than `nms_iou` the better scored is kept.
    """

    detector: ThresholdedDetector
    grid: int = 2
    overlap: float = 0.2
    nms_iou: float = 0.55

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        return f"{PREFIX}{self.detector.name}"

    @property
    def threshold(self) -> float:
        """The least score of the people it answers with."""
        return self.detector.threshold

    def __call__(self, image: Image) -> People:
        """People of one frame u8 `(H, W, 3)`, best first, boxes in [0, 1]."""
        check_image(image)
        whole = self.detector(image)
        boxes, scores = [whole.boxes], [whole.scores]
        for rows in _spans(image.shape[0], self.grid, self.overlap):
            for columns in _spans(image.shape[1], self.grid, self.overlap):
                piece = np.ascontiguousarray(image[rows, columns])
                found = self.detector(piece)
                placed, uncut = _placed(found.boxes, rows, columns, image.shape[:2])
                boxes.append(placed[uncut])
                scores.append(found.scores[uncut])
        together, score = np.concatenate(boxes), np.concatenate(scores)
        kept = nms(together, score, self.nms_iou)
        return People.of(together[kept], score[kept])


def _spans(length: int, parts: int, overlap: float) -> list[slice]:
    """`parts` pieces of one side that cover it, each `overlap` of its length into the next."""
    size = min(length, max(1, round(length / (parts - (parts - 1) * overlap))))
    starts = np.linspace(0, length - size, parts).round().astype(int)
    return [slice(int(start), int(start) + size) for start in starts]


def _placed(
    boxes: Floats, rows: slice, columns: slice, hw: tuple[int, int]
) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """A piece's boxes in the frame's coordinates, and which of them the piece does not cut."""
    height, width = hw
    sides = np.array([columns.stop - columns.start, rows.stop - rows.start] * 2, np.float32)
    corner = np.array([columns.start, rows.start] * 2, np.float32)
    frame = np.array([width, height] * 2, np.float32)
    near = 2 / sides  # a box that ends within two pixels of the edge is taken as cut
    inner = np.array([columns.start > 0, rows.start > 0, columns.stop < width, rows.stop < height])
    at_edge = np.concatenate([boxes[:, :2] <= near[:2], boxes[:, 2:] >= 1 - near[2:]], 1)
    placed = ((boxes * sides + corner) / frame).clip(0, 1).astype(np.float32)
    return placed, ~(at_edge & inner).any(1)
