"""How sure an mAP is: a confidence interval from resampling the videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tubelet.errors import InputError
from tubelet.evaluate.boxtable import F64
from tubelet.evaluate.candidates import Rows
from tubelet.evaluate.matching import Matches
from tubelet.evaluate.report import FrameReport

CELLS = 1 << 22
"""Hits × resamples worked on at once: bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """`low` and `high` of the mAP at `level`, and the standard error over the resamples."""

    map: float
    low: float
    high: float
    error: float
    level: float
    resamples: int
    videos: int
    seed: int


def videos_of(report: FrameReport) -> int:
    """Number of videos with a detection or a truth that counts."""
    return int(np.count_nonzero(_taking_part(report)))


def _taking_part(report: FrameReport) -> npt.NDArray[np.bool_]:
    found = report.matches
    flags = np.zeros(len(found.frames.videos), np.bool_)
    flags[found.frames.video[found.frame]] = True
    flags[found.instance_video] = True
    return flags


def bootstrap(
    report: FrameReport, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the mAP, with videos as the unit.

    Frames of one video resemble each other, so whole videos are drawn with replacement,
    and the mAP is computed again from the same matches. Deterministic for a seed.
    Raises InputError for fewer than two videos, resamples below 1 or a level outside (0, 1).
    """
    if resamples < 1 or not 0 < level < 1:
        raise InputError(
            "a bootstrap needs resamples ≥ 1 and a level in (0, 1)", got=(resamples, level)
        )
    found, taking_part = report.matches, _taking_part(report)
    videos = videos_of(report)
    if videos < 2:
        raise InputError(
            "a bootstrap over videos needs at least two of them",
            got=videos,
            hint="evaluate more videos, or report the mAP without an interval",
        )
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(videos, np.full(videos, 1 / videos), size=resamples)
    counted = np.array([not np.isnan(c.ap) for c in report.classes])
    maps = resampled_maps(found, np.flatnonzero(taking_part), draws, counted)
    known = maps[~np.isnan(maps)]
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return Interval(
        map=report.map,
        low=float(low),
        high=float(high),
        error=float(known.std()) if len(known) else float("nan"),
        level=level,
        resamples=resamples,
        videos=videos,
        seed=seed,
    )


def resampled_maps(
    found: Matches,
    videos: Rows,
    draws: npt.NDArray[np.integer[Any]],
    counted: npt.NDArray[np.bool_],
) -> F64:
    """mAP `(S,)` with video `videos[v]` occurring `draws[s, v]` times, over `counted` classes.

    Classes that a resample leaves without truth do not count in it.
    """
    place = np.full(len(found.frames.videos), -1)
    place[videos] = np.arange(len(videos))
    detection_video = place[found.frames.video[found.frame]]
    instance_video = place[found.instance_video]
    weights = draws.T.astype(np.float64)
    total = np.zeros(len(draws))
    classes = np.zeros(len(draws))
    for column, order in enumerate(found.by_class()):
        if not counted[column]:
            continue
        own = instance_video[found.instance_column == column]
        instances = np.bincount(own, minlength=len(videos)) @ weights
        ap = _weighted_ap(found.hit[order], detection_video[order], instances, weights)
        defined = instances > 0
        total[defined] += ap[defined]
        classes += defined
    total[classes == 0] = np.nan
    return total / np.maximum(classes, 1)


def _weighted_ap(hits: npt.NDArray[np.bool_], video: Rows, instances: F64, weights: F64) -> F64:
    """AP `(S,)` of one class's detections, best first, each counted as often as its video.

    Only the number of detections above each hit matters, so those between two hits are added up
    by video first: the cost is (hits × videos), not detections, for each resample.
    """
    at = np.flatnonzero(hits)
    result = np.zeros(weights.shape[1])
    if not len(at):
        return result
    above = np.searchsorted(at, np.arange(at[-1] + 1))
    between = sparse.csr_array(
        (np.ones(len(above)), (above, video[: len(above)])), shape=(len(at), len(weights))
    )
    step = max(1, CELLS // len(at))
    for start in range(0, weights.shape[1], step):
        block = slice(start, start + step)
        rank = np.cumsum(np.asarray(between @ weights[:, block]), axis=0)
        gain = weights[video[at], block]
        precision = np.cumsum(gain, axis=0)
        np.divide(precision, rank, out=precision, where=rank > 0)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        result[block] = (gain * envelope).sum(axis=0) / np.maximum(instances[block], 1)
    return result
