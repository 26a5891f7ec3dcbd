"""People on a picture: boxes, labels that do not cover each other, and the colours. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tubelet.drawing.font import drawable
from tubelet.drawing.labels import PANEL, PLACES, FreeSpace, Label, places_of
from tubelet.drawing.surface import Colour, ColourModel, Floats, Image, Rect, RgbColours, Surface
from tubelet.errors import ShapeError

PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 178, 132),
    (236, 106, 54),
    (221, 143, 190),
    (240, 228, 66),
    (74, 134, 232),
)
"""Seven colours that people with colour-blindness tell apart, after Okabe and Ito (2008); green,
vermilion, purple and blue are lightened so that a thin line stands out on dark film."""

UNKNOWN: Colour = (190, 196, 204)
_CROWD, _FEW = 12, 9
"""More people than these, and labels say the best action only, until there are fewer than those."""
_STEADY = 15
"""For so many pictures a label that had to give way stays as it is, or it would flicker."""


def colour_of(track_id: int) -> Colour:
    """The colour of a person, in the overlay as on the page; grey where the identity is unknown."""
    return UNKNOWN if track_id < 0 else PALETTE[track_id % len(PALETTE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonMark:
    """What a person's label says: actions with scores, best first; `name` instead of the id."""

    track_id: int
    actions: tuple[tuple[str, float], ...]
    name: str = ""


class _Tag:
    """A person's label as it is shown in one picture after another."""

    def __init__(self, mark: PersonMark, labels: Sequence[Label], before: _Tag | None) -> None:
        self.mark, self._labels = mark, labels
        self._sizes: list[tuple[int, int] | None] = [None] * len(labels)
        self._drawn: list[tuple[Image, ...] | None] = [None] * len(labels)
        self.level: int = 0 if before is None else before.level
        self.place: int = 0 if before is None else before.place
        self.age: int = 0 if before is None else before.age

    def placed(self, box: Sequence[int], free: FreeSpace, hw: tuple[int, int]) -> Rect | None:
        """Take a place beside the box: whole if possible, where it was if possible. A label that
        had to be shortened, or left out, stays so for a while."""
        levels = len(self._labels)
        waits = self.level > 0 and self.age < _STEADY
        self.age += 1
        if waits and self.level >= levels:
            return None
        order = (self.place, *(place for place in range(PLACES) if place != self.place))
        for level in (self.level, *range(levels)) if waits else range(levels):
            size = self._sizes[level] = self._sizes[level] or self._labels[level].hw
            if size[0] > hw[0] or size[1] > hw[1]:
                continue
            rects = places_of(box, size, hw)
            for place in order:
                if free.take(rects[place]):
                    self.age = self.age if level == self.level else 0
                    self.level, self.place = level, place
                    return rects[place]
        self.age = self.age if self.level >= levels else 0
        self.level = levels
        return None

    def planes(self, colours: ColourModel) -> tuple[Image, ...]:
        """What is shown of it, drawn once."""
        known = self._drawn[self.level]
        if known is None:
            known = self._drawn[self.level] = self._labels[self.level].planes(colours)
        return known


class Painter:
    """Draws people into one picture after another, all of size `hw` and of the same `colours`.

    Lines and letters fit the size. A label is drawn when it changes, and stays in its place beside
    the box for as long as it is free: larger people are served first; a label for which no place
    is left is shortened, in the end to nothing, and the box alone is shown. In a crowd labels are
    short from the outset, or they would hide it.
    """

    def __init__(self, hw: tuple[int, int], colours: ColourModel) -> None:
        self._hw, self._colours = hw, colours
        self.line = max(2, round(min(hw) / 200))
        self.size = max(16, round(min(hw) / 30))
        self._tags: dict[tuple[int, int], _Tag] = {}
        self._crowd = False

    def draw(
        self, planes: Sequence[Image], boxes: Floats, people: Sequence[PersonMark]
    ) -> list[Rect]:
        """Draw people into the picture's planes, in place, `boxes (N, 4)` in [0, 1]; returns where
        their labels lie. All boxes come first and then all labels, so that no line crosses a text.
        """
        tags, self._tags = self._tags, {}
        if not people:
            return []
        self._crowd = len(people) > (_FEW if self._crowd else _CROWD)
        surface = Surface(planes, self._colours, self._hw)
        height, width = self._hw
        boxes_px = np.rint(boxes * (width, height, width, height)).astype(np.int64)
        self._frames(surface, boxes_px, [colour_of(person.track_id) for person in people])
        # A larger box comes first; equal ones in their order.
        order = np.argsort(-np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1), kind="stable")
        free = FreeSpace(self._hw, max(2, self.size // 4))
        rects, corners, seen = [], boxes_px.tolist(), dict[int, int]()
        for index in order.tolist():
            person = people[index]
            if self._crowd and len(person.actions) > 1:
                person = replace(person, actions=person.actions[:1])
            count = seen[person.track_id] = seen.get(person.track_id, 0) + 1
            key = person.track_id, count  # several may have no identity
            tag = tags.get(key)
            if tag is None or tag.mark != person:
                tag = _Tag(person, list(self._label(person).shorter()), tag)
            self._tags[key] = tag
            rect = tag.placed(corners[index], free, self._hw)
            if rect is not None:
                surface.paste(rect[0], rect[1], tag.planes(self._colours))
                rects.append(rect)
        return rects

    def _frames(
        self, surface: Surface, boxes_px: npt.NDArray[np.int64], colours: Sequence[Colour]
    ) -> None:
        """A frame of `line` pixels inside each box, with a thin dark edge on either side."""
        # Of YUV the edge is in the brightness alone: it is thinner than chroma can show.
        dark = _strips(boxes_px, 1, self.line + 2).reshape(-1, 4)
        surface.fill(dark, [PANEL] * len(dark), count=1)
        surface.fill(
            _strips(boxes_px, 0, self.line).reshape(-1, 4), [c for c in colours for _ in range(4)]
        )

    def _label(self, person: PersonMark) -> Label:
        name = person.name or (str(person.track_id) if person.track_id >= 0 else "?")
        rows = tuple((action, round(score, 2)) for action, score in person.actions)
        colour = colour_of(person.track_id)
        return Label(name=name, rows=rows, colour=colour, size=self.size, room=self._hw[1] & ~1)


def _strips(boxes_px: npt.NDArray[np.int64], outside: int, thick: int) -> npt.NDArray[np.int64]:
    """The four strips `(N, 4, 4)` of frames that begin `outside` their boxes."""
    x1, y1, x2, y2 = (boxes_px + np.array((-outside, -outside, outside, outside))).T
    return np.stack(
        [
            np.stack([x1, y1, x2, y1 + thick], 1),
            np.stack([x1, y2 - thick, x2, y2], 1),
            np.stack([x1, y1 + thick, x1 + thick, y2 - thick], 1),
            np.stack([x2 - thick, y1 + thick, x2, y2 - thick], 1),
        ],
        axis=1,
    )


def draw_people(image: Image, boxes: Floats, people: Sequence[PersonMark]) -> None:
    """Draw people into an RGB image `(H, W, 3)`, in place, as `Painter` does."""
    Painter((image.shape[0], image.shape[1]), RgbColours()).draw((image,), boxes, people)


def copied(image: npt.ArrayLike) -> Image:
    """A copy of an RGB image. Raises ShapeError unless it is `(H, W, 3)` uint8."""
    pixels = np.array(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ShapeError(
            "people can only be drawn on an RGB image",
            expected="(H, W, 3) uint8",
            got=f"{pixels.shape} {pixels.dtype}",
        )
    return pixels


def shown_name(name: str, label: int) -> str:
    """The class's name, or its id where the font lacks a letter of the name: boxes in place of
    letters would make all classes look alike."""
    return name if drawable(name) else f"class {label}"
