"""When each action of a tube starts and ends: the table, the CSV, the overlay and the page all
read a tube through these functions.

Shape legend: L moments of a tube, K classes. A keyframe speaks for the half interval before and
after it, as in `Tube.life`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.answers import check_threshold
from tubelet.errors import InputError
from tubelet.results import MAX_GAP, Tube, end_of
from tubelet.types import Floats

RELEASE = 0.8
"""An action ends when its score falls below this share of the threshold that let it begin, unless
another is stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """When an action starts and ends.

    It starts at a keyframe whose score reaches `on` and goes on, forwards and backwards, over
    neighbouring keyframes that reach `off`, by default 0.8 of `on` (hysteresis, so that a score
    that fluctuates around the threshold is one action and not ten). What lasts less than
    `least_ms` is left out. Raises InputError unless 0 ≤ off ≤ on ≤ 1.
    """

    on: float = 0.3
    off: float | None = None
    least_ms: int = 0

    def __post_init__(self) -> None:
        check_threshold(self.on, "threshold")
        if self.off is not None and not 0 <= self.off <= self.on:
            raise InputError(
                "an action cannot end above the score at which it starts",
                expected=f"0 to {self.on:g}",
                got=self.off,
                arguments=("off",),
            )
        if self.least_ms < 0:
            raise InputError(
                "an action cannot last less than nothing",
                expected="0 or more",
                got=f"{self.least_ms / 1000:g} s",
                arguments=("least",),
            )

    @property
    def low(self) -> float:
        """The score below which an action ends."""
        return RELEASE * self.on if self.off is None else self.off

    @property
    def release(self) -> float:
        """`low` as a share of `on`, for whoever moves `on`."""
        return RELEASE if self.off is None else self.off / self.on if self.on else 1.0


DEFAULT_SPANS = Spans()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One person doing one action without a break: `[start_ms, end_ms)` of the source's timeline.

    `column` is the action's column in the tube's label space. `score` is the mean over the
    segment's keyframes, `peak` the highest of them, reached at `peak_ms`.
    """

    track_id: int
    column: int
    start_ms: int
    end_ms: int
    score: float
    peak: float
    peak_ms: int


def segments(
    tube: Tube,
    spans: Spans,
    every_ms: int,
    *,
    film_end_ms: int | None = None,
) -> list[Segment]:
    """The actions of one tube, in order of start, then of column. One of the last keyframe lasts to
    `film_end_ms`, as `Tube.life` says. Raises InputError for an interval below one millisecond.
    """
    if every_ms < 1:
        raise InputError("invalid keyframe interval", expected="1 ms or more", got=every_ms)
    if len(tube) == 0:
        return []
    scores = np.asarray(tube.action_scores)
    breaks = np.diff(tube.times_ms) > MAX_GAP * every_ms
    found = [
        _segment(tube, column, run, every_ms, film_end_ms)
        for column in range(scores.shape[1])
        for run in _runs(scores[:, column], breaks, spans.on, spans.low)
    ]
    found = [part for part in found if part.end_ms - part.start_ms >= spans.least_ms]
    return sorted(found, key=lambda s: (s.start_ms, s.column))


def _runs(
    scores: Floats, breaks: npt.NDArray[np.bool_], high: float, low: float
) -> Iterator[slice]:
    """Runs of neighbouring scores at or above `low` that reach `high` somewhere."""
    start: int | None = None
    for i, score in enumerate(scores):
        if start is not None and (score < low or breaks[i - 1]):
            if scores[start:i].max() >= high:
                yield slice(start, i)
            start = None
        if start is None and score >= low:
            start = i
    if start is not None and scores[start:].max() >= high:
        yield slice(start, len(scores))


def _segment(
    tube: Tube, column: int, run: slice, every_ms: int, film_end_ms: int | None
) -> Segment:
    times, scores = tube.times_ms[run], tube.action_scores[run, column]
    half = every_ms // 2
    best = int(np.argmax(scores))
    return Segment(
        track_id=tube.track_id,
        column=column,
        start_ms=max(int(times[0]) - half, min(int(times[0]), 0)),
        end_ms=end_of(int(times[-1]), every_ms, film_end_ms),
        score=float(scores.mean()),
        peak=float(scores[best]),
        peak_ms=int(times[best]),
    )
