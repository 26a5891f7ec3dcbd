"""Whether scores are probabilities, how to make them so, and what it is worth to stay silent.

Shape legend: N answers, K classes, B bins. NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tubelet.errors import DataError
from tubelet.evaluate.boxtable import F64, I64, Bools
from tubelet.evaluate.matching import Matches
from tubelet.types import check_shape

BINS = 15
_TINY = 1e-7
_FEW = 10
"""A class with fewer examples, or fewer counterexamples, is calibrated as all classes together."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Answers by their confidence, in B bins of equal width over [0, 1].

    `confidence`, `accuracy` `(B,)`: the bin's means, NaN where it is empty; `count (B,)`.
    """

    confidence: F64
    accuracy: F64
    count: I64

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015): the mean of |confidence − accuracy|
        over the answers; NaN without any."""
        if not self.count.sum():
            return float("nan")
        used = self.count > 0
        gaps = np.abs(self.confidence - self.accuracy)[used]
        return float((gaps * self.count[used]).sum() / self.count.sum())


def reliability(
    confidence: npt.ArrayLike, right: npt.ArrayLike, *, bins: int = BINS
) -> Reliability:
    """How often answers of each confidence `(N,)` in [0, 1] are `right (N,)`."""
    scores, hits = _answers(confidence, right)
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            confidence=np.bincount(place, scores, minlength=bins) / count,
            accuracy=np.bincount(place, hits, minlength=bins) / count,
            count=count,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Abstention:
    """What is right among the answers given, the surest first: at `threshold (N,)`, falling, a
    `share (N,)` of all is answered, with this `precision (N,)`. Of equal scores the last row
    counts."""

    threshold: F64
    share: F64
    precision: F64

    def at(self, threshold: float) -> tuple[float, float]:
        """(share answered, precision) of the answers from `threshold` on; (0, NaN) for none."""
        answered = int((self.threshold >= threshold).sum())
        if not answered:
            return 0.0, float("nan")
        return float(self.share[answered - 1]), float(self.precision[answered - 1])

    def least(self, precision: float, *, answers: int = 1) -> float | None:
        """The lowest threshold from which on the answers have that precision and are at least so
        many; None if there is none."""
        good = (self.precision >= precision) & (np.arange(1, len(self.share) + 1) >= answers)
        last = np.ones(len(good), np.bool_)
        last[:-1] = self.threshold[1:] < self.threshold[:-1]
        found = np.flatnonzero(good & last)
        return float(self.threshold[found[-1]]) if len(found) else None


def abstention(confidence: npt.ArrayLike, right: npt.ArrayLike) -> Abstention:
    """The curve of answers of confidence `(N,)` that are `right (N,)` or not."""
    scores, hits = _answers(confidence, right)
    order = np.argsort(-scores, kind="stable")
    given = np.arange(1, len(order) + 1)
    return Abstention(
        threshold=scores[order],
        share=given / max(len(order), 1),
        precision=np.cumsum(hits[order]) / given,
    )


def best_of_boxes(matches: Matches) -> tuple[F64, Bools]:
    """Confidence and correctness of the best class of every scored box `(N,)`."""
    rows = np.argsort(matches.row, kind="stable")
    boxes, frame = matches.detections.boxes[matches.row[rows]], matches.frame[rows]
    # The classes of one box follow each other in files of detections; where they do not, each run
    # of them is a box.
    new = np.ones(len(rows), np.bool_)
    new[1:] = (frame[1:] != frame[:-1]) | (boxes[1:] != boxes[:-1]).any(axis=1)
    box = np.cumsum(new) - 1
    order = np.lexsort((-matches.score[rows], box))
    first = np.ones(len(order), np.bool_)
    first[1:] = box[order][1:] != box[order][:-1]
    best = rows[order[first]]
    return matches.score[best], matches.hit[best]


def logits_of(scores: npt.ArrayLike, *, exclusive: bool, none: bool = False) -> F64:
    """Logits whose softmax (with a 0 beside them for `none`), or sigmoids, are `scores (N, K)`."""
    p = np.clip(np.asarray(scores, np.float64), _TINY, 1)
    if exclusive:
        rest = np.clip(1 - p.sum(axis=1, keepdims=True), _TINY, 1) if none else 1.0
        return np.asarray(np.log(p) - np.log(rest))
    p = np.minimum(p, 1 - _TINY)
    return np.asarray(np.log(p) - np.log1p(-p))


def fit_temperature(
    logits: npt.ArrayLike, targets: npt.ArrayLike, *, none: bool = False
) -> tuple[float, float]:
    """`(slope, offset)` by maximum likelihood for exclusive classes: `logits (N, K)`, `targets
    (N, K)` with a single 1 in a row. With `none`, a row of zeros is "none of these", whose logit
    is 0; without, such rows are left out and the offset, which changes nothing, is 0.
    Raises DataError without a labelled row.
    """
    z, y = _pairs(logits, targets)
    labelled = y.sum(axis=1) > 0
    if not labelled.any():
        raise DataError(
            "nobody is labelled: there is nothing to calibrate on", got=f"{len(y)} rows"
        )
    if not none:
        z, y = z[labelled], y[labelled]
    zero = np.zeros((len(z), 1))
    truth = y.argmax(axis=1) if not none else np.where(labelled, y.argmax(axis=1), y.shape[1])

    def loss(free: F64) -> float:
        moved = np.exp(free[0]) * z + (free[1] if none else 0.0)
        rows = np.concatenate([moved, zero], axis=1) if none else moved
        top = rows.max(axis=1, keepdims=True)
        total = np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0]
        return float((total - rows[np.arange(len(rows)), truth]).mean())

    found = minimize(loss, np.zeros(2 if none else 1), method="Nelder-Mead").x
    return float(math.exp(found[0])), float(found[1]) if none else 0.0


def fit_platt(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[F64, F64]:
    """Slopes and offsets `(K,)` of classes that are each yes or no: `logits`, `targets` `(N, K)`.

    Platt's (1999) smoothed targets. A class with fewer than `_FEW` examples or counterexamples has
    the slope and offset of all classes together. Raises DataError without any row.
    """
    z, y = _pairs(logits, targets)
    if not len(z):
        raise DataError("nobody is labelled: there is nothing to calibrate on", got="0 rows")
    count = z.shape[1]
    slope, offset = _platt(z.reshape(-1), y.reshape(-1))
    slopes, offsets = np.full(count, slope), np.full(count, offset)
    for column in range(count):
        yes = int(y[:, column].sum())
        if min(yes, len(y) - yes) >= _FEW:
            slopes[column], offsets[column] = _platt(z[:, column], y[:, column])
    return slopes, offsets


def _platt(z: F64, y: F64) -> tuple[float, float]:
    yes, no = float(y.sum()), float(len(y) - y.sum())
    soft = np.where(y > 0, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(free: F64) -> float:
        moved = np.exp(free[0]) * z + free[1]
        return float((np.logaddexp(0, moved) - soft * moved).mean())

    found = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(math.exp(found[0])), float(found[1])


def _pairs(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[F64, F64]:
    z, y = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    check_shape(z, (None, None), "logits")
    check_shape(y, z.shape, "targets")
    return z, y


def _answers(confidence: npt.ArrayLike, right: npt.ArrayLike) -> tuple[F64, F64]:
    scores, hits = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    check_shape(scores, (None,), "confidence")
    check_shape(hits, scores.shape, "right")
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise DataError(
            "a confidence is a probability", expected="0 to 1",
            got=f"{scores.min():g} to {scores.max():g}",
        )  # fmt: skip
    return scores, hits
