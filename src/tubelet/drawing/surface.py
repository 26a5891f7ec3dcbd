"""What is drawn on: the planes of a picture, RGB in one or YUV 4:2:0 in three.

Everything that is painted is opaque, so that drawing is copying: a strip or a finished label goes
into each plane by one slice, whatever the planes mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Colour = tuple[int, int, int]
Rect = tuple[int, int, int, int]


class ColourModel(ABC):
    """How RGB becomes the planes of a picture; `steps`: how many of the picture's pixels, along
    each side, share a value of each plane."""

    steps: tuple[int, ...]

    @abstractmethod
    def of(self, colour: Colour) -> tuple[Image, ...]:
        """The value of a colour in each plane, as an array of no axis or of the channels."""

    def painted(
        self,
        mask: Floats,
        grounds: Sequence[tuple[Rect, Colour]],
        inks: Sequence[tuple[Rect, Colour]],
    ) -> tuple[Image, ...]:
        """The planes of a picture of even sides: `inks` through the coverage `mask (h, w)`, on
        `grounds`. Both are rectangles with even sides that fill the picture."""
        planes = []
        for index, step in enumerate(self.steps):
            cover = mask if step == 1 else _halved(mask)
            sheets = []
            for rects in (grounds, inks):
                values = [self.of(colour)[index] for _, colour in rects]
                sheet = np.empty((*cover.shape, *values[0].shape), np.float32)
                for (rect, _), value in zip(rects, values, strict=True):
                    x1, y1, x2, y2 = (side // step for side in rect)
                    sheet[y1:y2, x1:x2] = value
                sheets.append(sheet)
            ground, ink = sheets
            ink -= ground
            ink *= cover if ink.ndim == 2 else cover[..., None]
            ground += ink
            planes.append(np.rint(ground, out=ground).astype(np.uint8))
        return tuple(planes)


def _halved(mask: Floats) -> Floats:
    """The mean of each two by two."""
    top, bottom = mask[::2], mask[1::2]
    whole = top[:, ::2] + top[:, 1::2] + bottom[:, ::2] + bottom[:, 1::2]
    return np.asarray(whole / 4, np.float32)


@dataclass(frozen=True)
class RgbColours(ColourModel):
    """One plane `(H, W, 3)`."""

    steps = (1,)

    def of(self, colour: Colour) -> tuple[Image, ...]:
        return (np.array(colour, np.uint8),)


@dataclass(frozen=True, kw_only=True)
class YuvColours(ColourModel):
    """Planes Y `(H, W)`, U and V `(H/2, W/2)`: `red` and `blue` are the matrix's Kr and Kb (0.299
    and 0.114 in BT.601, 0.2126 and 0.0722 in BT.709), `full` the range 0–255 of JPEG."""

    red: float
    blue: float
    full: bool = False

    steps = (1, 2, 2)

    def of(self, colour: Colour) -> tuple[Image, ...]:
        return _yuv(self, colour)


@lru_cache(maxsize=256)
def _yuv(model: YuvColours, colour: Colour) -> tuple[Image, ...]:
    r, g, b = colour
    luma = model.red * r + (1 - model.red - model.blue) * g + model.blue * b
    high, wide, black = (255, 255, 0) if model.full else (219, 224, 16)
    values = [luma * high / 255 + black]
    values += [
        128 + (part - luma) / (1 - share) / 2 * wide / 255
        for part, share in ((b, model.blue), (r, model.red))
    ]
    return tuple(np.array(round(min(max(value, 0), 255)), np.uint8) for value in values)


class Surface:
    """A picture of `hw` pixels, as `planes` that `colours` describes; painting is in place.

    Of planes with fewer values than pixels, a value is painted as soon as one of its pixels is.
    """

    def __init__(self, planes: Sequence[Image], colours: ColourModel, hw: tuple[int, int]) -> None:
        self.planes, self.colours, self.hw = tuple(planes), colours, hw

    def fill(
        self, rects: npt.NDArray[np.int64], colours: Sequence[Colour], count: int | None = None
    ) -> None:
        """Fill rectangles `(N, 4)`, `x1, y1, x2, y2` in pixels, each with its colour, in that
        order, in all planes or the first `count`; parts outside the picture are left out."""
        height, width = self.hw
        inside = np.clip(rects, 0, (width, height, width, height))
        known = {colour: self.colours.of(colour) for colour in set(colours)}
        planes = list(zip(self.planes, self.colours.steps, strict=True))
        for index, (plane, step) in enumerate(planes[:count]):
            first, last = inside[:, :2] // step, -(-inside[:, 2:] // step)
            places = np.concatenate((first, last), axis=1).tolist()
            values = {colour: parts[index] for colour, parts in known.items()}
            for (x1, y1, x2, y2), colour in zip(places, colours, strict=True):
                plane[y1:y2, x1:x2] = values[colour]

    def paste(self, x: int, y: int, parts: Sequence[Image]) -> None:
        """Put a picture's `parts`, one a plane, at `x, y`, which `steps` divide; parts outside are
        left out at the right and at the bottom."""
        for plane, part, step in zip(self.planes, parts, self.colours.steps, strict=True):
            left, top = x // step, y // step
            room = plane[top : top + part.shape[0], left : left + part.shape[1]]
            room[:] = part[: room.shape[0], : room.shape[1]]
