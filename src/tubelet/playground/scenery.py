"""The still background of a clip: a room, a park or a street, textured and cluttered.

A backdrop is float32 `(3, H', W')` in 0…255, larger than the frame by `MARGIN` frame heights on
every side, so that the camera can move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tubelet.playground.actions import Array
from tubelet.playground.world import PlaygroundConfig

MARGIN = 0.22
SETTINGS = ("room", "park", "street")
_Canvas = npt.NDArray[np.float32]
_RGB = tuple[float, float, float]


def shape_cover(
    hw: tuple[int, ...],
    centre: Sequence[float] | Array,
    half: Sequence[float] | Array,
    ellipse: bool,
) -> tuple[slice, slice, _Canvas] | None:
    """Row slice, column slice and coverage of a box or ellipse (pixels); None if off the canvas."""
    (cx, cy), (hx, hy) = centre, half
    x0, x1 = max(int(cx - hx - 1), 0), min(int(np.ceil(cx + hx + 1)), hw[1])
    y0, y1 = max(int(cy - hy - 1), 0), min(int(np.ceil(cy + hy + 1)), hw[0])
    if x1 <= x0 or y1 <= y0:
        return None
    dx = np.abs(np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - cx))
    dy = np.abs(np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - cy))
    if ellipse:
        radius = np.sqrt((dx / np.float32(hx))[None] ** 2 + (dy / np.float32(hy))[:, None] ** 2)
        cover = np.clip((1 - radius) * np.float32(min(hx, hy)) + np.float32(0.5), 0, 1)
    else:
        across = np.clip(np.float32(hx + 0.5) - dx, 0, 1)
        down = np.clip(np.float32(hy + 0.5) - dy, 0, 1)
        cover = down[:, None] * across[None]
    return slice(y0, y1), slice(x0, x1), cover


class _Painter:
    """A canvas with frame-height coordinates."""

    def __init__(self, config: PlaygroundConfig) -> None:
        self.unit = config.height
        self.aspect = config.aspect
        size = (round((1 + 2 * MARGIN) * self.unit), round((self.aspect + 2 * MARGIN) * self.unit))
        self.canvas = np.zeros((3, *size), np.float32)

    def put(
        self, x: float, y: float, half_x: float, half_y: float, colour: _RGB,
        *, ellipse: bool = False, opacity: float = 1.0,
    ) -> None:  # fmt: skip
        u = self.unit
        found = shape_cover(
            self.canvas.shape[1:], ((x + MARGIN) * u, (y + MARGIN) * u),
            (half_x * u, half_y * u), ellipse,
        )  # fmt: skip
        if found is not None:
            ys, xs, cover = found
            window = self.canvas[:, ys, xs]
            paint = (255 * np.array(colour, np.float32))[:, None, None]
            window += (np.float32(opacity) * cover) * (paint - window)

    def gradient(self, top_y: float, bottom_y: float, top: _RGB, bottom: _RGB) -> None:
        """Fill the rows from `top_y` to `bottom_y` from colour `top` to colour `bottom`."""
        y0, y1 = (round((y + MARGIN) * self.unit) for y in (top_y, bottom_y))
        mix = np.linspace(0, 1, max(y1 - y0, 1), dtype=np.float32)[None, :, None]
        first, last = (255 * np.array(c, np.float32)[:, None, None] for c in (top, bottom))
        self.canvas[:, y0:y1] = first + mix * (last - first)


def _tone(rng: np.random.Generator, colour: _RGB, spread: float = 0.12) -> _RGB:
    shift = rng.uniform(-0.8, 0.8) * spread + rng.normal(0, 0.3 * spread, 3)
    r, g, b = np.clip(np.array(colour) + shift, 0.04, 1.0)
    return float(r), float(g), float(b)


def backdrop(rng: np.random.Generator, config: PlaygroundConfig) -> _Canvas:
    """A background drawn by `rng`; how full it is follows `config.clutter`."""
    painter = _Painter(config)
    setting = SETTINGS[rng.integers(len(SETTINGS))]
    {"room": _room, "park": _park, "street": _street}[setting](rng, painter, config.clutter)
    texture = _texture(rng, painter.canvas.shape[1:], painter.unit)
    painter.canvas *= 1 + np.float32(0.13 * min(config.clutter, 1.5)) * texture
    return np.clip(painter.canvas, 0, 255)


def _count(rng: np.random.Generator, mean: float, most: int = 12) -> int:
    return min(int(rng.poisson(mean)), most)


def _room(rng: np.random.Generator, p: _Painter, clutter: float) -> None:
    wall = _tone(rng, (0.70, 0.66, 0.58), 0.3)
    line = float(rng.uniform(0.64, 0.74))
    shade: _RGB = tuple(0.85 * c for c in wall)  # type: ignore[assignment]
    p.gradient(-MARGIN, line, wall, shade)
    floor = _tone(rng, (0.50, 0.37, 0.26), 0.25)
    p.gradient(line, 1 + MARGIN, floor, _tone(rng, floor, 0.1))
    p.put(p.aspect / 2, line, p.aspect, 0.014, _tone(rng, (0.9, 0.88, 0.84)))
    for _ in range(_count(rng, 3.0 * clutter)):
        x, y = rng.uniform(-0.1, p.aspect + 0.1), rng.uniform(0.0, 0.45)
        w, h = rng.uniform(0.06, 0.16), rng.uniform(0.06, 0.15)
        p.put(x, y, w + 0.015, h + 0.015, _tone(rng, (0.35, 0.25, 0.18), 0.4))
        p.put(x, y, w, h, _tone(rng, (0.6, 0.7, 0.8), 0.7))
        if rng.random() < 0.5:
            p.put(x, y, 0.006, h, (0.9, 0.9, 0.88))
            p.put(x, y, w, 0.006, (0.9, 0.9, 0.88))
    for _ in range(_count(rng, 1.6 * clutter)):
        x, w, h = rng.uniform(0, p.aspect), rng.uniform(0.06, 0.2), rng.uniform(0.08, 0.28)
        wood = _tone(rng, (0.45, 0.32, 0.22), 0.35)
        p.put(x, line - h + 0.05, w, h, wood)
        for k in range(int(h / 0.07)):
            dark: _RGB = tuple(0.7 * c for c in wood)  # type: ignore[assignment]
            p.put(x, line + 0.01 - 0.14 * k, 0.9 * w, 0.008, dark)


def _park(rng: np.random.Generator, p: _Painter, clutter: float) -> None:
    line = float(rng.uniform(0.55, 0.70))
    p.gradient(-MARGIN, line, _tone(rng, (0.45, 0.65, 0.90)), _tone(rng, (0.80, 0.88, 0.95)))
    for _ in range(_count(rng, 2.0 * clutter)):
        x, y = rng.uniform(0, p.aspect), rng.uniform(-0.1, 0.25)
        for _ in range(4):
            p.put(
                x + rng.normal(0, 0.08),
                y + rng.normal(0, 0.015),
                rng.uniform(0.05, 0.12),
                rng.uniform(0.02, 0.05),
                (0.97, 0.97, 0.98),
                ellipse=True,
                opacity=0.7,
            )
    for _ in range(3):
        p.put(rng.uniform(0, p.aspect), line + 0.03, rng.uniform(0.3, 0.7), rng.uniform(0.08, 0.25),
              _tone(rng, (0.36, 0.52, 0.38), 0.15), ellipse=True)  # fmt: skip
    p.gradient(line, 1 + MARGIN, _tone(rng, (0.42, 0.58, 0.30)), _tone(rng, (0.30, 0.46, 0.20)))
    for _ in range(_count(rng, 2.6 * clutter)):
        x, size = rng.uniform(-0.1, p.aspect + 0.1), rng.uniform(0.8, 1.4)
        p.put(x, line - 0.08 * size, 0.018 * size, 0.14 * size, _tone(rng, (0.35, 0.25, 0.16)))
        leaf = _tone(rng, (0.20, 0.42, 0.18), 0.2)
        for _ in range(5):
            p.put(x + rng.normal(0, 0.05) * size, line - size * rng.uniform(0.22, 0.36),
                  rng.uniform(0.05, 0.1) * size, rng.uniform(0.04, 0.09) * size,
                  _tone(rng, leaf, 0.08), ellipse=True)  # fmt: skip


def _street(rng: np.random.Generator, p: _Painter, clutter: float) -> None:
    line = float(rng.uniform(0.66, 0.76))
    p.gradient(-MARGIN, line, _tone(rng, (0.62, 0.72, 0.85)), _tone(rng, (0.85, 0.86, 0.86)))
    x = -MARGIN
    while x < p.aspect + MARGIN:
        half, top = rng.uniform(0.14, 0.3), rng.uniform(-0.2, 0.3)
        wall = _tone(rng, (0.62, 0.52, 0.46), 0.4)
        p.put(x + half, (top + line) / 2, half, (line - top) / 2, wall)
        if clutter > 0:
            pane = _tone(rng, (0.30, 0.36, 0.44), 0.3)
            for wx in np.arange(x + 0.06, x + 2 * half - 0.03, 0.11):
                for wy in np.arange(top + 0.07, line - 0.1, 0.14):
                    p.put(wx, wy, 0.03, 0.042, pane)
        x += 2 * half
    p.gradient(line, 1 + MARGIN, _tone(rng, (0.55, 0.54, 0.52)), _tone(rng, (0.40, 0.40, 0.41)))
    p.put(p.aspect / 2, line + 0.012, p.aspect, 0.012, _tone(rng, (0.72, 0.71, 0.68)))
    for k in range(-1, 5):
        p.put(0.45 * k + rng.uniform(0, 0.1), line + 0.16, 0.09, 0.008, (0.86, 0.86, 0.80))


def _texture(rng: np.random.Generator, hw: tuple[int, ...], unit: int) -> _Canvas:
    """Smooth noise of three grain sizes `(H', W')`, about ±1."""
    total = np.zeros(hw, np.float32)
    for cells, weight in ((5, 0.5), (14, 0.3), (40, 0.35)):
        step = unit / cells
        grid = rng.uniform(-1, 1, (int(hw[0] / step) + 2, int(hw[1] / step) + 2)).astype(np.float32)
        rows, cols = _blend(hw[0], step, grid.shape[0]), _blend(hw[1], step, grid.shape[1])
        total += np.float32(weight) * (rows @ grid @ cols.T)
    return total


def _blend(count: int, step: float, cells: int) -> _Canvas:
    """Linear interpolation from `cells` grid values to `count` pixels, as a matrix."""
    at = np.arange(count) / step
    low = at.astype(np.int64)
    weights = np.zeros((count, cells), np.float32)
    part = (at - low).astype(np.float32)
    weights[np.arange(count), low] = 1 - part
    weights[np.arange(count), low + 1] = part
    return weights
