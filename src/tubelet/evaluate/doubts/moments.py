"""Which moment of the detections is which moment of the truth, where the two differ a little.

Legend: F frames of both tables together, sorted by video and time.

A file says 12.512 s where another says 12.5: two programs rounded differently, or one took the
nearest frame and the other the displayed one. Scored as they stand, such frames are missed, and
the figure falls without a word (docs/adr/frames-join-on-milliseconds.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tubelet.evaluate.boxtable import I64, Bools, BoxTable, Frames, join_frames
from tubelet.evaluate.candidates import flags
from tubelet.evaluate.doubts.doubt import Doubt
from tubelet.film_ids import same_films
from tubelet.types import Ints

FARTHEST_US = 50_000
"""Half a frame of the slowest films that people label, 10 a second."""
_ROUNDING_US = 1_000
_FAR = np.iinfo(np.int64).max // 4


class Joined(NamedTuple):
    """Detections on the truth's moments, the truth, and what was done to join them."""

    found: BoxTable
    known: BoxTable
    excluded: list[tuple[str, int]]
    doubts: tuple[Doubt, ...]


def join(found: BoxTable, known: BoxTable, excluded: Sequence[tuple[str, int]] = ()) -> Joined:
    """Both tables keyed alike, in whole milliseconds; `excluded`: (video, time in µs). Videos are
    paired as `film_ids.same_films` says.

    A labelled frame without a detection at its very moment is joined with the nearest moment of
    the detections, where each is the other's nearest and they are at most half a frame apart: half
    the way to the next moment of their own table, and never more than `FARTHEST_US`. Times that
    differ by less than a millisecond are one, unless the truth itself has two such: then
    everything is joined exactly.
    """
    found, renamed = _named_alike(found, known)
    excluded = [(renamed.get(video, video), time) for video, time in excluded]
    told = _told_names(found, renamed)
    rounded = _in_milliseconds(known)
    if join_frames(rounded).count != join_frames(known).count:
        return Joined(found, known, excluded, told)
    near = [(video, int(_rounded(np.array(time)))) for video, time in excluded]
    found = _in_milliseconds(found)
    frames = join_frames(found, rounded)
    target, gaps = _targets(frames)
    if not len(gaps):
        return Joined(found, rounded, near, told)
    moved = replace(found, time_us=target[frames.of[0]])
    moments = dict(zip(_keys(frames, frames.time_us), _keys(frames, target), strict=True))
    doubts = (*told, _told(gaps, frames))
    return Joined(moved, rounded, [moments.get(key, key) for key in near], doubts)


def _named_alike(found: BoxTable, known: BoxTable) -> tuple[BoxTable, dict[str, str]]:
    """The detections with the truth's names of videos, and those that were called otherwise."""
    alike = same_films(found.videos, known.videos)
    renamed = {name: other for name, other in alike.items() if name != other}
    if renamed:
        found = replace(found, videos=tuple(renamed.get(name, name) for name in found.videos))
    return found, renamed


def _told_names(found: BoxTable, renamed: dict[str, str]) -> tuple[Doubt, ...]:
    if not renamed:
        return ()
    one, other = next(iter(renamed.items()))
    told = (
        f"{len(renamed)} of {len(found.videos)} videos are called otherwise in the detections, and "
        f"are taken for the truth's: {one!r} for {other!r}"
    )
    return (Doubt(kind="renamed videos", message=told, count=len(renamed)),)


def _targets(frames: Frames) -> tuple[I64, I64]:
    """The time of each frame after joining `(F,)`, and the gaps that were closed (µs)."""
    seen, labelled = (flags(frames.count, frames.of[side]) for side in (0, 1))
    target, time = frames.time_us.copy(), frames.time_us
    gap = np.diff(time)
    gap[frames.video[1:] != frames.video[:-1]] = _FAR
    limit = np.minimum(_room(frames, seen), _room(frames, labelled)) // 2 + _ROUNDING_US
    limit = np.minimum(limit, FARTHEST_US)
    pair = (seen[1:] & ~labelled[1:] & labelled[:-1] & ~seen[:-1]) | (
        labelled[1:] & ~seen[1:] & seen[:-1] & ~labelled[:-1]
    )
    pair &= gap <= np.minimum(limit[1:], limit[:-1])
    left, right = np.full(len(gap), _FAR), np.full(len(gap), _FAR)
    left[1:], right[:-1] = np.where(pair, gap, _FAR)[:-1], np.where(pair, gap, _FAR)[1:]
    pair &= (gap < left) & (gap <= right)  # of two as near, the earlier
    first = np.flatnonzero(pair)
    detected = np.where(seen[first] & ~labelled[first], first, first + 1)
    target[detected] = time[np.where(detected == first, first + 1, first)]
    return target, gap[first]


def _room(frames: Frames, own: Bools) -> I64:
    """From each frame of `own` to the nearest other one of its video `(F,)`; elsewhere far."""
    room = np.full(frames.count, _FAR)
    at = np.flatnonzero(own)
    gap = np.diff(frames.time_us[at])
    gap[frames.video[at][1:] != frames.video[at][:-1]] = _FAR
    room[at[:-1]] = gap
    room[at[1:]] = np.minimum(room[at[1:]], gap)
    return room


def _keys(frames: Frames, times: I64) -> list[tuple[str, int]]:
    return [
        (frames.videos[video], int(time)) for video, time in zip(frames.video, times, strict=True)
    ]


def _told(gaps: I64, frames: Frames) -> Doubt:
    labelled = int(np.count_nonzero(flags(frames.count, frames.of[1])))
    return Doubt(
        kind="joined moments",
        message=f"{len(gaps)} of {labelled} labelled frames have no detection at their very moment "
        f"and were joined with the nearest: {np.median(gaps) / 1000:.0f} ms away as a rule, "
        f"{gaps.max() / 1000:.0f} ms at most",
        count=len(gaps),
    )


def unseen(frames: Frames, labelled: Bools, most: float = 0.1) -> Doubt | None:
    """What to say where more than `most` of the `labelled (F,)` frames have no detection.

    `frames`: of the detections and the truth.
    """
    seen = flags(frames.count, frames.of[0])
    missed = labelled & ~seen
    count, total = int(np.count_nonzero(missed)), int(np.count_nonzero(labelled))
    if not total or count <= most * total or not seen.any():
        return None
    distance = _to_nearest(frames, seen)[missed]
    near = distance[distance < _FAR]
    parts = [f"{count} of {total} labelled frames ({count / total:.0%}) have no detection at all"]
    if len(near):
        parts.append(f"the nearest is {np.median(near) / 1000:.0f} ms away as a rule")
    if alone := count - len(near):
        parts.append(f"{alone} of them are of videos that have none")
    if len(near) > alone:
        parts.append("detect at the labelled moments, or as often as was labelled")
    return Doubt(kind="unseen frames", message="; ".join(parts), count=count)


def _to_nearest(frames: Frames, seen: Bools) -> I64:
    """From each frame to the nearest `seen` one of its video `(F,)`, far where there is none."""
    places = np.arange(frames.count)
    before = np.maximum.accumulate(np.where(seen, places, -1))
    after = np.minimum.accumulate(np.where(seen, places, frames.count)[::-1])[::-1]
    best = np.full(frames.count, _FAR)
    for other, there in ((before, before >= 0), (after, after < frames.count)):
        index = np.where(there, other, 0)
        same = there & (frames.video[index] == frames.video)
        apart = np.abs(frames.time_us[index] - frames.time_us)
        best = np.where(same, np.minimum(best, apart), best)
    return best


def _in_milliseconds(table: BoxTable) -> BoxTable:
    return replace(table, time_us=_rounded(table.time_us))


def _rounded(time_us: Ints) -> Ints:
    """Microseconds to whole milliseconds, half up, as `Annotations.time_ms` rounds."""
    return (time_us + 500) // 1000 * 1000
