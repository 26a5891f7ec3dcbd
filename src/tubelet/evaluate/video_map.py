"""Video mAP: whole action tubes against whole action tubes, as on JHMDB and UCF101-24.

Definition, from the ACT detector's evaluation (Kalogeiton et al., ICCV 2017). The overlap of two
tubes is the mean box IoU over the times they share, multiplied by shared times over times
of either. Detections of a class, over all videos, by falling score: each claims the *still
unclaimed* true tube of its class and video that it overlaps most, if that overlap reaches the
threshold; otherwise it is a false alarm. AP is the area under the straight lines between the
precision–recall points, from precision 1 at recall 0, without a monotonous envelope. mAP is the
mean over the classes with truth; 0.5:0.95 is its mean over ten thresholds.

Nothing is suppressed here: the original thins overlapping tubes (0.3) when it builds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tubelet.errors import DataError, InputError, ShapeError
from tubelet.evaluate.boxtable import F64, I64
from tubelet.evaluate.curves import mean
from tubelet.labels import LabelSpace
from tubelet.results import Tube
from tubelet.types import check_shape

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
THRESHOLDS = (0.2, *COCO_THRESHOLDS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActionTube:
    """One action of one person through time: `times (L,)` ascending integers (frames or ms, the
    same unit in truth and detections), `boxes (L, 4)` xyxy, `label` a class id."""

    video: str
    label: int
    times: I64
    boxes: F64
    score: float = 1.0

    def __post_init__(self) -> None:
        times, boxes = np.asarray(self.times, np.int64), np.asarray(self.boxes, np.float64)
        check_shape(times, (None,), "ActionTube.times")
        check_shape(boxes, (len(times), 4), "ActionTube.boxes")
        where = f"a tube of class {self.label} in {self.video}"
        if not len(times) or (np.diff(times) <= 0).any():
            raise ShapeError("a tube needs at least one time, in ascending order", where=where)
        if not np.isfinite(boxes).all() or np.isnan(self.score):
            raise DataError("invalid tube: a box or score is not a number", where=where)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "boxes", boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoReport:
    """mAP in [0, 1] by threshold; `map_50_95` their mean over 0.5:0.95, None unless all ten were
    asked for; `ap[class id][threshold]`, NaN without truth; `instances[class id]`, its true tubes;
    numbers of tubes and videos."""

    map: Mapping[float, float]
    map_50_95: float | None
    ap: Mapping[int, Mapping[float, float]]
    instances: Mapping[int, int]
    truths: int
    detections: int
    videos: int
    warnings: tuple[str, ...]


def action_tubes(tube: Tube, *, threshold: float = 0.0) -> list[ActionTube]:
    """A person's tube as one tube per action, scored by the mean over its moments.

    Actions scored below `threshold` are left out. `times` are milliseconds.
    """
    scores = tube.action_scores.mean(axis=0)
    return [
        ActionTube(
            video=tube.video,
            label=label,
            times=tube.times_ms,
            boxes=tube.boxes.astype(np.float64),
            score=float(score),
        )
        for label, score in zip(tube.labels.ids, scores, strict=True)
        if score >= threshold
    ]


def tube_iou(a: ActionTube, b: ActionTube, *, pixel: float = 0.0) -> float:
    """Spatio-temporal overlap of two tubes in [0, 1].

    `pixel` is added to every width and height: 1 for boxes in whole pixels whose last row and
    column belong to the box, as in the original; 0 for boxes in [0, 1].
    """
    shared, in_a, in_b = np.intersect1d(a.times, b.times, assume_unique=True, return_indices=True)
    if not len(shared):
        return 0.0
    one, two = a.boxes[in_a], b.boxes[in_b]
    size = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2]) + pixel
    inter = np.prod(np.maximum(size, 0), axis=1)
    areas = np.prod(one[:, 2:] - one[:, :2] + pixel, axis=1)
    areas += np.prod(two[:, 2:] - two[:, :2] + pixel, axis=1)
    union = areas - inter
    overlap = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return float(overlap.mean() * len(shared) / (len(a.times) + len(b.times) - len(shared)))


def evaluate_videos(
    detections: Iterable[ActionTube],
    truth: Iterable[ActionTube],
    labels: LabelSpace,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    pixel: float = 0.0,
) -> VideoReport:
    """Video mAP of `detections` at each of `thresholds`, over the evaluated classes of `labels`.

    Of equal scores the earlier detection comes first. Raises InputError for a threshold outside
    (0, 1]; tubes of classes that are not evaluated are ignored.
    """
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise InputError("tube IoU thresholds must be in (0, 1]", got=tuple(thresholds))
    ids = labels.evaluated or labels.ids
    known = set(ids)
    found = [t for t in detections if t.label in known]
    true = [t for t in truth if t.label in known]
    ap = {i: _class_ap(found, true, i, thresholds, pixel) for i in ids}
    by_threshold = {t: mean(np.array([ap[i][t] for i in ids])) for t in thresholds}
    videos = {t.video for t in true}
    warnings = []
    if found and true and not videos & {t.video for t in found}:
        warnings.append(
            f"no video is in both: for example {found[0].video!r} against {true[0].video!r}"
        )
    return VideoReport(
        map=by_threshold,
        map_50_95=mean(np.array([by_threshold[t] for t in COCO_THRESHOLDS]))
        if set(COCO_THRESHOLDS) <= set(thresholds)
        else None,
        ap=ap,
        instances={i: sum(t.label == i for t in true) for i in ids},
        truths=len(true),
        detections=len(found),
        videos=len(videos),
        warnings=tuple(warnings),
    )


def _class_ap(
    found: list[ActionTube],
    true: list[ActionTube],
    label: int,
    thresholds: Sequence[float],
    pixel: float,
) -> dict[float, float]:
    instances = defaultdict(list)
    for tube in true:
        if tube.label == label:
            instances[tube.video].append(tube)
    own = sorted((t for t in found if t.label == label), key=lambda t: -t.score)
    overlaps = [np.array([tube_iou(d, t, pixel=pixel) for t in instances[d.video]]) for d in own]
    count = sum(map(len, instances.values()))
    return {t: _tube_ap(own, overlaps, count, t) for t in thresholds}


def _tube_ap(
    detections: list[ActionTube], overlaps: list[F64], instances: int, threshold: float
) -> float:
    if not instances:
        return float("nan")
    claimed: dict[str, set[int]] = defaultdict(set)
    precision, recall = [1.0], [0.0]
    hits = 0
    for rank, (tube, overlap) in enumerate(zip(detections, overlaps, strict=True), 1):
        free = overlap.copy()
        free[list(claimed[tube.video])] = -1.0
        best = int(free.argmax()) if len(free) else -1
        if best >= 0 and free[best] >= threshold:
            claimed[tube.video].add(best)
            hits += 1
        precision.append(hits / rank)
        recall.append(hits / instances)
    heights = np.add(precision[1:], precision[:-1]) / 2
    return float(np.sum(np.diff(recall) * heights))
