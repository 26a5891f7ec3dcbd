"""From a world to pixels, in NumPy: antialiased capsules, boxes and ellipses by distance.

Shape legend: a canvas is float32 `(3, H, W)` in 0…255, planar so that a coverage `(h, w)`
multiplies it without copies; P parts of a figure. A figure is drawn in one pass over its window:
the coverage of all parts at once, then front-to-back weights, then one small matrix product.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tubelet.playground.actions import Array
from tubelet.playground.figures import Parts
from tubelet.playground.scenery import MARGIN, backdrop, shape_cover
from tubelet.playground.world import PlaygroundConfig, PlaygroundWorld, Thing

Canvas = npt.NDArray[np.float32]
_LIGHT_XY = (-0.45, -0.55)
"""Towards the light on the screen: left and up."""
_ONE_PASS = 400_000
"""Largest parts × pixels drawn at once; a bigger figure is drawn part by part in its own window,
far to near, which gives the same picture."""


def draw_parts(
    canvas: Canvas, ends: Array, radii: Array, near: Array, colours: Array, opacity: Array
) -> None:
    """Draw capsules onto `canvas`: `ends (2, P, 2)` px, `radii (P, 2)` px, `colours` 0…255.

    Parts are composited exactly in order of `near`; those thinner than 0.7 px are left out.
    """
    _, height, width = canvas.shape
    reach = radii.T[..., None] + 1.0
    low, high = (ends - reach).min(axis=0), (ends + reach).max(axis=0)
    shown = (
        (radii.max(axis=1) > 0.35) & (high > 0).all(axis=1)
        & (low[:, 0] < width) & (low[:, 1] < height)
    )  # fmt: skip
    if not shown.any():
        return
    pick = np.flatnonzero(shown)[np.argsort(-near[shown], kind="stable")]
    x0, y0 = np.maximum(low[pick].min(axis=0), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high[pick].max(axis=0)), (width, height)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    if len(pick) > 1 and len(pick) * (y1 - y0) * (x1 - x0) > _ONE_PASS:
        for part in pick[::-1, None]:
            draw_parts(canvas, ends[:, part], radii[part], near[part], colours[part], opacity[part])
        return
    cover, shade = _coverage(
        ends[:, pick].astype(np.float32), radii[pick].astype(np.float32),
        _centres(x0, x1), _centres(y0, y1),
    )  # fmt: skip
    cover *= opacity[pick].astype(np.float32)[:, None, None]
    left = np.ones(cover.shape[1:], np.float32)
    for part in cover:
        part *= left
        left -= part
    shade *= cover
    flat = colours[pick].T.astype(np.float32) @ shade.reshape(len(pick), -1)
    window = canvas[:, y0:y1, x0:x1]
    window *= left
    window += flat.reshape(window.shape)


def _centres(start: int, stop: int) -> Canvas:
    return np.arange(start, stop, dtype=np.float32) + np.float32(0.5)


def _coverage(ends: Canvas, radii: Canvas, xs: Canvas, ys: Canvas) -> tuple[Canvas, Canvas]:
    """Coverage in [0, 1] and shading factor `(P, h, w)` of capsules on the pixel centres given."""
    a, along = ends[0], ends[1] - ends[0]
    length2 = np.maximum((along**2).sum(axis=1), np.float32(1e-6))[:, None]
    dx, dy = xs[None] - a[:, :1], ys[None] - a[:, 1:]
    t = (dx * along[:, :1] / length2)[:, None, :] + (dy * along[:, 1:] / length2)[:, :, None]
    np.clip(t, 0, 1, out=t)
    ex = dx[:, None, :] - t * along[:, 0, None, None]
    ey = dy[:, :, None] - t * along[:, 1, None, None]
    away = ex * ex
    away += ey * ey
    np.sqrt(away, out=away)
    t *= (radii[:, 1] - radii[:, 0])[:, None, None]
    t += radii[:, 0, None, None] + np.float32(0.5)
    np.subtract(t, away, out=away)
    np.clip(away, 0, 1, out=away)
    slope = np.float32(0.34) / np.maximum(radii.mean(axis=1), np.float32(0.5))
    ex *= (np.float32(_LIGHT_XY[0]) * slope)[:, None, None]
    ey *= (np.float32(_LIGHT_XY[1]) * slope)[:, None, None]
    ex += ey
    ex += np.float32(0.94)
    return away, ex


def draw_thing(canvas: Canvas, thing: Thing, centre: Array, half: Array) -> None:
    """Draw a box or an ellipse at `centre` with half sizes `half`, in pixels."""
    found = shape_cover(canvas.shape[1:], centre, half, thing.ellipse)
    if found is None:
        return
    ys, xs, cover = found
    window = canvas[:, ys, xs]
    colour = (255 * np.array(thing.colour, np.float32))[:, None, None]
    window += (cover * np.float32(thing.opacity)) * (colour - window)


class Renderer:
    """Draws any frame of one world; what frames share (backdrop, light, noise) is made once."""

    def __init__(self, world: PlaygroundWorld) -> None:
        self.world = world
        config = world.config
        rng = np.random.Generator(np.random.PCG64(world.scenery_seed))
        self._backdrop = backdrop(rng, config)
        self._light, self._flicker = _lighting(rng, config)
        self._noise = np.float32(rng.uniform(0.5, 1.5) * 5.0 * config.noise)
        self._offsets = rng.integers(0, _NOISE_SLACK, (config.frame_count, 2))

    def frames(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Frames `(T, H, W, 3)` u8 RGB at `indices`, each between 0 and the last frame."""
        wanted = np.asarray(indices, np.int64)
        config = self.world.config
        unique, inverse = np.unique(wanted, return_inverse=True)
        times = config.times_ms(unique) / 1000
        figures = [self._on_screen(a.parts(times), times) for a in self.world.actors]
        behind = [self._placed(thing, times) for thing in self.world.movers]
        before = [self._placed(thing, times) for thing in self.world.front]
        out = np.empty((len(unique), config.height, config.width, 3), np.uint8)
        for i, index in enumerate(unique):
            canvas = self._background(times[i])
            for thing, centre, half in behind:
                draw_thing(canvas, thing, centre[i], half[i])
            for parts, ends, scale in figures:
                radii, colours = parts.radii * scale[i], 255 * parts.colours
                draw_parts(canvas, ends[:, i], radii, parts.near[i], colours, parts.opacity)
            for thing, centre, half in before:
                draw_thing(canvas, thing, centre[i], half[i])
            out[i] = self._finish(canvas, int(index), float(times[i])).transpose(1, 2, 0)
        return out[inverse]

    def _on_screen(self, parts: Parts, times: Array) -> tuple[Parts, Array, Array]:
        """The parts with their ends in pixels `(2, T, P, 2)` and the scale `(T,)` of radii."""
        world = self.world
        ends = np.stack([world.project(parts.a, times), world.project(parts.b, times)])
        return parts, ends, world.camera.view(times)[2] * world.config.height

    def _placed(self, thing: Thing, times: Array) -> tuple[Thing, Array, Array]:
        """The thing with its centres and half sizes `(T, 2)` in pixels."""
        world = self.world
        centres = world.project(np.stack(thing.at(times), axis=1), times)
        scale = world.camera.view(times)[2] * world.config.height
        return thing, centres, scale[:, None] * np.array(thing.half)

    def _background(self, time_s: float) -> Canvas:
        """The backdrop through the camera: bilinear, rows then columns."""
        config = self.world.config
        (x,), (y,), (zoom,) = self.world.camera.view(np.array([time_s]))
        h, w = config.height, config.width
        rows = ((np.arange(h) + 0.5) / h - 0.5) / zoom + y + MARGIN
        cols = ((np.arange(w) + 0.5) / h - config.aspect / 2) / zoom + x + MARGIN
        image = self._backdrop
        low, part = _taps(rows * h - 0.5, image.shape[1])
        mixed = image[:, low]
        mixed += part[:, None] * (image[:, low + 1] - mixed)
        low, part = _taps(cols * h - 0.5, image.shape[2])
        left = mixed.take(low, axis=2)
        right = mixed.take(low + 1, axis=2)
        right -= left
        right *= part
        left += right
        return left

    def _finish(self, canvas: Canvas, index: int, time_s: float) -> npt.NDArray[np.uint8]:
        """Light, sensor noise, and rounding to u8."""
        size, hertz, phase = self._flicker
        gain = np.float32(1 + size * np.sin(2 * np.pi * (hertz * time_s + phase)))
        canvas *= self._light
        canvas *= gain
        dy, dx = self._offsets[index]
        _, h, w = canvas.shape
        canvas += self._noise * _noise_tile(h, w)[:, dy : dy + h, dx : dx + w]
        np.clip(canvas, 0, 255, out=canvas)
        return canvas.astype(np.uint8)


_NOISE_SLACK = 24


@lru_cache(maxsize=8)
def _noise_tile(height: int, width: int) -> Canvas:
    """Unit noise, a little larger than a frame: frames read it at random offsets."""
    rng = np.random.Generator(np.random.PCG64(20))
    shape = (3, height + _NOISE_SLACK, width + _NOISE_SLACK)
    grey = rng.standard_normal((1, *shape[1:]), np.float32)
    return 0.8 * grey + 0.6 * rng.standard_normal(shape, np.float32)


def _taps(at: Array, size: int) -> tuple[npt.NDArray[np.int64], Canvas]:
    """Left neighbours and weights of the right ones for linear interpolation."""
    at = np.clip(at, 0, size - 1.001)
    low = at.astype(np.int64)
    return low, (at - low).astype(np.float32)


def _lighting(
    rng: np.random.Generator, config: PlaygroundConfig
) -> tuple[Canvas, tuple[float, float, float]]:
    """A still map of light `(3, H, W)` and the (amplitude, Hz, phase) of its flicker."""
    k = config.lighting
    ys = np.linspace(-1, 1, config.height, dtype=np.float32)[:, None]
    xs = np.linspace(-1, 1, config.width, dtype=np.float32)[None]
    tilt_x, tilt_y = rng.uniform(-0.16, 0.16, 2) * k
    level = 1 + rng.uniform(-0.20, 0.14) * k
    light = level * (1 + tilt_x * xs + tilt_y * ys - 0.07 * k * (xs**2 + ys**2))
    tint = 1 + rng.uniform(-0.07, 0.07, 3) * k
    wave = (float(rng.uniform(0, 0.05) * k), float(rng.uniform(0.1, 2.0)), float(rng.random()))
    return (light[None] * tint[:, None, None]).astype(np.float32), wave


__all__ = ["Renderer", "draw_parts"]
