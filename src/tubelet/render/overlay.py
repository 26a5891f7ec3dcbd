"""A copy of the video with labelled boxes drawn in (MP4).

Frames are streamed: memory does not grow with the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tubelet.drawing.draw import PANEL, Floats, Image, PersonMark, draw_people, shown_name
from tubelet.files import make_parent
from tubelet.media.frames import open_film
from tubelet.media.video import VideoInfo
from tubelet.media.writer import VideoWriter
from tubelet.render.timeline import DEFAULT_SPANS, Segment, Spans, segments
from tubelet.results import Tube, interval

PLAYABLE, ENCODABLE = 4096, 16384
"""The longest side that every player's decoder takes, and the longest that x264 writes."""
LABEL_ROOM = 320
"""Pixels that a label of a few words needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actor:
    """A tube and its actions, found once and not on each frame; `names` of the classes."""

    tube: Tube
    actions: tuple[Segment, ...]
    names: tuple[str, ...]


def write_overlay(
    video_path: str | Path,
    tubes: Iterable[Tube],
    out_path: str | Path,
    *,
    spans: Spans = DEFAULT_SPANS,
    every_ms: int | None = None,
    top: int = 3,
    min_short_side: int = 480,
    fps: float | None = None,
    on_frame: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> int:
    """Write `video_path` to `out_path` with the people's boxes, ids and actions; returns frames.

    Every source frame keeps its own time. Boxes move linearly between keyframes and are shown
    only within their tube's life, those of the last keyframe to the last frame. A person's label
    shows the `top` best actions among those that `segments` finds at that moment, the same as in
    the table and on the page. `every_ms` is the keyframes' interval, by default the tubes' own. A
    video smaller than `min_short_side` is enlarged, else its labels would be illegible, but not
    beyond what players take; a strip that stays narrow gets a margin for its labels.
    `fps`: of a folder of frames. `on_frame` is called with the time in ms after each written frame,
    `on_note` with the classes that are shown by their ids because the font lacks their letters.

    Raises as `Video` and `VideoWriter`; nothing is left under `out_path` after an error.
    """
    people, out = [tube for tube in tubes if len(tube)], Path(out_path)
    every_ms = every_ms or interval(people)
    names = _names(people, on_note)
    written = 0
    with open_film(video_path, fps=fps) as video:
        end_ms = video.info.end_ms
        actors = [
            _Actor(
                tube=tube,
                actions=tuple(segments(tube, spans, every_ms, film_end_ms=end_ms)),
                names=names,
            )
            for tube in people
        ]
        frame_of = _Framing.of(video.info, min_short_side)
        make_parent(out)
        with VideoWriter(out, video.info.fps, frame_of.outer) as writer:
            for frame in video.frames(hw=frame_of.inner):
                image = frame_of.framed(frame.image)
                marks = _marks(actors, frame.time_ms, every_ms, end_ms, top)
                draw_people(image, [replace(m, box=frame_of.placed(m.box)) for m in marks])
                writer.write(image, frame.time_ms)
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


def picture_hw(info: VideoInfo, min_short_side: int) -> tuple[int, int]:
    """The upright frame's (H, W), both sides even: enlarged to `min_short_side` if need be, but to
    no more than `PLAYABLE` on its long side, and never larger than `ENCODABLE`."""
    short, long = min(info.hw), max(info.hw)
    scale = min(max(1.0, min(min_short_side / short, PLAYABLE / long)), ENCODABLE / long)
    height, width = (max(2, 2 * round(side * scale / 2)) for side in info.hw)
    return height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class _Framing:
    """The film's picture `inner` (H, W), centred in the overlay's `outer`."""

    inner: tuple[int, int]
    outer: tuple[int, int]

    @classmethod
    def of(cls, info: VideoInfo, min_short_side: int) -> _Framing:
        inner = picture_hw(info, min_short_side)
        least = min(min_short_side, LABEL_ROOM)
        height, width = (max(side, least - least % 2) for side in inner)
        return cls(inner=inner, outer=(height, width))

    @property
    def _corner(self) -> tuple[int, int]:
        """Where the picture begins: (y, x)."""
        (height, width), (whole_h, whole_w) = self.inner, self.outer
        return (whole_h - height) // 2, (whole_w - width) // 2

    def framed(self, image: Image) -> Image:
        """A copy of the picture on its margins."""
        if self.inner == self.outer:
            return image.copy()
        whole = np.full((*self.outer, 3), PANEL, np.uint8)
        top, left = self._corner
        whole[top : top + self.inner[0], left : left + self.inner[1]] = image
        return whole

    def placed(self, box: Floats) -> Floats:
        """A box in fractions of the picture as fractions of the whole."""
        (height, width), (whole_h, whole_w) = self.inner, self.outer
        top, left = self._corner
        pixels = box * (width, height, width, height) + (left, top, left, top)
        return np.asarray(pixels / (whole_w, whole_h, whole_w, whole_h), np.float32)


def _marks(
    actors: Sequence[_Actor], time_ms: int, every_ms: int, end_ms: int, top: int
) -> list[PersonMark]:
    marks = []
    for actor in actors:
        box = actor.tube.box_at(time_ms, every_ms, end_ms)
        if box is not None:
            actions = _actions_at(actor, time_ms, top)
            marks.append(PersonMark(track_id=actor.tube.track_id, box=box, actions=actions))
    return marks


def _actions_at(actor: _Actor, time_ms: int, top: int) -> list[tuple[str, float]]:
    """The best actions under way, each with the score of the nearest keyframe."""
    scores = actor.tube.scores_at(time_ms)
    under_way = [s.column for s in actor.actions if s.start_ms <= time_ms < s.end_ms]
    best = sorted(under_way, key=lambda column: -scores[column])[:top]
    return [(actor.names[column], float(scores[column])) for column in best]
