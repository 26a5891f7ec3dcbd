"""Looking at some frames of a film while it passes by, so that each frame is decoded once.

A moment's frame is the one displayed then, as in `sampling.centre`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from tubelet.errors import InputError
from tubelet.media.sampling import END_SLACK_MS, GRACE_MS
from tubelet.media.video import Frame, VideoInfo

Look = Callable[[int, Frame], None]


def moments_between(
    keys_ms: Sequence[int], info: VideoInfo, rate: float
) -> Iterator[tuple[int, bool]]:
    """`(time_ms, whether it is a keyframe)` in order: the keyframes, and between them, before the
    first and after the last, as many moments as make `rate` a second or a little more.

    Keyframes more frequent than `rate` have nothing between them. Raises InputError for a rate that
    is not above 0.
    """
    if not 0 < rate <= 100:  # NaN too
        raise InputError(
            "invalid rate of tracking",
            expected="above 0, at most 100 times a second",
            got=rate,
            arguments=("track_rate",),
        )
    if not keys_ms:
        return
    step = 1000 / rate
    before = int((keys_ms[0] - info.start_ms) / step)
    yield from ((round(keys_ms[0] - i * step), False) for i in range(before, 0, -1))
    for one, two in pairwise(keys_ms):
        yield one, True
        parts = max(1, round((two - one) / step))
        yield from ((one + round((two - one) * i / parts), False) for i in range(1, parts))
    yield keys_ms[-1], True
    after = math.ceil((info.end_ms - keys_ms[-1]) / step) - 1
    yield from ((round(keys_ms[-1] + i * step), False) for i in range(1, after + 1))


def watched(
    frames: Iterable[Frame],
    moments: Iterable[tuple[int, bool]],
    look: Look,
    *,
    longest_ms: int,
) -> Iterator[Frame]:
    """The same frames; `look` is called with the frame displayed at each moment as soon as it is
    known to be that one, before the next frame is given out.

    `look` gets a keyframe's own time, of the others the frame's stamp; no other frame is looked
    at twice. `longest_ms`: nothing displayed for longer than this, nor after the end, is looked at
    more than half a second late.
    """
    todo = iter(moments)
    moment = next(todo, None)
    shown: Frame | None = None
    last: int | None = None  # a film may begin before 0
    for frame in frames:
        while moment is not None and moment[0] + GRACE_MS < frame.time_ms:
            source = shown or frame
            hole = shown is not None and frame.time_ms - shown.time_ms > longest_ms
            if not hole or moment[0] <= source.time_ms + END_SLACK_MS:
                last = _look(look, source, moment, last)
            moment = next(todo, None)
        yield frame
        shown = frame
    while moment is not None and shown is not None and moment[0] <= shown.time_ms + END_SLACK_MS:
        last = _look(look, shown, moment, last)
        moment = next(todo, None)


def _look(look: Look, frame: Frame, moment: tuple[int, bool], last_ms: int | None) -> int:
    """Look at a frame, unless it was before; the time last looked at."""
    time_ms, is_key = moment
    stamp = time_ms if is_key else frame.time_ms
    if last_ms is not None and stamp <= last_ms:
        return last_ms
    look(stamp, frame)
    return stamp
