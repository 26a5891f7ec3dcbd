"""A copy of the video with labelled boxes drawn in (MP4).

Frames are streamed: memory does not grow with the video. They stay in YUV as the film stores them;
what is not drawn on changes only by the encoder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tubelet.drawing.draw import Painter, PersonMark, shown_name
from tubelet.drawing.labels import PANEL, caption
from tubelet.drawing.surface import Floats, Image, Surface, YuvColours
from tubelet.errors import InputError, VideoError
from tubelet.files import make_parent
from tubelet.media.frames import open_film
from tubelet.media.video import VideoInfo
from tubelet.media.writer import VideoWriter
from tubelet.media.yuv import ColourTags, YuvFrame, planes
from tubelet.render.made_by import MadeBy
from tubelet.render.timeline import DEFAULT_SPANS, Segment, Spans, segments
from tubelet.results import Tube, interval

PLAYABLE, ENCODABLE = 4096, 16384
"""The longest side that every player's decoder takes, and the longest that x264 writes."""
LABEL_ROOM = 320
"""Pixels that a label of a few words needs."""
_FRAMES_AT_ONCE = 8
"""Boxes are computed for so many frames in one go."""
_PRESET, _QUALITY = "superfast", 21
"""Of x264: less work than `veryfast` at 20, for a larger file (docs/adr/overlay-in-yuv.md)."""


def write_overlay(
    video_path: str | Path,
    tubes: Iterable[Tube],
    out_path: str | Path,
    *,
    spans: Spans = DEFAULT_SPANS,
    every_ms: int | None = None,
    top: int = 3,
    min_short_side: int = 360,
    height: int | None = None,
    fps: float | None = None,
    made_by: MadeBy | None = None,
    on_frame: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> int:
    """Write `video_path` to `out_path` with the people's boxes, ids and actions; returns frames.

    Every source frame keeps its own time. Boxes move linearly between keyframes and are shown
    only within their tube's life, those of the last keyframe to the last frame. A person's label
    shows the `top` best actions among those that `segments` finds at that moment, the same as in
    the table and on the page; `Painter` keeps labels off one another. `every_ms` is the keyframes'
    interval, by default the tubes' own.

    The picture is the source's size, or `height` pixels high. Without a `height`, a video smaller
    than `min_short_side` is enlarged, else its labels would be illegible, but not beyond what
    players take; a strip that stays narrow gets a margin for its labels. `made_by` is written on a
    strip below the picture, and into the file's comment.
    `fps`: of a folder of frames. `on_frame` is called with the time in ms after each written frame,
    `on_note` with the classes that are shown by their ids because the font lacks their letters.

    Raises as `Video` and `VideoWriter`; nothing is left under `out_path` after an error.
    """
    people, out = [tube for tube in tubes if len(tube)], Path(out_path)
    every_ms = every_ms or interval(people)
    names = _names(people, on_note)
    written = 0
    with open_film(video_path, fps=fps) as video:
        cast = _Cast(people, names, spans, every_ms, video.info.end_ms, top)
        framing = _Framing.of(video.info, min_short_side, height)
        made = "" if made_by is None else made_by.line()
        make_parent(out)
        frames = video.yuv_frames(framing.inner)
        first = next(frames, None)
        if first is None:
            raise VideoError("no frame of the video can be decoded", where=video_path)
        sheet = _Sheet(framing, first.tags, made)
        with VideoWriter(
            out,
            video.info.fps,
            sheet.hw,
            quality=_QUALITY,
            preset=_PRESET,
            tags=first.tags,
            comment=made,
        ) as writer:
            for frame, boxes, marks in cast.marked(chain([first], frames)):
                writer.write_yuv(sheet.drawn(frame.image, boxes, marks), frame.time_ms)
                written += 1
                if on_frame is not None:
                    on_frame(frame.time_ms)
    return written


def _names(people: Sequence[Tube], on_note: Callable[[str], None] | None) -> tuple[str, ...]:
    """What each class is called in the picture."""
    if not people:
        return ()
    labels = people[0].labels
    names = tuple(map(shown_name, labels.names, labels.ids))
    lost = [old for new, old in zip(names, labels.names, strict=True) if new != old]
    if lost and on_note is not None:
        on_note(
            f"the overlay's font has no letters for {len(lost)} of {len(names)} classes, which it "
            f"shows by their ids: {', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}"
        )
    return names


def picture_hw(info: VideoInfo, min_short_side: int, height: int | None = None) -> tuple[int, int]:
    """The upright frame's (H, W), both sides even: `height` pixels high, or else enlarged to
    `min_short_side` if need be, but to no more than `PLAYABLE` on its long side, and never larger
    than `ENCODABLE`. Raises InputError for a height of less than 16 pixels."""
    short, long = min(info.hw), max(info.hw)
    if height is None:
        scale = max(1.0, min(min_short_side / short, PLAYABLE / long))
    elif height < 16:
        raise InputError("invalid height of an overlay", expected="16 pixels or more", got=height)
    else:
        scale = height / info.height
    scale = min(scale, ENCODABLE / long)
    rows, columns = (max(2, 2 * round(side * scale / 2)) for side in info.hw)
    return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Framing:
    """The film's picture `inner` (H, W), centred in the overlay's `outer`; all even."""

    inner: tuple[int, int]
    outer: tuple[int, int]

    @classmethod
    def of(cls, info: VideoInfo, min_short_side: int, height: int | None) -> _Framing:
        inner = picture_hw(info, min_short_side, height)
        least = LABEL_ROOM if height is None else min(LABEL_ROOM, *inner)
        least = min(min_short_side, least)
        rows, columns = (max(side, least - least % 2) for side in inner)
        return cls(inner=inner, outer=(rows, columns))

    @property
    def corner(self) -> tuple[int, int]:
        """Where the picture begins: (y, x), even."""
        (height, width), (whole_h, whole_w) = self.inner, self.outer
        return (whole_h - height) // 4 * 2, (whole_w - width) // 4 * 2

    def placed(self, boxes: Floats) -> Floats:
        """Boxes `(…, 4)` in fractions of the picture as fractions of the whole."""
        (height, width), (whole_h, whole_w) = self.inner, self.outer
        top, left = self.corner
        pixels = boxes * (width, height, width, height) + (left, top, left, top)
        return np.asarray(pixels / (whole_w, whole_h, whole_w, whole_h), np.float32)


class _Sheet:
    """What is encoded: the picture on its margins, and the strip that says what made it."""

    def __init__(self, framing: _Framing, tags: ColourTags, made: str) -> None:
        self._framing = framing
        red, blue = tags.luma
        self._colours = YuvColours(red=red, blue=blue, full=tags.full)
        self._painter = Painter(framing.outer, self._colours)
        height, width = framing.outer
        size = max(14, round(min(framing.outer) / 40))
        strip = caption(made, size, width, self._colours) if made else None
        if strip is not None and height <= PLAYABLE < height + strip[0].shape[0]:
            strip = None  # it would make a playable film unplayable; the file's comment says it too
        self.hw = height + (0 if strip is None else strip[0].shape[0]), width
        self._blank = np.empty((self.hw[0] * 3 // 2, width), np.uint8)
        blank = Surface(planes(self._blank), self._colours, self.hw)
        blank.fill(np.array([[0, 0, width, self.hw[0]]]), [PANEL])
        if strip is not None:
            blank.paste(0, height, strip)

    def drawn(self, image: Image, boxes: Floats, marks: Sequence[PersonMark]) -> Image:
        """A frame of the overlay; `image` itself where it needs no room beside the picture."""
        whole = image
        if self.hw != self._framing.inner:
            whole = self._blank.copy()
            top, left = self._framing.corner
            Surface(planes(whole), self._colours, self.hw).paste(left, top, planes(image))
        height = self._framing.outer[0]
        parts = [
            part[: height // step]
            for part, step in zip(planes(whole), self._colours.steps, strict=True)
        ]
        self._painter.draw(parts, self._framing.placed(boxes), marks)
        return whole


class _Actor:
    """A tube and what its label says, each known for as long as it lasts."""

    def __init__(self, tube: Tube, actions: Sequence[Segment], names: Sequence[str], top: int):
        self.tube = tube
        self._actions, self._names, self._top = actions, names, top
        middles = (tube.times_ms[1:] + tube.times_ms[:-1]) // 2 + 1
        ends = [moment for part in actions for moment in (part.start_ms, part.end_ms)]
        self._changes = sorted({*middles.tolist(), *ends})
        self._known: tuple[int, PersonMark] | None = None

    def mark_at(self, time_ms: int) -> PersonMark:
        """The best actions under way, each with the score of the nearest keyframe."""
        span = bisect_right(self._changes, time_ms)
        if self._known is None or self._known[0] != span:
            scores = self.tube.scores_at(time_ms)
            under_way = [s.column for s in self._actions if s.start_ms <= time_ms < s.end_ms]
            best = sorted(under_way, key=lambda column: -scores[column])[: self._top]
            shown = tuple((self._names[c], float(scores[c])) for c in best)
            self._known = (
                span,
                PersonMark(track_id=self.tube.track_id, actions=shown, name=self.tube.name),
            )
        return self._known[1]


class _Cast:
    """All people of a film, and who of them is where at each frame."""

    def __init__(
        self,
        people: Sequence[Tube],
        names: Sequence[str],
        spans: Spans,
        every_ms: int,
        film_end_ms: int,
        top: int,
    ) -> None:
        self._every_ms, self._film_end_ms = every_ms, film_end_ms
        self._actors = [
            _Actor(tube, segments(tube, spans, every_ms, film_end_ms=film_end_ms), names, top)
            for tube in people
        ]
        lives = [tube.life(every_ms, film_end_ms) for tube in people]
        self._lives = np.array(lives, np.int64).reshape(-1, 2)

    def marked(
        self, frames: Iterator[YuvFrame]
    ) -> Iterator[tuple[YuvFrame, Floats, list[PersonMark]]]:
        """Each frame with its people and their boxes; a few frames are held back at a time."""
        starts, ends = self._lives.T
        while some := list(islice(frames, _FRAMES_AT_ONCE)):
            # A film may go on after the end that its header claims; its people do, too.
            times = np.array([min(frame.time_ms, self._film_end_ms - 1) for frame in some])
            here = np.flatnonzero((starts <= times[-1]) & (ends > times[0]))
            actors = [self._actors[index] for index in here.tolist()]
            boxes = np.empty((len(actors), len(some), 4), np.float32)
            for own, actor in zip(boxes, actors, strict=True):
                own[:] = actor.tube.boxes_at(times, self._every_ms, self._film_end_ms)
            for place, (frame, time_ms) in enumerate(zip(some, times.tolist(), strict=True)):
                shown = np.flatnonzero(~np.isnan(boxes[:, place, 0]))
                marks = [actors[index].mark_at(time_ms) for index in shown.tolist()]
                yield frame, boxes[shown, place], marks
