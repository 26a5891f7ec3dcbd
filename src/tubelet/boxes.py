"""Box maths on NumPy: IoU, NMS, clipping, AP, and the Geometry of a resize, crop and flip.

Boxes are xyxy. Nothing here knows about torch; the detector's RoIAlign lives in `models/roi.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Literal

import numpy as np
import numpy.typing as npt

from tubelet.errors import ShapeError
from tubelet.types import Floats, Ints

_NMS_BLOCK = 64  # boxes compared with all the others at once: their IoU stays in the cache


def area(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Areas `(N,)`; an inverted box has area 0."""
    wh = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(wh[:, 0] * wh[:, 1])


def iou_matrix(
    a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Intersection over union `(len(a), len(b))`, 0 where the union is empty."""
    # One axis at a time: arrays whose last axis has two entries are several times slower.
    intersection = _shared(a[:, 0], a[:, 2], b[:, 0], b[:, 2])
    intersection *= _shared(a[:, 1], a[:, 3], b[:, 1], b[:, 3])
    union = np.add.outer(area(a), area(b))
    union -= intersection
    if (union > 0).all():
        return np.asarray(np.divide(intersection, union, out=intersection))
    return np.asarray(
        np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    )


def _shared(
    a_low: npt.NDArray[np.floating],
    a_high: npt.NDArray[np.floating],
    b_low: npt.NDArray[np.floating],
    b_high: npt.NDArray[np.floating],
) -> npt.NDArray[np.floating]:
    """Lengths that intervals share `(len(a), len(b))`, 0 where they are apart."""
    length = np.minimum.outer(a_high, b_high)
    length -= np.maximum.outer(a_low, b_low)
    return np.asarray(np.maximum(length, 0, out=length))


def nms(boxes: Floats, scores: Floats, iou: float) -> Ints:
    """Indices kept by greedy non-maximum suppression, best score first (ties: earlier first)."""
    order = np.argsort(-scores, kind="stable")
    ranked = boxes[order]
    out = np.zeros(len(boxes), np.bool_)
    kept: list[int] = []
    for start in range(0, len(boxes), _NMS_BLOCK):
        # Only boxes that are still in can suppress, and only those after them.
        block = start + np.flatnonzero(~out[start : start + _NMS_BLOCK])
        rivals = iou_matrix(ranked[block], ranked[start:]) > iou
        for row, place in enumerate(block.tolist()):
            if not out[place]:
                kept.append(place)
                out[start:] |= rivals[row]
    return np.asarray(order[kept], np.int64)


def clip_unit(boxes: Floats) -> Floats:
    """Boxes clipped to the frame [0, 1]."""
    return np.clip(boxes, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where a clip's pixels come from: resize, then crop (or pad), then maybe flip.

    `source_hw`: the upright, square-pixel source frame in pixels. `resized_hw`: after the resize.
    `crop_xy`: left and top of the crop in the resized frame (negative pads on that side).
    `out_hw`: the clip. `flip`: the crop is mirrored left–right at the end.
    """

    source_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    crop_xy: tuple[int, int] = (0, 0)
    out_hw: tuple[int, int]
    flip: bool = False

    def __post_init__(self) -> None:
        for name in ("source_hw", "resized_hw", "out_hw"):
            if min(getattr(self, name)) < 1:
                raise ShapeError(f"Geometry.{name} must be positive", got=getattr(self, name))

    def to_clip_px(self, boxes: npt.NDArray[np.floating]) -> Floats:
        """Source boxes in [0, 1] → pixels of the clip `(N, 4)`, not clipped to it."""
        h, w = self.resized_hw
        x, y = self.crop_xy
        px = boxes * np.array([w, h, w, h], np.float64) - np.array([x, y, x, y], np.float64)
        if self.flip:
            px = np.stack(
                [self.out_hw[1] - px[:, 2], px[:, 1], self.out_hw[1] - px[:, 0], px[:, 3]], 1
            )
        return px.astype(np.float32)

    def visible_px(self) -> tuple[int, int, int, int]:
        """The part of the clip that shows the source, xyxy in clip pixels; the rest is padding."""
        (height, width), (out_h, out_w) = self.resized_hw, self.out_hw
        x, y = self.crop_xy
        left, top = max(0, -x), max(0, -y)
        right, bottom = min(out_w, width - x), min(out_h, height - y)
        if self.flip:
            left, right = out_w - right, out_w - left
        return left, top, right, bottom

    def to_source_norm(self, boxes_px: npt.NDArray[np.floating]) -> Floats:
        """The inverse of `to_clip_px`: clip pixels → source boxes in [0, 1]."""
        px = np.asarray(boxes_px, np.float64)
        if self.flip:
            px = np.stack(
                [self.out_hw[1] - px[:, 2], px[:, 1], self.out_hw[1] - px[:, 0], px[:, 3]], 1
            )
        h, w = self.resized_hw
        x, y = self.crop_xy
        out = (px + np.array([x, y, x, y])) / np.array([w, h, w, h], np.float64)
        return np.asarray(out, np.float32)


def short_side_hw(
    source_hw: tuple[int, int],
    short: int,
    long_max: int | None = None,
    rounding: Literal["nearest", "floor", "half_up"] = "nearest",
) -> tuple[int, int]:
    """Size after scaling the shorter side to `short`, the longer side limited to `long_max`.

    Both sides keep the aspect ratio to a whole pixel, found by `rounding`, and are at least 1.
    """
    h, w = source_hw
    scale = short / min(h, w)
    if long_max is not None:
        scale = min(scale, long_max / max(h, w))
    if rounding == "nearest":
        return max(1, round(h * scale)), max(1, round(w * scale))
    if rounding == "half_up":  # MMCV
        return max(1, int(h * scale + 0.5)), max(1, int(w * scale + 0.5))
    # PySlowFast multiplies the sides' ratio, whose product can end a hair below a whole number.
    sides = (short if side == min(h, w) else floor(side / min(h, w) * short) for side in (h, w))
    if long_max is not None and scale * min(h, w) < short:
        sides = (floor(side * scale) for side in (h, w))
    height, width = (max(1, side) for side in sides)
    return height, width


def average_precision(hits: npt.NDArray[np.bool_], instances: int) -> float:
    """Average precision of boxes, as the PASCAL development kit defines it: the area under the
    precision–recall curve made monotone; NaN without instances.

    `hits (M,)`: which boxes, best score first, are of one of the `instances`. Between two hits
    precision only falls, so the curve is known from its value at the hits.
    """
    if instances == 0:
        return float("nan")
    at = np.flatnonzero(hits)
    found = np.arange(1, len(at) + 1)
    envelope = np.maximum.accumulate((found / (at + 1))[::-1])[::-1]
    recall = np.concatenate([[0.0], found / instances])
    return float(np.sum(np.diff(recall) * envelope))
