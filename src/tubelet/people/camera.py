"""How the camera moved between two frames, by phase correlation of small grey pictures.

Kuglin and Hines, 1975: the cross-power spectrum of two pictures that differ by a shift has a peak
at that shift.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tubelet.people.detectors.base import Image

Grey = npt.NDArray[np.float32]
SIDE = 128  # of the grey picture: a shift is found to a third of its pixels
LEAST_PEAK = 6.0  # in standard deviations of the correlation; lower ones are chance


def grey(image: Image) -> Grey:
    """The picture u8 `(H, W, 3)` as `SIDE` × `SIDE` grey levels, each a mean of its cell."""
    small: npt.NDArray[np.floating] = image[:, :, 1].astype(
        np.float32
    )  # green is most of what grey is
    for axis in (0, 1):
        edges = np.linspace(0, small.shape[axis], SIDE + 1).astype(int)[:-1]
        widths = np.diff([*edges, small.shape[axis]])
        if (widths < 1).any():  # a picture smaller than SIDE
            place = np.minimum(np.arange(SIDE) * small.shape[axis] // SIDE, small.shape[axis] - 1)
            small = np.take(small, place, axis)
            continue
        shape = [1, 1]
        shape[axis] = -1
        small = np.add.reduceat(small, edges, axis) / widths.reshape(shape)
    return np.asarray(small, np.float32)


def shift(before: Grey, after: Grey) -> tuple[float, float]:
    """How far what `before` shows has moved in `after`: (x, y) in shares of the picture's sides;
    zeros where that cannot be told, and where the pictures agree no better once shifted: in a
    poor picture the highest peak is often that of a person or of a pattern."""
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    spectra = [np.fft.rfft2((g - g.mean()) * window) for g in (before, after)]
    cross = spectra[1] * np.conj(spectra[0])
    size = np.abs(cross)
    if size.max() < 1e-6:
        return 0.0, 0.0
    plane = np.fft.irfft2(cross / np.maximum(size, 1e-6), s=(SIDE, SIDE))
    y, x = np.unravel_index(int(plane.argmax()), plane.shape)
    if plane[y, x] < LEAST_PEAK * plane.std():
        return 0.0, 0.0
    fine = [
        _fine(plane[(y + np.arange(-1, 2)) % SIDE, x]),
        _fine(plane[y, (x + np.arange(-1, 2)) % SIDE]),
    ]
    dy, dx = ((p + SIDE // 2) % SIDE - SIDE // 2 + f for p, f in zip((y, x), fine, strict=True))
    right, down = float(dx), float(dy)
    if _difference(before, after, round(right), round(down)) > _difference(before, after, 0, 0):
        return 0.0, 0.0
    return right / SIDE, down / SIDE


def _difference(before: Grey, after: Grey, x: int, y: int) -> float:
    """The median difference in grey levels where both overlap, with `before` moved by (x, y)."""
    moved = after[max(0, y) : SIDE + min(0, y), max(0, x) : SIDE + min(0, x)]
    still = before[max(0, -y) : SIDE + min(0, -y), max(0, -x) : SIDE + min(0, -x)]
    return float(np.median(np.abs(moved - still)))


def _fine(peak: npt.NDArray[np.floating]) -> float:
    """Where between three values their parabola has its top, from −0.5 to 0.5 of a step."""
    left, middle, right = (float(v) for v in peak)
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip((left - right) / (2 * bend), -0.5, 0.5))
