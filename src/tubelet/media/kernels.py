"""Resizing as upstream projects do it, after the decoder: their arithmetic, down to the rounding.

Legend: (H, W) of the picture, (h, w) of the result. Both kernels are bilinear at pixel centres and
read two pixels each way however much they shrink, so they alias where swscale does not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tubelet.types import Floats, Ints, Kernel, Pixels

_Image = npt.NDArray[np.uint8]
# OpenCV's weights are whole 2048ths.
_CV2_ONE = 2048


def resample(image: _Image, hw: tuple[int, int], kernel: Kernel) -> Pixels:
    """A picture u8 `(H, W, 3)` at another size `(h, w, 3)`: bytes by the kernel "cv2", grey levels
    with their fractions by "torch" ("swscale" belongs to the decoder)."""
    if image.shape[:2] == hw:
        return image if kernel == "cv2" else image.astype(np.float32)
    return _like_cv2(image, hw) if kernel == "cv2" else _like_torch(image, hw)


class _Taps(NamedTuple):
    """For each output pixel the two of the picture that it mixes, and the second one's weight."""

    first: Ints
    second: Ints
    weight: npt.NDArray[np.float32]


@lru_cache(maxsize=64)
def _taps(size: int, out: int, kernel: Kernel, *, across: bool) -> _Taps:
    places = np.arange(out) + 0.5
    if kernel == "torch":  # in single precision from the start, nothing before the first pixel
        scale = np.float32(size) / np.float32(out)
        centre = np.maximum(places.astype(np.float32) * scale - np.float32(0.5), np.float32(0))
    else:
        centre = (places * (size / out) - 0.5).astype(np.float32)
    low = np.floor(centre)
    weight, first = centre - low, low.astype(np.int64)
    if across:  # OpenCV does not mix beyond the sides, but above and below it mixes one row twice
        weight[(first < 0) | (first >= size - 1)] = 0
    return _Taps(np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1), weight)


def _like_cv2(image: _Image, hw: tuple[int, int]) -> _Image:
    """`cv2.resize(…, INTER_LINEAR)` on bytes: two passes of integers, 11 bits per weight."""
    top, bottom, down = _taps(image.shape[0], hw[0], "cv2", across=False)
    left, right, across = _taps(image.shape[1], hw[1], "cv2", across=True)
    rows = np.unique(np.concatenate([top, bottom]))
    picture = image[rows].astype(np.int32)
    x1 = np.rint(across * _CV2_ONE).astype(np.int32)[:, None]
    x0 = np.rint((1 - across) * _CV2_ONE).astype(np.int32)[:, None]
    # The second pass drops four bits of the first, as the vector code does on every processor.
    mixed = (picture[:, left] * x0 + picture[:, right] * x1) >> 4
    y1 = np.rint(down * _CV2_ONE).astype(np.int32)[:, None, None]
    y0 = np.rint((1 - down) * _CV2_ONE).astype(np.int32)[:, None, None]
    above = (mixed[np.searchsorted(rows, top)] * y0) >> 16
    below = (mixed[np.searchsorted(rows, bottom)] * y1) >> 16
    return np.asarray(np.clip((above + below + 2) >> 2, 0, 255), np.uint8)


def _like_torch(image: _Image, hw: tuple[int, int]) -> Floats:
    """`interpolate(mode="bilinear", align_corners=False, antialias=False)` of float levels."""
    top, bottom, down = _taps(image.shape[0], hw[0], "torch", across=False)
    left, right, across = _taps(image.shape[1], hw[1], "torch", across=True)
    rows = np.unique(np.concatenate([top, bottom]))
    picture = image[rows].astype(np.float32)
    x1, y1 = across[:, None], down[:, None, None]
    mixed = picture[:, left] * (1 - x1) + picture[:, right] * x1
    above, below = mixed[np.searchsorted(rows, top)], mixed[np.searchsorted(rows, bottom)]
    return np.asarray(above * (1 - y1) + below * y1, np.float32)
