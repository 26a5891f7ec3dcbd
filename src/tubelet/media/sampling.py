"""Which frames make the clip of a keyframe. Training and detection both use this.

Legend: T frames of a clip, τ its stride, n frames of a video.

A keyframe's centre is the frame displayed at that time: the last one stamped at or before it
(one millisecond of grace, since tables round their stamps). The clip is `centre + (i − T//2)·τ`,
as PySlowFast centres it, and repeats the first or last frame where the film ends. With
`InputSpec.fps` None, τ counts frames of the source; with a rate, τ counts steps of 1/fps seconds
from the centre's own stamp, and each step takes the nearest frame. Upstream projects that choose
otherwise say so in `InputSpec.preprocessing`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tubelet.errors import InputError, VideoError
from tubelet.media.decoder import Image
from tubelet.media.frames import Film, FrameFolder, open_film
from tubelet.media.video import Frame, Video, VideoInfo
from tubelet.types import InputSpec, Ints, Pixels

# Stamps in annotation tables are rounded, so a frame this much later still counts as displayed.
GRACE_MS = 1
# The last frame serves keys up to this long after it: headers and tables overrun a little.
END_SLACK_MS = 500
# Longer than this without a frame, or than four frames of a slow film, is a hole in the recording:
# the film ends before it and begins anew after it.
HOLE_MS = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """The clip of one key: `clip` `(T, H, W, 3)` RGB, `times_ms (T,)` of its frames, and
    `image` u8 `(H', W', 3)`, the key frame itself for a person detector."""

    key_ms: int
    clip: Pixels
    times_ms: Ints
    image: Image


def centre(times_ms: npt.NDArray[np.int64] | list[int], key_ms: int) -> int:
    """Index of the frame displayed at `key_ms`; 0 for a key before the first frame."""
    return max(0, bisect_right(times_ms, key_ms + GRACE_MS) - 1)


def window(times_ms: npt.ArrayLike, key_ms: int, spec: InputSpec) -> Ints:
    """Indices `(T,)` into ascending `times_ms (n,)` of the frames of the clip at `key_ms`.

    Where a step of `spec.fps` falls into a gap of the film (variable rate), a later frame is taken
    only if it is nearer than the one on show and at most half a step away. A spread clip repeats
    frames where fewer than T are stamped in its span.
    Raises InputError when there is no frame.
    """
    times = np.asarray(times_ms, np.int64)
    if times.ndim != 1 or times.size == 0:
        raise InputError("a clip needs at least one frame", expected="(n,)", got=times.shape)
    if spec.span_s is not None:
        return _spread(times, key_ms, spec)
    steps = _steps(spec)
    if spec.fps is None:
        return np.asarray(np.clip(centre(times, key_ms) + steps, 0, len(times) - 1), np.int64)
    wanted = _origin_ms(times, key_ms, spec) + steps * (1000.0 / spec.fps)
    if spec.preprocessing.anchor == "key":
        return _cut_pictures(times, wanted, spec.fps)
    before = np.clip(np.searchsorted(times, wanted, side="right") - 1, 0, len(times) - 1)
    after = np.minimum(before + 1, len(times) - 1)
    ahead, behind = times[after] - wanted, wanted - times[before]
    nearer = (ahead < behind) & (ahead <= 500.0 / spec.fps)
    return np.asarray(np.where(nearer, after, before), np.int64)


def _cut_pictures(times: Ints, wanted: npt.NDArray[np.floating], fps: float) -> Ints:
    """FFmpeg cuts a film into pictures at a rate by rounding each frame's stamp to the pictures'
    grid, and a picture shows the last frame that came to it or before: not always the nearest."""
    # Stamps are rounded to whole milliseconds, half up.
    shown = np.searchsorted(times, wanted + 500.0 / fps - 0.5) - 1
    return np.asarray(np.clip(shown, 0, len(times) - 1), np.int64)


def _steps(spec: InputSpec) -> Ints:
    steps: Ints = (np.arange(spec.frames, dtype=np.int64) - spec.frames // 2) * spec.stride
    return steps + spec.preprocessing.shift


def _origin_ms(times_ms: npt.NDArray[np.int64] | list[int], key_ms: int, spec: InputSpec) -> int:
    """The time that steps of `spec.fps` are counted from."""
    if spec.preprocessing.anchor == "key":
        return key_ms
    return int(times_ms[centre(times_ms, key_ms)])


def _span_ms(key_ms: int, spec: InputSpec) -> tuple[float, float]:
    """A spread clip takes the frames stamped from the first time on and before the second."""
    half = 500.0 * (spec.span_s or 0.0)
    # Stamps are rounded to whole milliseconds, half up.
    return key_ms - half - 0.5, key_ms + half - 0.5


def _spread(times: Ints, key_ms: int, spec: InputSpec) -> Ints:
    begin, end = _span_ms(key_ms, spec)
    first, stop = np.searchsorted(times, (begin, end))
    count, i, parts = stop - first, np.arange(spec.frames, dtype=np.int64), spec.frames
    if count == 0:
        return np.full(parts, centre(times, key_ms), np.int64)
    if spec.preprocessing.choice == "ends":
        chosen = i * (count - 1) // max(1, parts - 1)
    else:
        chosen = (2 * i + 1) * count // (2 * parts)
    return np.asarray(first + chosen, np.int64)


def _first_needed(times_ms: list[int], key_ms: int, spec: InputSpec) -> int:
    """Index of the first frame that the clip, or the key frame itself, can need. While the centre
    is still to come it can only move later, so this is never too late."""
    middle = centre(times_ms, key_ms)
    if spec.span_s is not None:
        return min(middle, bisect_left(times_ms, _span_ms(key_ms, spec)[0]))
    before = int(_steps(spec)[0])
    if spec.fps is None:
        return min(middle, max(0, middle + before))
    earliest = _origin_ms(times_ms, key_ms, spec) + before * 1000.0 / spec.fps
    return min(middle, max(0, bisect_right(times_ms, earliest) - 1))


def _complete(times_ms: list[int], key_ms: int, spec: InputSpec) -> bool:
    """Whether no later frame can change the clip of a key that is on show already."""
    if spec.span_s is not None:
        return times_ms[-1] >= _span_ms(key_ms, spec)[1]
    after = int(_steps(spec)[-1])
    if spec.fps is None:
        return centre(times_ms, key_ms) + after < len(times_ms)
    half = 0.5 * (spec.preprocessing.anchor == "key")
    latest = _origin_ms(times_ms, key_ms, spec) + (after + half) * 1000.0 / spec.fps
    return times_ms[-1] >= latest


def hole_ms(info: VideoInfo) -> int:
    """The longest time in milliseconds between two frames of a film that is not a hole in it."""
    return max(HOLE_MS, round(4000 / info.fps))


def stretch(times_ms: npt.ArrayLike, key_ms: int, longest_ms: int) -> tuple[int, int]:
    """The frames `(first, stop)` of ascending `times_ms (n,)` that lie with the one on show at
    `key_ms` between two holes."""
    times = np.asarray(times_ms, np.int64)
    begins = [0, *(np.flatnonzero(np.diff(times) > longest_ms) + 1).tolist(), len(times)]
    at = centre(times, key_ms)
    first = max(begin for begin in begins if begin <= at)
    return first, min(begin for begin in begins if begin > at)


def check_period(every: float) -> None:
    """Raise InputError for seconds between keyframes that cannot be."""
    if not 1e-3 <= every < 1e6:  # NaN too
        raise InputError(
            "invalid keyframe period",
            expected="0.001 to a million seconds",
            got=every,
            arguments=("every",),
        )


def keyframe_times(info: VideoInfo, every_ms: int) -> list[int]:
    """Times to detect at: the multiples of `every_ms` on the film's own timeline while it lasts,
    those at which `Annotations.every` keeps labels. The first is the first frame's, if that is
    nearer to its multiple than half a period.

    A film shorter than `every_ms` has one, at its middle. The header's duration may overrun the
    frames that are there; `windows` leaves out what lies beyond them.
    """
    if every_ms < 1:
        raise InputError("invalid keyframe period", expected="at least 1 ms", got=every_ms)
    if info.duration_ms < every_ms:
        return [info.start_ms + info.duration_ms // 2]
    first = (2 * info.start_ms + every_ms) // (2 * every_ms) * every_ms
    times = list(range(first, info.end_ms, every_ms)) or [info.start_ms]
    return [max(times[0], info.start_ms), *times[1:]]


def clip_span(key_ms: int, spec: InputSpec, fps: float) -> tuple[float, float]:
    """Times (ms) of the first and last frame of the clip at `key_ms` in a film of `fps`."""
    if spec.span_s is not None:
        half = 500.0 * spec.span_s
        return key_ms - half, key_ms + half - 1000.0 / fps
    step = 1000.0 / (spec.fps or fps)
    steps = _steps(spec)
    return key_ms + float(steps[0]) * step, key_ms + float(steps[-1]) * step


def clip_centre(info: VideoInfo, spec: InputSpec, moment: float) -> int:
    """The key (ms) of a clip at `moment` of the video: 0 begins with its first frame, 1
    ends with its last, 0.5 is its middle. A film shorter than the clip gives its own middle.

    Raises InputError for a `moment` outside [0, 1].
    """
    if not 0 <= moment <= 1:
        raise InputError("invalid position in the video, not in [0, 1]", got=moment)
    first, last = info.start_ms, max(info.start_ms, info.end_ms - 1000.0 / info.fps)
    begin, end = clip_span(0, spec, info.fps)
    spare = last - first - (end - begin)
    if spare < 0:
        return round((first + last) / 2)
    return round(first - begin + moment * spare)


def windows(
    frames: Iterable[Frame],
    keys_ms: Iterable[int],
    spec: InputSpec,
    *,
    key_hw: tuple[int, int] | None = None,
    longest_ms: int | None = None,
    hold: bool = False,
    on_hole: Callable[[int, int], None] | None = None,
) -> Iterator[Window]:
    """The clip of each key, in one pass that stops after the last one.

    Memory holds one window, whatever the length of the video. `keys_ms` ascend (repeats are fine)
    and may be endless. Keys more than half a second past the last frame get no window.
    With `key_hw`, `Window.image` is the key frame at that size, taken from the decoded picture
    (`Video.frames(..., keep_source=True)`); otherwise the clip's own centre frame.

    `longest_ms`: where two frames lie further apart, the film ends at the first and begins anew at
    the second: no clip has frames of both sides, and keys between get no window (with `hold`, that
    of the frame on show, as labels that lie there want it). `on_hole` is called with both times.
    """
    ring = _Ring(spec, key_hw)
    keys = _ascending(keys_ms)
    key = next(keys, None)
    shown: Frame | None = None
    for frame in frames:
        if shown and longest_ms is not None and frame.time_ms - shown.time_ms > longest_ms:
            while key is not None and key + GRACE_MS < frame.time_ms:
                if hold or key <= shown.time_ms + END_SLACK_MS:
                    ring.ask(key, shown)
                key = next(keys, None)
            yield from ring.rest()
            ring = _Ring(spec, key_hw)
            if on_hole is not None:
                on_hole(shown.time_ms, frame.time_ms)
        while key is not None and key + GRACE_MS < frame.time_ms:
            ring.ask(key, shown or frame)
            key = next(keys, None)
        ring.push(frame, key)
        yield from ring.ready()
        if key is None and not ring.waiting:
            return
        shown = frame
    while key is not None and shown is not None and key <= shown.time_ms + END_SLACK_MS:
        ring.ask(key, shown)
        key = next(keys, None)
    yield from ring.rest()


def _ascending(keys_ms: Iterable[int]) -> Iterator[int]:
    last: int | None = None
    for key in keys_ms:
        if last is not None and key < last:
            raise InputError("keys must ascend", expected=f"at least {last} ms", got=f"{key} ms")
        last = int(key)
        yield last


class _Ring:
    """The frames that keys still to come can need, and the keys pending on later frames."""

    def __init__(self, spec: InputSpec, key_hw: tuple[int, int] | None) -> None:
        self._spec, self._key_hw = spec, key_hw
        self._times: list[int] = []
        self._images: deque[Pixels] = deque()
        self.waiting: deque[tuple[int, Image | None]] = deque()

    def ask(self, key_ms: int, shown: Frame) -> None:
        """A key whose centre `shown` is now known."""
        image = shown.resized(self._key_hw) if self._key_hw else None
        self.waiting.append((key_ms, image))

    def push(self, frame: Frame, next_key: int | None) -> None:
        """Add a frame, and release those before the first pending or future key."""
        self._times.append(frame.time_ms)
        self._images.append(frame.pixels)
        key = self.waiting[0][0] if self.waiting else next_key
        if key is None:
            return
        for _ in range(_first_needed(self._times, key, self._spec)):
            self._images.popleft()
        del self._times[: len(self._times) - len(self._images)]

    def ready(self) -> Iterator[Window]:
        """Windows of the pending keys whose last frame has arrived."""
        while self.waiting and _complete(self._times, self.waiting[0][0], self._spec):
            yield self._cut()

    def rest(self) -> Iterator[Window]:
        """Windows of all pending keys, at the end of the video."""
        while self.waiting:
            yield self._cut()

    def _cut(self) -> Window:
        key_ms, image = self.waiting.popleft()
        index = window(self._times, key_ms, self._spec)
        return Window(
            key_ms=key_ms,
            clip=np.stack([self._images[i] for i in index]),
            times_ms=np.asarray(self._times, np.int64)[index],
            image=self._shown(key_ms) if image is None else image,
        )

    def _shown(self, key_ms: int) -> Image:
        index = centre(self._times, key_ms)
        return Frame(self._times[index], self._images[index]).image


def read_window(
    video: str | Path | Film,
    key_ms: int,
    spec: InputSpec,
    hw: tuple[int, int] | None = None,
    *,
    threads: int = 1,
) -> Pixels:
    """The clip u8 `(T, H, W, 3)` of one key by seeking: bit-identical to what `windows` gives.

    `hw`: upright size to resize to, with the kernel of `spec`; default the source's own. Raises
    VideoError when the video ends more than half a second before `key_ms`, and as `Video` does.
    """
    if not isinstance(video, Video | FrameFolder):
        with open_film(video, threads=threads) as opened:
            return read_window(opened, key_ms, spec, hw)
    info = video.info
    lead_ms = round(max(0.0, -clip_span(0, spec, info.fps)[0]) * 1.1) + 100
    while True:
        start_ms = max(info.start_ms, key_ms - lead_ms)
        frames = video.frames(hw, start_ms, kernel=spec.preprocessing.kernel)
        first = next(frames, None)
        if first is not None:
            seen = chain([first], frames)
            found = next(windows(seen, [key_ms], spec, longest_ms=hole_ms(info), hold=True), None)
            # A window that begins with the first frame seen may have been cut short there.
            if found and (found.times_ms[0] > first.time_ms or first.time_ms <= info.start_ms):
                return found.clip
        if start_ms <= info.start_ms:
            raise VideoError(
                f"the video ends before the keyframe at {key_ms / 1000:.3f} s",
                where=video.path,
                got=video.damage or f"a header that says it ends at {info.end_ms / 1000:.3f} s",
                hint="check the timestamps, or that the file is complete",
            )
        lead_ms *= 4
