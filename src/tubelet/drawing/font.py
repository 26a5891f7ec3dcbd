"""Text as a mask, without Pillow: Latin letters drawn by code, all others from bitmaps.

Each glyph drawn by code is a few strokes on a grid: baseline 0, lower-case height 5, capitals 7,
descenders −2. Strokes are separated by `;` and made of points `x,y` and elliptic arcs
`@cx,cy,rx,ry,from,to` (degrees, anticlockwise when ascending). A pixel's darkness follows from its
distance to the nearest stroke, so text is smooth at every size. Accents are strokes above or below
their letter. Whatever else `glyphs.bin` holds is scaled from its bitmap.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tubelet.drawing.glyphs import BASELINE, ROWS, bitmap, has_glyph
from tubelet.drawing.script import visual

Floats = npt.NDArray[np.float32]

_TOP, _BOTTOM, _GAP, _SPACE = 8.9, -3.6, 1.9, 2.4
_BOWL = "@2.05,2.5,2.05,2.5,0,360"
_S = "@2.2,5.25,1.95,1.75,35,270 @2.2,1.75,2.15,1.75,90,-145"
_P = "0,0 0,7 2.5,7 @2.5,5.1,1.9,1.9,90,-90 0,3.2"
_STROKES = {
    "A": "0,0 2.4,7 4.8,0;.85,2.3 3.95,2.3",
    "B": "0,0 0,7 2.4,7 @2.4,5.35,1.65,1.65,90,-90 0,3.7;2.5,3.7 @2.5,1.85,1.9,1.85,90,-90 0,0",
    "C": "@2.6,3.5,2.6,3.5,48,312",
    "D": "0,0 0,7 1.8,7 @1.8,3.5,3,3.5,90,-90 0,0",
    "E": "4,7 0,7 0,0 4,0;0,3.7 3.5,3.7",
    "F": "4,7 0,7 0,0;0,3.6 3.4,3.6",
    "G": "@2.6,3.5,2.6,3.5,48,352 5.2,3.3 3.1,3.3",
    "H": "0,0 0,7;4.8,0 4.8,7;0,3.6 4.8,3.6",
    "I": "0,0 0,7",
    "J": "3,7 3,1.7 @1.5,1.6,1.5,1.6,0,-165",
    "K": "0,0 0,7;4.4,7 0,2.7;1.6,4.2 4.6,0",
    "L": "0,7 0,0 3.7,0",
    "M": "0,0 0,7 2.8,2.4 5.6,7 5.6,0",
    "N": "0,0 0,7 4.8,0 4.8,7",
    "O": "@2.7,3.5,2.7,3.5,0,360",
    "P": _P,
    "Q": "@2.7,3.5,2.7,3.5,0,360;3.3,1.6 5.3,-.5",
    "R": _P + ";2.4,3.2 4.6,0",
    "S": _S,
    "T": "0,7 5,7;2.5,7 2.5,0",
    "U": "0,7 0,2.3 @2.4,2.3,2.4,2.3,180,360 4.8,7",
    "V": "0,7 2.4,0 4.8,7",
    "W": "0,7 1.7,0 3.4,6 5.1,0 6.8,7",
    "X": "0,0 4.6,7;0,7 4.6,0",
    "Y": "0,7 2.4,3.3 4.8,7;2.4,3.3 2.4,0",
    "Z": "0,7 4.4,7 0,0 4.5,0",
    "a": _BOWL + ";4.1,5 4.1,0",
    "b": "0,7.4 0,0;" + _BOWL,
    "c": "@2.1,2.5,2.1,2.5,45,315",
    "d": "4.1,7.4 4.1,0;" + _BOWL,
    "e": ".05,2.6 4.15,2.6 @2.1,2.5,2.1,2.5,3,312",
    "f": "2.8,7.3 @2.7,5.9,1.4,1.4,90,180 1.3,0;0,4.8 2.6,4.8",
    "g": _BOWL + ";4.1,5 4.1,-.4 @2.1,-.4,2,1.9,0,-150",
    "h": "0,7.4 0,0;0,2.9 @2,3,2,2,180,0 4,0",
    "i": "0,5 0,0;0,7.1 0,7.15",
    "j": "1.1,5 1.1,-.8 @-.1,-.8,1.2,1.3,0,-90;1.1,7.1 1.1,7.15",
    "k": "0,7.4 0,0;3.4,5 0,1.8;1.3,3 3.6,0",
    "l": "0,7.4 0,1 @.9,1,.9,1,180,270 1.1,0",
    "m": "0,5 0,0;0,3.2 @1.6,3.3,1.6,1.7,180,0 3.2,0;3.2,3.2 @4.8,3.3,1.6,1.7,180,0 6.4,0",
    "n": "0,5 0,0;0,2.9 @2,3,2,2,180,0 4,0",
    "o": "@2.15,2.5,2.15,2.5,0,360",
    "p": "0,5 0,-2.2;" + _BOWL,
    "q": "4.1,5 4.1,-2.2;" + _BOWL,
    "r": "0,5 0,0;0,2.9 @1.9,2.9,1.9,2.1,180,75",
    "s": "@1.75,3.75,1.55,1.25,35,270 @1.75,1.25,1.7,1.25,90,-145",
    "t": "1.2,6.6 1.2,1.3 @2.5,1.3,1.3,1.3,180,285;0,4.8 2.6,4.8",
    "u": "0,5 0,2 @2,2,2,2,180,360 4,5;4,5 4,0",
    "v": "0,5 2,0 4,5",
    "w": "0,5 1.5,0 2.9,4.4 4.3,0 5.8,5",
    "x": "0,0 3.8,5;0,5 3.8,0",
    "y": "0,5 2.05,.1;4.1,5 1.5,-1.5 .8,-2.1 0,-2.2",
    "z": "0,5 3.6,5 0,0 3.7,0",
    "0": "@2.2,3.5,2.2,3.5,0,360",
    "1": ".6,5.7 2.4,7 2.4,0;.7,0 4.1,0",
    "2": "@2.2,4.95,2.05,2.05,165,-35 .1,0 4.3,0",
    "3": "@2.1,5.3,1.8,1.7,150,-90 1.5,3.6;2,3.6 @2.1,1.8,2.1,1.8,90,-150",
    "4": "3.4,0 3.4,7 0,2 4.5,2",
    "5": "3.9,7 .7,7 .4,3.8 @2.1,2.25,2.2,2.25,135,-145",
    "6": "@2.2,2.2,2.2,2.2,0,360;3.4,7 1.3,5 .35,3.3",
    "7": "0,7 4.3,7 1.4,0",
    "8": "@2.2,5.3,1.75,1.7,0,360;@2.2,1.8,2.15,1.8,0,360",
    "9": "@2.2,4.8,2.2,2.2,0,360;4.05,3.7 3.1,2 1,0",
    "!": "0,7 0,2.2;0,.1 0,.15",
    '"': "0,7 0,5;1.8,7 1.8,5",
    "#": "1.2,.4 2,6.6;3.4,.4 4.2,6.6;.2,4.6 5.2,4.6;0,2.4 5,2.4",
    "$": _S + ";2.2,7.8 2.2,-.8",
    "%": "@1.2,5.5,1.2,1.5,0,360;@4.8,1.5,1.2,1.5,0,360;4.9,7 1.1,0",
    "&": "5,0 1.2,4.6 @2.1,5.6,1.3,1.4,215,-35 1,3.4 @1.9,1.8,1.9,1.8,135,300 3.6,1 4.8,3.2",
    "'": "0,7 0,5",
    "(": "@3,3.2,3,5.4,125,235",
    ")": "@-1.5,3.2,3,5.4,55,-55",
    "*": "1.8,7 1.8,3.4;.2,6.1 3.4,4.3;.2,4.3 3.4,6.1",
    "+": "2.1,5.2 2.1,1;0,3.1 4.2,3.1",
    ",": ".5,.2 0,-1.4",
    "-": "0,2.9 2.6,2.9",
    ".": "0,.1 0,.15",
    "/": "0,-.8 3,7.6",
    ":": "0,.2 0,.25;0,4.2 0,4.25",
    ";": ".5,.2 0,-1.4;.5,4.2 .5,4.25",
    "<": "4,5.4 0,3 4,.6",
    "=": "0,4.1 4.2,4.1;0,2 4.2,2",
    ">": "0,5.4 4,3 0,.6",
    "?": "@1.9,5.2,1.9,1.8,165,-50 1.9,2.9 1.9,2.2;1.9,.1 1.9,.15",
    "@": "@3.2,2.8,1.3,1.5,0,360;4.5,4.3 4.5,2.2 @5.3,2.3,.8,.9,180,350 @3.2,2.9,3,3.8,0,305",
    "[": "1.5,7.8 0,7.8 0,-1.4 1.5,-1.4",
    "\\": "0,7.6 3,-.8",
    "]": "0,7.8 1.5,7.8 1.5,-1.4 0,-1.4",
    "^": "0,4.4 1.8,7 3.6,4.4",
    "_": "0,-1.2 4.4,-1.2",
    "`": "0,7.4 1.2,6",
    "{": "1.9,7.8 @1.9,6.8,1,1,90,180 .9,4 0,3.2 .9,2.4 .9,-.4 @1.9,-.4,1,1,180,270",
    "|": "0,7.8 0,-1.6",
    "}": "0,7.8 @0,6.8,1,1,90,0 1,4 1.9,3.2 1,2.4 1,-.4 @0,-.4,1,1,0,-90",
    "~": "@1.1,2.7,1.1,.9,180,0 @3.3,2.7,1.1,.9,180,360",
    "…": "0,.1 0,.15;2.2,.1 2.2,.15;4.4,.1 4.4,.15",
    "·": "0,3 0,3.05",
    "×": ".3,1.2 3.9,4.8;.3,4.8 3.9,1.2",
    "–": "0,2.9 4,2.9",
}  # fmt: skip
_UNKNOWN = "0,0 0,7 3.6,7 3.6,0 0,0"
_DOTLESS = {"i": "0,5 0,0", "j": "1.1,5 1.1,-.8 @-.1,-.8,1.2,1.3,0,-90"}
# Strokes about x = 0; those above begin at y = 0, the letter's top, those below hang from its foot.
_ABOVE = {
    "\u0300": "-.9,1.5 .3,.5",
    "\u0301": "-.3,.5 .9,1.5",
    "\u0302": "-1.1,.5 0,1.5 1.1,.5",
    "\u0303": "@-.65,.9,.65,.5,180,0 @.65,.9,.65,.5,180,360",
    "\u0304": "-1.1,.9 1.1,.9",
    "\u0306": "@0,1.4,1.1,.8,180,360",
    "\u0307": "0,.9 0,.95",
    "\u0308": "-.9,.9 -.9,.95;.9,.9 .9,.95",
    "\u030a": "@0,1,.6,.6,0,360",
    "\u030b": "-.9,.5 -.1,1.5;.3,.5 1.1,1.5",
    "\u030c": "-1.1,1.5 0,.5 1.1,1.5",
}
_BELOW = {
    "\u0323": "0,-1.1 0,-1.15",
    "\u0326": ".2,-.8 -.2,-1.9",
    "\u0327": "0,0 .1,-.7 @0,-1.3,.7,.6,70,-150",
    "\u0328": "@.5,-.9,.7,.9,110,300",
}


def _points(stroke: str) -> Floats:
    """The polyline `(P, 2)` of one stroke."""
    points: list[tuple[float, float]] = []
    for token in stroke.split():
        numbers = [float(n) for n in token.lstrip("@").split(",")]
        if token[0] != "@":
            points.append((numbers[0], numbers[1]))
            continue
        cx, cy, rx, ry, begin, end = numbers
        for angle in np.radians(np.linspace(begin, end, 2 + int(abs(end - begin) // 15))):
            points.append((cx + rx * np.cos(angle), cy + ry * np.sin(angle)))
    return np.asarray(points, np.float32)


@lru_cache(maxsize=4096)
def _glyph(char: str, size: int, weight: float) -> Floats:
    """Coverage `(size, w)` in [0, 1] of one character."""
    if char.isspace():
        return np.zeros((size, round(_SPACE * size / (_TOP - _BOTTOM)) + 1), np.float32)
    lines = _lines(char)
    if lines is None and has_glyph(char):
        return _scaled(bitmap(char), size)
    return _drawn(lines or [_points(stroke) for stroke in _UNKNOWN.split(";")], size, weight)


def _lines(char: str) -> list[Floats] | None:
    """The polylines of a character drawn by code, its accents included; None for any other."""
    apart = unicodedata.normalize("NFD", char)
    base, marks = apart[0], apart[1:]
    if base not in _STROKES or any(mark not in _ABOVE and mark not in _BELOW for mark in marks):
        return None
    above = sum(mark in _ABOVE for mark in marks)
    if above > 1:  # they would lie on each other
        return None
    letter = _DOTLESS[base] if above and base in _DOTLESS else _STROKES[base]
    lines = [_points(stroke) for stroke in letter.split(";")]
    xs = np.concatenate([line[:, 0] for line in lines])
    middle, top = (xs.min() + xs.max()) / 2, max(line[:, 1].max() for line in lines)
    for mark in marks:
        strokes, height = (_ABOVE[mark], top) if mark in _ABOVE else (_BELOW[mark], 0.0)
        # Above a capital there is less room than above a small letter.
        squeeze = 0.7 if mark in _ABOVE and top > 6 else 1.0
        for stroke in strokes.split(";"):
            points = _points(stroke) * np.array((1, squeeze), np.float32)
            lines.append(points + np.array((middle, height), np.float32))
    return lines


def _drawn(lines: list[Floats], size: int, weight: float) -> Floats:
    left = min(line[:, 0].min() for line in lines)
    unit = size / (_TOP - _BOTTOM)
    width = round((max(line[:, 0].max() for line in lines) - left + _GAP) * unit)
    rows, columns = np.mgrid[0:size, 0 : max(width, 1)]
    pixels = np.stack([columns + 0.5, rows + 0.5], -1).reshape(-1, 1, 2)
    starts, ends = (
        (np.concatenate(part) - (left - _GAP / 2, 0)) * (unit, -unit) + (0, _TOP * unit)
        for part in ([line[:-1] for line in lines], [line[1:] for line in lines])
    )
    along = ends - starts
    length2 = np.maximum((along**2).sum(-1), 1e-9)
    share = np.clip(((pixels - starts) * along).sum(-1) / length2, 0, 1)
    distance = np.linalg.norm(pixels - (starts + share[..., None] * along), axis=-1).min(1)
    coverage = np.clip(max(weight * unit / 2, 0.5) + 0.5 - distance, 0, 1)
    return np.asarray(coverage.reshape(size, -1), np.float32)


def _scaled(pixels: npt.NDArray[np.bool_], size: int) -> Floats:
    """A bitmap `(16, w)` at `size` pixels high. Narrow letters stand on the line of those drawn by
    code, and are as high; ideographs fill the line."""
    narrow = pixels.shape[1] == ROWS // 2
    step = size * (0.9 if narrow else 1.0) / ROWS
    shift = _TOP / (_TOP - _BOTTOM) * size - BASELINE * step if narrow else 0.0
    down = _shares(ROWS, step, shift, size)
    across = _shares(pixels.shape[1], step, 0.0, max(1, round(pixels.shape[1] * step)))
    return np.asarray(np.clip(down @ pixels @ across.T, 0, 1), np.float32)


def _shares(cells: int, step: float, shift: float, size: int) -> Floats:
    """How much of each of `size` pixels each of `cells` covers `(size, cells)`, cell i reaching
    from `shift + i·step` to `shift + (i + 1)·step`."""
    edges = shift + step * np.arange(cells + 1)
    pixel = np.arange(size)[:, None]
    low, high = np.maximum(edges[:-1], pixel), np.minimum(edges[1:], pixel + 1)
    return np.asarray(np.clip(high - low, 0, None), np.float32)


def drawable(text: str) -> bool:
    """Whether every character of `text` has a letter here."""
    return all(c.isspace() or has_glyph(c) or _lines(c) is not None for c in visual(text))


def text_mask(text: str, size: int, *, weight: float = 1.1) -> Floats:
    """Coverage `(size, width)` in [0, 1] of one line of text, `size` pixels high in all.

    `weight` is the stroke's width in grid units (a capital is 7 high). Control characters are
    dropped, and a character that has no letter here (`drawable`) is drawn as an empty box.
    """
    parts: list[Floats] = []
    for char in visual(text):
        mask = _glyph(char, size, weight)
        if parts and unicodedata.category(char) == "Mn":
            parts[-1] = _on(parts[-1], mask)
        else:
            parts.append(mask)
    return np.concatenate(parts, axis=1) if parts else np.zeros((size, 0), np.float32)


def _on(letter: Floats, mark: Floats) -> Floats:
    """A mark laid over its letter, both centred."""
    width = max(letter.shape[1], mark.shape[1])
    both = np.zeros((letter.shape[0], width), np.float32)
    for mask in (letter, mark):
        left = (width - mask.shape[1]) // 2
        own = both[:, left : left + mask.shape[1]]
        np.maximum(own, mask, out=own)
    return both
