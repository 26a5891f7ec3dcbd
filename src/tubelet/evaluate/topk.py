"""Clip-level figures: top-k accuracy for one label per clip, Charades mAP for several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.errors import ShapeError
from tubelet.evaluate.boxtable import F64
from tubelet.evaluate.curves import mean
from tubelet.evaluate.report import jsonable
from tubelet.labels import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """Accuracies in [0, 1]. `mean_error` is the mean of the top-1 and the top-5 error, the
    figure of the Kinetics challenge."""

    top1: float
    top5: float
    clips: int

    @property
    def mean_error(self) -> float:
        return 1.0 - (self.top1 + self.top5) / 2

    def to_json(self) -> dict[str, Any]:
        """A plain dict; an undefined figure is None."""
        figures = {name: getattr(self, name) for name in ("top1", "top5", "mean_error")}
        return {"metric": "topk", **jsonable(figures), "videos": self.clips}

    def line(self) -> str:
        """The figures in a sentence."""
        figures = f"top-1 {self.top1:.4f}, top-5 {self.top5:.4f}"
        return f"{figures}, mean error {self.mean_error:.4f} ({self.clips} videos)"


def top_k(scores: npt.ArrayLike, targets: npt.ArrayLike) -> TopK:
    """Top-1 and top-5 accuracy of `scores (N, K)` for the class columns `targets (N,)`.

    Of equal scores the lower column wins. With fewer than five classes, top-5 is always right.
    Raises ShapeError for shapes that do not fit, NaN, or a target outside 0 … K − 1.
    """
    values, wanted = _finite(scores), np.asarray(targets)
    if wanted.shape != values.shape[:1] or not np.issubdtype(wanted.dtype, np.integer):
        raise ShapeError(
            "targets of top-k must be one class column per clip",
            expected=f"({len(values)},) integers",
            got=f"{wanted.shape} {wanted.dtype}",
        )
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < values.shape[1]:
        raise ShapeError(
            "invalid target: not a class column",
            expected=f"0 to {values.shape[1] - 1}",
            got=f"{wanted.min()} to {wanted.max()}",
        )
    own = values[np.arange(len(values)), wanted][:, None]
    earlier = np.arange(values.shape[1]) < wanted[:, None]
    rank = np.count_nonzero((values > own) | ((values == own) & earlier), axis=1)
    return TopK(top1=_share(rank < 1), top5=_share(rank < 5), clips=len(values))


def _share(right: npt.NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MultiLabelReport:
    """`map` the mean and `weighted_map` the mean by number of positives of `ap (K,)`, NaN for a
    class without positives; `unlabelled` videos carry no label and ranked last."""

    map: float
    weighted_map: float
    ap: F64
    positives: npt.NDArray[np.int64]
    videos: int
    unlabelled: int

    def to_json(self, labels: LabelSpace) -> dict[str, Any]:
        """A plain dict, the classes named by `labels` in the order of the columns; an undefined
        figure is None."""
        per_class = zip(labels.ids, labels.names, self.ap.tolist(), self.positives, strict=True)
        classes = [
            {"id": i, "name": name, "ap": ap, "instances": int(count)}
            for i, name, ap, count in per_class
        ]
        return {
            "metric": "charades",
            "map": jsonable(self.map),
            "weighted_map": jsonable(self.weighted_map),
            "classes": jsonable(classes),
            "videos": self.videos,
            "unlabelled": self.unlabelled,
        }

    def line(self) -> str:
        """The figures in a sentence."""
        return (
            f"mAP {self.map:.4f}, weighted by positives {self.weighted_map:.4f} "
            f"({self.videos} videos, {self.unlabelled} without any class)"
        )


def charades_map(scores: npt.ArrayLike, labels: npt.ArrayLike) -> MultiLabelReport:
    """Charades' video classification mAP of `scores (N, K)` for 0/1 `labels (N, K)`.

    As `Charades_v1_classify`: AP is the mean, over a class's positives in order of score, of the
    precision at each (nothing is interpolated); a video without any label gets the score −∞ and
    so never ranks above a positive. A class without a positive has no AP and is not in the mean
    (the original divides by zero there; none of its 157 is empty). Of equal scores the earlier
    video comes first. Raises ShapeError for shapes that do not fit or NaN.
    """
    values, positive = _finite(scores).copy(), np.asarray(labels) == 1
    if positive.shape != values.shape:
        raise ShapeError(
            "labels must have one row per video and one column per class",
            expected=values.shape,
            got=positive.shape,
        )
    unlabelled = ~positive.any(axis=1)
    values[unlabelled] = -np.inf
    order = np.argsort(-values, axis=0, kind="stable")
    hits = np.take_along_axis(positive, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    positives = positive.sum(axis=0)
    ap = np.full(values.shape[1], np.nan)
    np.divide((precision * hits).sum(axis=0), positives, out=ap, where=positives > 0)
    weights = positives / max(int(positives.sum()), 1)
    return MultiLabelReport(
        map=mean(ap),
        weighted_map=float(np.nansum(ap * weights)) if positives.any() else float("nan"),
        ap=ap,
        positives=positives.astype(np.int64),
        videos=len(values),
        unlabelled=int(np.count_nonzero(unlabelled)),
    )


def _finite(scores: npt.ArrayLike) -> npt.NDArray[Any]:
    values = np.asarray(scores, np.float64)
    if values.ndim != 2:
        raise ShapeError("scores must be (clips, classes)", expected="(N, K)", got=values.shape)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values).any(axis=1))[0])
        raise ShapeError(f"scores[{row}] has a NaN", hint="the model diverged on this clip")
    return values
