"""What a user's own detector and tracker say of one moment, as People."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.errors import InputError, ShapeError
from tubelet.types import Floats, Ints, People, as_boxes

_FAR = 2.0  # a box in fractions may reach a little out of the picture, not further


def people_of(
    moment: Sequence[Any], size: tuple[int, int] | None, class_id: int | None = None
) -> People:
    """The people of `(time_ms, boxes, ids[, scores])`, or of `(time_ms, supervision.Detections)`.

    `size`: (width, height) of the picture if boxes are in pixels. Raises InputError and ShapeError
    as `GivenPeople.from_tracks` says.
    """
    if len(moment) == 2 and hasattr(moment[1], "xyxy"):
        boxes, ids, scores = _of_supervision(moment[1], moment[0], class_id)
    elif len(moment) in (3, 4):
        boxes, ids, scores = (*moment[1:], None, None)[:3]
    else:
        raise ShapeError(
            "a moment of tracks has the wrong form",
            expected="(time_ms, boxes, ids), (time_ms, boxes, ids, scores) or "
            "(time_ms, supervision.Detections)",
            got=f"{len(moment)} values",
        )
    xyxy = _fractions(as_boxes(boxes, "boxes"), size, moment[0])
    return People.of(xyxy, scores, _track_ids(ids, len(xyxy)))


def _of_supervision(
    found: Any, time_ms: int, class_id: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, npt.NDArray[Any] | None]:
    kinds = None if found.class_id is None else np.asarray(found.class_id)
    if class_id is not None and kinds is not None:
        found = found[kinds == class_id]
    elif kinds is not None and len(np.unique(kinds)) > 1:
        raise InputError(
            "the detections are of several classes: which are people?",
            where=f"{time_ms} ms",
            got=f"class_id {', '.join(map(str, np.unique(kinds)[:8].tolist()))}",
            hint="state class_id; of COCO's classes people are 0",
            arguments=("class_id",),
        )
    return found.xyxy, found.tracker_id, found.confidence


def _fractions(boxes: Floats, size: tuple[int, int] | None, time_ms: int) -> Floats:
    if size is not None:
        return np.asarray(boxes / np.array([*size, *size], np.float32), np.float32)
    if len(boxes) and float(np.abs(boxes).max()) > _FAR:
        raise InputError(
            "the boxes are in pixels, of a picture of unknown size",
            where=f"{time_ms} ms",
            got=boxes[int(np.abs(boxes).max(axis=1).argmax())],
            hint="state size=(width, height)",
            arguments=("size",),
        )
    return boxes


def _track_ids(ids: Any, count: int) -> Ints | None:
    """Whole numbers; −1 for None."""
    if ids is None:
        return None
    whole = [-1 if one is None else int(one) for one in np.asarray(ids, object).ravel()]
    if len(whole) != count:
        raise ShapeError("as many ids as boxes", expected=count, got=len(whole))
    return np.array(whole, np.int64)
