"""A person's label: drawn once and kept, and put where it covers no other.

A label is finished as an opaque picture with even sides, so that it can be copied into 4:2:0 film.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tubelet.drawing.font import text_mask
from tubelet.drawing.surface import Colour, ColourModel, Floats, Image, Rect

PANEL: Colour = (17, 20, 26)
WHITE: Colour = (255, 255, 255)
_BAR = 0.34
"""How much of the person's colour is in a score's bar."""

Rows = tuple[tuple[str, float], ...]


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read more easily on `colour`."""
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), colour)) / 255
    return PANEL if luminance > 0.4 else WHITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The name on the person's colour, beside it one row per action with its score.

    `size`: of the letters in pixels, `room`: the widest that it may be. A bar behind each row is as
    long as its score.
    """

    name: str
    rows: Rows
    colour: Colour
    size: int
    room: int

    def shorter(self) -> Iterator[Label]:
        """The label, then with the best action only, then the name alone."""
        yield self
        if len(self.rows) > 1:
            yield replace(self, rows=self.rows[:1])
        if self.rows:
            yield replace(self, rows=())

    @property
    def _pad(self) -> int:
        return max(2, self.size // 4)

    def _parts(self) -> tuple[Floats, list[Floats], list[Floats], int, int]:
        """The masks of the name, the actions and their scores, the badge's width and the body's."""
        size, pad = self.size, self._pad
        figures = [_text(f"{score:.2f}", size) for _, score in self.rows]
        figure = max((f.shape[1] for f in figures), default=0)
        badge = _fitted(_text(self.name, size, 1.35), self.room // 2 - 2 * pad, size)
        left = _even(badge.shape[1] + 2 * pad)
        room = self.room - left - figure - 4 * pad
        texts = [_fitted(_text(action, size), room, size) for action, _ in self.rows]
        widths = [t.shape[1] + f.shape[1] for t, f in zip(texts, figures, strict=True)]
        return badge, texts, figures, left, _even(max(widths) + 4 * pad) if widths else 0

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels, both even."""
        *_, left, body = self._parts()
        return _even(self.size + self._pad) * max(len(self.rows), 1), left + body

    def planes(self, colours: ColourModel) -> tuple[Image, ...]:
        """The finished label, a picture of `hw` pixels."""
        badge, texts, figures, left, body = self._parts()
        pad, row = self._pad, _even(self.size + self._pad)
        height, width = row * max(len(self.rows), 1), left + body
        mask = np.zeros((height, width), np.float32)
        _write(mask, pad, pad // 2, badge)
        bar = tuple(round(p + _BAR * (c - p)) for p, c in zip(PANEL, self.colour, strict=True))
        grounds = [((0, 0, left, height), self.colour), ((left, 0, width, height), PANEL)]
        for index, ((_, score), text, figure) in enumerate(
            zip(self.rows, texts, figures, strict=True)
        ):
            top = index * row
            end = left + round(body * min(score, 1) / 2) * 2
            grounds.append(((left, top, end, top + row), (bar[0], bar[1], bar[2])))
            _write(mask, left + pad, top + pad // 2, text)
            _write(mask, width - pad - figure.shape[1], top + pad // 2, figure)
        inks = [
            ((0, 0, left, height), ink_on(self.colour)),
            ((left, 0, width, height), WHITE),
        ]
        return colours.painted(mask, grounds, inks)


def caption(text: str, size: int, width: int, colours: ColourModel) -> tuple[Image, ...]:
    """One line of text on a strip of `width` pixels (even), cut where it is longer."""
    pad = max(2, size // 4)
    mask = np.zeros((_even(size + 2 * pad), width), np.float32)
    _write(mask, pad, pad, _fitted(_text(text, size), width - 2 * pad, size))
    whole = (0, 0, width, mask.shape[0])
    return colours.painted(mask, [(whole, PANEL)], [(whole, WHITE)])


@lru_cache(maxsize=1024)
def _text(text: str, size: int, weight: float = 1.1) -> Floats:
    return text_mask(text, size, weight=weight)


def _fitted(text: Floats, room: int, size: int) -> Floats:
    """A text's mask, cut with an ellipsis where it is wider than `room`."""
    if text.shape[1] <= room:
        return text
    dots = _text("…", size)
    return np.concatenate([text[:, : max(room - dots.shape[1], 0)], dots], axis=1)


def _write(mask: Floats, x: int, y: int, text: Floats) -> None:
    """Lay a text's mask into another, in place; what does not fit is left out."""
    part = mask[y : y + text.shape[0], max(x, 0) : max(x, 0) + text.shape[1]]
    part[:] = text[: part.shape[0], : part.shape[1]]


def _even(length: int) -> int:
    return length + length % 2


class FreeSpace:
    """Which cells of a picture `hw` no label covers: an integer a row of cells, a bit a cell."""

    def __init__(self, hw: tuple[int, int], cell: int) -> None:
        self._cell = cell
        self._rows = [0] * (hw[0] // cell + 2)

    def take(self, rect: Rect) -> bool:
        """Mark the cells of a rectangle as covered, if none of them is; whether it was done."""
        x1, y1, x2, y2 = rect
        cell, rows = self._cell, self._rows
        left, right = x1 // cell, -(-x2 // cell)
        mask = ((1 << (right - left)) - 1) << left
        span = range(y1 // cell, -(-y2 // cell))
        for row in span:
            if rows[row] & mask:
                return False
        for row in span:
            rows[row] |= mask
        return True


_PLACES = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 2), (3, 2), (2, 3), (3, 3), (0, 2), (0, 3))
PLACES = len(_PLACES)


def places_of(box: Sequence[int], hw: tuple[int, int], within: tuple[int, int]) -> list[Rect]:
    """Where a label of `hw` pixels may lie about a box, in the order in which places are preferred:
    above, below, beside and inside it; moved into the picture `within`, on even pixels."""
    x1, y1, x2, y2 = box
    height, width = hw
    right, low = max(within[1] - width, 0), max(within[0] - height, 0)
    xs = [max(min(x, right), 0) & ~1 for x in (x1 - 1, x2 + 1 - width, x2, x1 - width)]
    ys = [max(min(y, low), 0) & ~1 for y in (y1 - height, y2, y1, y2 - height)]
    return [(xs[i], ys[j], xs[i] + width, ys[j] + height) for i, j in _PLACES]
