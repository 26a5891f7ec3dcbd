"""Which other keyframes of a video a keyframe sees: by time, in training and testing alike."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tubelet.errors import ConfigError
from tubelet.types import Ints

T = TypeVar("T")


def clip_times(times_ms: npt.ArrayLike, at_ms: int, *, clips: int, stride_ms: int) -> Ints:
    """Indices into ascending `times_ms (L,)` of the clips that collaborate with the one at `at_ms`.

    They are those nearest to `clips` moments `stride_ms` apart, centred on `at_ms` (004 §4.5); near
    an end of the video the whole row moves inwards. Moments further than half a stride from any
    keyframe are left out, so gaps and short videos give fewer clips.
    """
    times = np.asarray(times_ms, np.int64)
    if not len(times):
        return np.zeros(0, np.int64)
    behind, ahead = (clips - 1) // 2 + (clips - 1) % 2, (clips - 1) // 2
    room_behind, room_ahead = (at_ms - times[0]) // stride_ms, (times[-1] - at_ms) // stride_ms
    first = -min(behind + max(0, ahead - room_ahead), room_behind)
    last = min(first + clips - 1, room_ahead)
    wanted = at_ms + stride_ms * np.arange(first, last + 1)
    right = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(times[left] - wanted) <= np.abs(times[right] - wanted), left, right)
    return np.unique(nearest[np.abs(times[nearest] - wanted) * 2 <= stride_ms])


@dataclass(frozen=True, slots=True)
class Moment(Generic[T]):
    """Something that happened at a time of a video."""

    time_ms: int
    value: T


class Lookaround(Generic[T]):
    """A stream of moments, each given out with its neighbours as soon as they are known.

    A moment comes out once the stream has passed it by `after_ms`, or has ended: the delay is
    bounded, and so is what is held, `before_ms + after_ms` of the stream.
    """

    def __init__(self, *, before_ms: int, after_ms: int) -> None:
        self._before, self._after = before_ms, after_ms
        self._held: deque[Moment[T]] = deque()
        self._next = 0

    def push(self, time_ms: int, value: T) -> list[tuple[Moment[T], list[Moment[T]]]]:
        """Add the next moment; returns those that are now complete, each with every moment within
        its window, itself included. Raises ConfigError when time does not advance."""
        if self._held and time_ms <= self._held[-1].time_ms:
            raise ConfigError(
                "moments must be in time order",
                expected=f"later than {self._held[-1].time_ms} ms",
                got=f"{time_ms} ms",
            )
        self._held.append(Moment(time_ms, value))
        ready = []
        while self._held[self._next].time_ms + self._after <= time_ms:
            ready.append(self._window(self._next))
            self._next += 1
            if self._next == len(self._held):
                break
        self._forget()
        return ready

    def flush(self) -> list[tuple[Moment[T], list[Moment[T]]]]:
        """The stream has ended: everything that is still waiting, with what there is around it."""
        ready = [self._window(i) for i in range(self._next, len(self._held))]
        self._held.clear()
        self._next = 0
        return ready

    def __len__(self) -> int:
        """Moments held now."""
        return len(self._held)

    def _window(self, index: int) -> tuple[Moment[T], list[Moment[T]]]:
        own = self._held[index]
        low, high = own.time_ms - self._before, own.time_ms + self._after
        return own, [m for m in self._held if low <= m.time_ms <= high]

    def _forget(self) -> None:
        waiting = self._held[self._next].time_ms if self._next < len(self._held) else None
        newest = self._held[-1].time_ms
        oldest = newest if waiting is None else waiting
        while self._held[0].time_ms < oldest - self._before:
            self._held.popleft()
            self._next -= 1
