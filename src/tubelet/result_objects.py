"""Results as the objects of other packages, which are imported only when asked for.

Shape legend: N people, K classes. Both packages know one class of a box: the best action is it, and
the scores of all actions are kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from tubelet.errors import InputError
from tubelet.labels import LabelSpace
from tubelet.types import Floats, Ints


def _imported(package: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f"the package {package!r} is not installed, or cannot be loaded",
            got=error,
            hint=f"pip install {package}",
        ) from error


def supervision_detections(
    boxes: Floats,
    person_scores: Floats,
    action_scores: Floats,
    track_ids: Ints,
    labels: LabelSpace,
    *,
    size: tuple[int, int],
    metadata: dict[str, Any],
) -> Any:
    """`supervision.Detections` of people with boxes `(N, 4)` in [0, 1], on a picture of `size`
    (width, height) pixels. Raises InputError where supervision is not installed."""
    best = action_scores.argmax(axis=1) if len(boxes) else np.zeros(0, np.int64)
    return _imported("supervision").Detections(
        xyxy=boxes * np.array([*size, *size], np.float32),
        confidence=action_scores[np.arange(len(boxes)), best],
        class_id=np.array(labels.ids, np.int64)[best],
        tracker_id=track_ids,
        data={
            "class_name": np.array(labels.names, object)[best].astype(str),
            "person_score": person_scores,
            "action_scores": action_scores,
        },
        metadata=metadata,
    )


def fiftyone_detections(
    boxes: Floats,
    person_scores: Floats,
    action_scores: Floats,
    track_ids: Ints,
    labels: LabelSpace,
    *,
    top: int,
) -> Iterator[Any]:
    """A `fiftyone.Detection` for each person: `index` is the track id (None if unknown), the `top`
    best actions are the attributes `actions` and `scores`. Raises InputError where FiftyOne is not
    installed."""
    detection = _imported("fiftyone").Detection
    for person, (x1, y1, x2, y2) in enumerate(boxes.astype(float).tolist()):
        order = np.argsort(-action_scores[person], kind="stable")[: max(1, top)].tolist()
        track_id = int(track_ids[person])
        made = detection(
            label=labels.names[order[0]],
            bounding_box=[x1, y1, x2 - x1, y2 - y1],
            confidence=float(action_scores[person, order[0]]),
            index=track_id if track_id >= 0 else None,
        )
        made["person_score"] = float(person_scores[person])
        made["actions"] = [labels.names[column] for column in order]
        made["scores"] = [float(action_scores[person, column]) for column in order]
        yield made


def fiftyone_list(made: Iterator[Any]) -> Any:
    """`fiftyone.Detections` of those."""
    return _imported("fiftyone").Detections(detections=list(made))
