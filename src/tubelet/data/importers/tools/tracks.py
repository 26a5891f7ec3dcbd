"""Tracks that are stored as key frames: the frames between two of them, as the tools show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Box
from tubelet.data.importers.tools.marks import turned


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """A track at one frame: a box in the tool's units, turned by `degrees` about its centre or
    its upper left corner (`about_corner`). `shown`: whether it is there from this frame on."""

    frame: int
    box: Box
    where: str
    shown: bool = True
    degrees: float = 0.0
    about_corner: bool = False
    attributes: tuple[tuple[str, str], ...] = ()

    def enclosing(self) -> Box:
        """The upright box around it."""
        pivot = (self.box[0], self.box[1]) if self.about_corner else None
        return turned(self.box, self.degrees, pivot)


def between(one: Pose, two: Pose, frame: int) -> Pose:
    """`one` on its way to `two`: corners and angle move in a straight line, the rest stays."""
    share = (frame - one.frame) / (two.frame - one.frame)
    way = (two.degrees - one.degrees + 180) % 360 - 180
    x1, y1, x2, y2 = (a + (b - a) * share for a, b in zip(one.box, two.box, strict=True))
    return replace(
        one, frame=frame, box=(x1, y1, x2, y2), degrees=(one.degrees + way * share) % 360
    )


def filled(
    poses: Sequence[Pose],
    films: FilmClock,
    video: str,
    *,
    step: int = 1,
    dense: bool = False,
    until: int | None = None,
    rate: float | None = None,
) -> Iterator[Pose]:
    """The poses that are shown, and those between two of them that lie more than `step` apart.

    Between key frames only the frames are filled in that `films.options.every_ms` asks for (of each
    period the nearest); without a period none, or, where the tool stores nothing but key frames
    (`dense`), all. `until`: the frame to which the last pose lasts, if it is shown.
    """
    ordered = sorted({pose.frame: pose for pose in poses}.values(), key=lambda pose: pose.frame)
    wanted = dense or films.options.every_ms is not None
    for one, two in pairwise(ordered):
        if not one.shown:
            continue
        yield one
        if wanted and two.frame - one.frame > step:
            inside = films.near(video, one.frame, two.frame - 1, rate=rate)
            yield from (between(one, two, frame) for frame in inside if frame > one.frame)
    if ordered and ordered[-1].shown:
        last = ordered[-1]
        yield last
        if wanted and until is not None and until > last.frame:
            rest = films.near(video, last.frame, until, rate=rate)
            yield from (replace(last, frame=frame) for frame in rest if frame > last.frame)
