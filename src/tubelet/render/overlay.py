"""A copy of the video with labelled boxes drawn in (MP4).

Frames are streamed: memory does not grow with the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tubelet.drawing.draw import Image, PersonMark, draw_people
from tubelet.files import make_parent
from tubelet.media.video import Video, VideoInfo
from tubelet.media.writer import VideoWriter
from tubelet.render.timeline import Segment, segments
from tubelet.results import Tube, interval


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actor:
    """A tube and its actions, found once and not on each frame."""

    tube: Tube
    actions: tuple[Segment, ...]


def write_overlay(
    video_path: str | Path,
    tubes: Iterable[Tube],
    out_path: str | Path,
    *,
    threshold: float = 0.3,
    every_ms: int | None = None,
    top: int = 3,
    min_short_side: int = 480,
    on_frame: Callable[[int], None] | None = None,
) -> int:
    """Write `video_path` to `out_path` with the people's boxes, ids and actions; returns frames.

    Every source frame keeps its own time. Boxes move linearly between keyframes and are shown
    only within their tube's life. A person's label shows the `top` best actions among those that
    `segments` finds at that moment, the same as in the table and on the page. `every_ms` is the
    keyframes' interval, by default the tubes' own. A video smaller than `min_short_side` is
    enlarged, else its labels would be illegible.
    `on_frame` is called with the time in ms after each written frame.

    Raises as `Video` and `VideoWriter`; nothing is left under `out_path` after an error.
    """
    people, out = list(tubes), Path(out_path)
    every_ms = every_ms or interval(people)
    actors = [
        _Actor(tube=tube, actions=tuple(segments(tube, threshold, every_ms)))
        for tube in people
        if len(tube)
    ]
    written = 0
    with Video(video_path) as video:
        hw = picture_hw(video.info, min_short_side)
        make_parent(out)
        with VideoWriter(out, video.info.fps, hw) as writer:
            for frame in video.frames(hw=hw):
                image = frame.image.copy()
                _draw(image, actors, frame.time_ms, every_ms, top)
                writer.write(image, frame.time_ms)
                written += 1
                if on_frame is not None:
                    on_frame(frame.time_ms)
    return written


def picture_hw(info: VideoInfo, min_short_side: int) -> tuple[int, int]:
    """The upright frame's (H, W), enlarged to `min_short_side` if need be, both sides even."""
    scale = max(1.0, min_short_side / min(info.hw))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in info.hw)
    return height, width


def _draw(image: Image, actors: Sequence[_Actor], time_ms: int, every_ms: int, top: int) -> None:
    marks = []
    for actor in actors:
        box = actor.tube.box_at(time_ms, every_ms)
        if box is not None:
            actions = _actions_at(actor, time_ms, top)
            marks.append(PersonMark(track_id=actor.tube.track_id, box=box, actions=actions))
    draw_people(image, marks)


def _actions_at(actor: _Actor, time_ms: int, top: int) -> list[tuple[str, float]]:
    """The best actions under way, each with the score of the nearest keyframe."""
    scores = actor.tube.scores_at(time_ms)
    under_way = [s.column for s in actor.actions if s.start_ms <= time_ms < s.end_ms]
    best = sorted(under_way, key=lambda column: -scores[column])[:top]
    return [(actor.tube.labels.names[column], float(scores[column])) for column in best]
