"""Pixels: boxes, panels and labels on a uint8 RGB image, and the colours of people. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.drawing.font import drawable, text_mask
from tubelet.errors import ShapeError

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

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
PANEL: Colour = (17, 20, 26)
WHITE: Colour = (255, 255, 255)


def colour_of(track_id: int) -> Colour:
    """The colour of a person, in the overlay as on the page; grey where the identity is unknown."""
    return UNKNOWN if track_id < 0 else PALETTE[track_id % len(PALETTE)]


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read more easily on `colour`."""
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), colour)) / 255
    return PANEL if luminance > 0.4 else WHITE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonMark:
    """What is drawn of a person: `box (4,)` in [0, 1], and actions with scores, best first."""

    track_id: int
    box: Floats
    actions: Sequence[tuple[str, float]]


def draw_people(image: Image, people: Sequence[PersonMark]) -> None:
    """Draw people into an RGB image `(H, W, 3)`, in place; lines and letters fit its size.

    All boxes come first and then all labels, so that no line crosses a text.
    """
    height, width = image.shape[:2]
    line = max(2, round(min(height, width) / 200))
    size = max(16, round(min(height, width) / 30))
    boxes_px = [
        np.rint(person.box * (width, height, width, height)).astype(int).tolist()
        for person in people
    ]
    for person, box_px in zip(people, boxes_px, strict=True):
        draw_box(image, box_px, colour_of(person.track_id), line)
    for person, box_px in zip(people, boxes_px, strict=True):
        name = str(person.track_id) if person.track_id >= 0 else "?"
        draw_label(image, box_px, name, person.actions, colour_of(person.track_id), size)


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


def blend(image: Image, x: int, y: int, mask: Floats, colour: Colour) -> None:
    """Paint `colour` through a coverage mask `(h, w)` whose top left corner is at `x, y`, in place.

    Parts outside the image are left out.
    """
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + mask.shape[0], image.shape[0]), min(x + mask.shape[1], image.shape[1])
    if top >= bottom or left >= right:
        return
    part = image[top:bottom, left:right]
    cover = mask[top - y : bottom - y, left - x : right - x, None]
    part[:] = np.rint(part + (np.asarray(colour, np.float32) - part) * cover).astype(np.uint8)


def fill(image: Image, x: int, y: int, w: int, h: int, colour: Colour, alpha: float = 1) -> None:
    """Fill a rectangle, in place."""
    if w > 0 and h > 0:
        blend(image, x, y, np.full((h, w), alpha, np.float32), colour)


def draw_box(image: Image, box_px: Sequence[int], colour: Colour, line: int) -> None:
    """A frame of `line` pixels inside `x1, y1, x2, y2`, with a thin dark edge on either side."""
    x1, y1, x2, y2 = box_px
    for inset, thickness, paint, alpha in ((-1, line + 2, PANEL, 0.45), (0, line, colour, 1.0)):
        left, top = x1 + inset, y1 + inset
        width, height = x2 - x1 - 2 * inset, y2 - y1 - 2 * inset
        fill(image, left, top, width, thickness, paint, alpha)
        fill(image, left, top + height - thickness, width, thickness, paint, alpha)
        side = height - 2 * thickness
        fill(image, left, top + thickness, thickness, side, paint, alpha)
        fill(image, left + width - thickness, top + thickness, thickness, side, paint, alpha)


def shown_name(name: str, label: int) -> str:
    """The class's name, or its id where the font lacks a letter of the name: boxes in place of
    letters would make all classes look alike."""
    return name if drawable(name) else f"class {label}"


def _fitted(text: Floats, room: int, size: int) -> Floats:
    """A text's mask, cut with an ellipsis where it is wider than `room`."""
    if text.shape[1] <= room:
        return text
    dots = text_mask("…", size)
    return np.concatenate([text[:, : max(room - dots.shape[1], 0)], dots], axis=1)


def draw_label(
    image: Image,
    box_px: Sequence[int],
    name: str,
    rows: Sequence[tuple[str, float]],
    colour: Colour,
    size: int,
) -> None:
    """A person's label: the name on the person's colour, beside it one row per action.

    It sits on the box's upper edge, or slides into the box if there is no room above;
    it is kept inside the image. A bar behind each row is as long as its score.
    """
    pad = max(2, size // 4)
    badge = text_mask(name, size, weight=1.35)
    figures = [text_mask(f"{score:.2f}", size) for _, score in rows]
    room = image.shape[1] - badge.shape[1] - 6 * pad - max((f.shape[1] for f in figures), default=0)
    texts = [_fitted(text_mask(action, size), room, size) for action, _ in rows]
    body = max((t.shape[1] + f.shape[1] for t, f in zip(texts, figures, strict=True)), default=0)
    body += 4 * pad if rows else 0
    row_height = size + pad
    width, height = badge.shape[1] + 2 * pad + body, row_height * max(len(rows), 1)
    x = min(max(box_px[0] - 1, 0), max(image.shape[1] - width, 0))
    y = min(max(box_px[1] - height, 0), max(image.shape[0] - height, 0))

    edge = x + badge.shape[1] + 2 * pad
    fill(image, x, y, edge - x, height, colour)
    blend(image, x + pad, y + pad // 2, badge, ink_on(colour))
    fill(image, edge, y, body, height, PANEL, 0.8)
    for i, ((_, score), text, figure) in enumerate(zip(rows, texts, figures, strict=True)):
        top = y + i * row_height
        fill(image, edge, top, round(body * min(score, 1)), row_height, colour, 0.34)
        blend(image, edge + pad, top + pad // 2, text, WHITE)
        blend(image, edge + body - pad - figure.shape[1], top + pad // 2, figure, WHITE)
