"""Letters of the world's scripts as bitmaps: `glyphs.bin`, packed from GNU Unifont by
`scripts/pack_glyphs.py` (SIL Open Font License 1.1, see `glyphs.LICENSE`)."""

from __future__ import annotations

import zlib
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAGIC = b"TBLGLYPH1"
ROWS = 16
BASELINE = 14
"""Rows of a letter, and how many of them are above the line that it stands on."""


class _Glyphs(NamedTuple):
    codes: npt.NDArray[np.uint32]
    wide: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.uint16]


@lru_cache(maxsize=1)
def _glyphs() -> _Glyphs:
    data = files("tubelet.drawing").joinpath("glyphs.bin").read_bytes()
    count = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    body = zlib.decompress(data[len(MAGIC) + 4 :])
    codes = np.frombuffer(body, "<u4", count)
    wide = np.frombuffer(body, "u1", count, offset=4 * count)
    rows = np.frombuffer(body, "<u2", ROWS * count, offset=5 * count).reshape(ROWS, count)
    return _Glyphs(codes, wide, rows)


def has_glyph(char: str) -> bool:
    """Whether `bitmap` knows the character."""
    return _place(char) is not None


def bitmap(char: str) -> npt.NDArray[np.bool_]:
    """The character as pixels `(16, 8 or 16)`. Raises KeyError for one that is not there."""
    place = _place(char)
    if place is None:
        raise KeyError(char)
    rows = _glyphs().rows[:, place].astype(">u2").view(np.uint8).reshape(ROWS, 2)
    pixels = np.unpackbits(rows, axis=1).astype(np.bool_)
    return pixels if _glyphs().wide[place] else pixels[:, :8]


def _place(char: str) -> int | None:
    codes = _glyphs().codes
    at = int(np.searchsorted(codes, ord(char)))
    return at if at < len(codes) and codes[at] == ord(char) else None
