"""Little figures of six limbs: the worlds in which the claims of 000, 001 and 002 can be tried.

A figure is a trunk, a head, two arms and two legs, a few pixels wide, before a blotched background
with bars strewn over it, in 40-pixel-high pictures. What it does is in the angles of its arms and
legs, which are drawn with noise, in any colours, at any place and size; so a network has to be
trained to name it, and can be trained in seconds. Everything is drawn once for each seed and kept
as bytes.

Shape legend: T frames, (H, W) pixels, S segments, P people of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats64 = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
DOWN, SIDE, UP = 25.0, 90.0, 155.0
"""Angles of an arm from hanging down, in degrees."""


@dataclass(slots=True, kw_only=True)
class Figure:
    """`arms (T, 2)`: angles in degrees, left and right. `legs (T,)`: half the angle between them.
    `x (T,)`: the middle, and `ground` the feet, in pixels; `height`: of the standing figure.
    `colour (3,)`, of the limbs, in [0, 1]."""

    x: Floats64
    ground: float
    height: float
    arms: Floats64
    legs: Floats64
    colour: Floats64

    def segments(self) -> tuple[Floats64, Floats64]:
        """Ends of the limbs `(T, S, 2, 2)`, xy in pixels, and their half widths `(S,)`."""
        frames, h = len(self.x), self.height
        arms, legs = np.deg2rad(self.arms), np.deg2rad(self.legs)
        zero = np.zeros(frames)
        shoulder, hip, arm, leg = -0.70 * h, -0.42 * h, 0.34 * h, 0.42 * h
        head = -0.88 * h
        pairs = [((zero, zero + shoulder), (zero, zero + hip)), ((zero, zero + head),) * 2]
        for side, number in ((-1, 0), (1, 1)):
            begin = (zero + side * 0.08 * h, zero + shoulder)
            reach = np.sin(arms[:, number]), np.cos(arms[:, number])
            pairs.append((begin, (begin[0] + side * arm * reach[0], begin[1] + arm * reach[1])))
            foot = (side * leg * np.sin(legs), hip + leg * np.cos(legs))
            pairs.append(((zero, zero + hip), foot))
        ends = np.stack([np.stack([np.stack(p, -1) for p in pair], 1) for pair in pairs], 1)
        ends = ends + np.stack([self.x, zero + self.ground], -1)[:, None, None]
        thin = max(0.6, 0.035 * h)
        return ends, np.array([0.075 * h, 0.10 * h, thin, thin, thin, thin])

    def box(self, frame: int, hw: tuple[int, int]) -> Floats64:
        """The standing figure's box at a frame, as an annotator draws it, xyxy in [0, 1]: wide
        enough for an arm on either side, whatever the arms do."""
        h, (height, width) = self.height, hw
        x, y = float(self.x[frame]), self.ground
        box = np.array([x - 0.38 * h, y - 1.04 * h, x + 0.38 * h, y + 0.03 * h])
        return np.asarray(np.clip(box / np.array([width, height, width, height]), 0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a world looks. `blotches`: contrast of the background. `bars`: how many things of the
    figures' own kind are strewn over it. `noise`: standard deviation of a pixel, of 255 levels.
    `inverted`: dark figures before a light background."""

    blotches: float = 0.5
    bars: tuple[int, int] = (0, 2)
    noise: float = 8.0
    inverted: bool = False


PLAIN = Look()


class Thing(NamedTuple):
    """Segments of one colour: ends `(S, 2, 2)`, xy in pixels, half widths `(S,)`."""

    ends: Floats64
    half: Floats64
    colour: Floats64


@dataclass(slots=True, kw_only=True)
class Scene:
    """A clip before it is drawn. `behind` and `before` the people, things that do not move."""

    people: list[Figure]
    frames: int
    hw: tuple[int, int]
    look: Look = field(default_factory=Look)
    behind: list[Thing] = field(default_factory=list)
    before: list[Thing] = field(default_factory=list)


def draw(scene: Scene, rng: np.random.Generator) -> Bytes:
    """A scene as frames u8 `(T, H, W, 3)`."""
    picture = _background(scene, rng)
    for _ in range(int(rng.integers(scene.look.bars[0], scene.look.bars[1] + 1))):
        _paint(picture, *_bar(scene.hw, rng), any_colour(scene.look, rng))
    for thing in scene.behind:
        _paint(picture, *thing)
    frames = np.repeat(picture[None], scene.frames, axis=0)
    for figure in scene.people:
        ends, half = figure.segments()
        for number, frame in enumerate(frames):
            _paint(frame, ends[number], half, figure.colour)
    for thing in scene.before:
        for frame in frames:
            _paint(frame, *thing)
    frames = 255 * frames + scene.look.noise * rng.standard_normal(frames.shape)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _background(scene: Scene, rng: np.random.Generator) -> Floats64:
    """Blotches of colour: a coarse grid of random colours, blended."""
    (height, width), look = scene.hw, scene.look
    rows, columns = 4, max(4, round(4 * width / height))
    coarse = rng.random((rows, columns, 3)) * look.blotches
    y, x = np.linspace(0, rows - 1, height), np.linspace(0, columns - 1, width)
    y0, x0 = np.minimum(y.astype(int), rows - 2), np.minimum(x.astype(int), columns - 2)
    fy, fx = (y - y0)[:, None, None], (x - x0)[None, :, None]
    top = coarse[y0][:, x0] * (1 - fx) + coarse[y0][:, x0 + 1] * fx
    bottom = coarse[y0 + 1][:, x0] * (1 - fx) + coarse[y0 + 1][:, x0 + 1] * fx
    blended = top * (1 - fy) + bottom * fy
    return np.asarray(1 - blended if look.inverted else blended)


def _bar(hw: tuple[int, int], rng: np.random.Generator) -> tuple[Floats64, Floats64]:
    height, width = hw
    begin = rng.random(2) * (width, height)
    angle, length = rng.random() * 2 * np.pi, rng.uniform(0.1, 0.3) * height
    end = begin + length * np.array([np.cos(angle), np.sin(angle)])
    return np.stack([begin, end])[None], np.array([rng.uniform(0.6, 1.4)])


def any_colour(look: Look, rng: np.random.Generator) -> Floats64:
    """Of a figure or a thing: lighter than the background, or darker where it is light."""
    light = rng.uniform(0.55, 1.0, 3)
    return 1 - light if look.inverted else light


def _paint(picture: Floats64, ends: Floats64, half: Floats64, colour: Floats64) -> None:
    """Draw segments `ends (S, 2, 2)` of half widths `half (S,)` into `picture (H, W, 3)`."""
    height, width = picture.shape[:2]
    margin = half.max() + 1
    low = np.floor(ends.min((0, 1)) - margin).astype(int)
    high = np.ceil(ends.max((0, 1)) + margin).astype(int) + 1
    left, top = max(0, low[0]), max(0, low[1])
    right, bottom = min(width, high[0]), min(height, high[1])
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right)[None, :, None], np.arange(top, bottom)[:, None, None]
    (ax, ay), (bx, by) = ends[:, 0].T, ends[:, 1].T
    dx, dy = bx - ax, by - ay
    along = ((x - ax) * dx + (y - ay) * dy) / np.maximum(dx * dx + dy * dy, 1e-9)
    along = np.clip(along, 0, 1)
    away = np.hypot(x - ax - along * dx, y - ay - along * dy)
    cover = np.clip(half + 0.5 - away, 0, 1).max(-1)[..., None]
    part = picture[top:bottom, left:right]
    part += cover * (colour - part)


def figure_at(
    rng: np.random.Generator,
    *,
    frames: int,
    x: float,
    ground: float,
    height: float,
    arms: Sequence[float],
    legs: float,
    look: Look,
    wobble: float = 9.0,
) -> Figure:
    """A figure that holds a pose, each limb up to about `wobble` degrees off it, its sides
    exchanged half the time."""
    sides = np.array(arms) if rng.random() < 0.5 else np.array(arms)[::-1]
    held = sides + wobble * rng.standard_normal(2) * 0.7
    sway = 4.0 * np.sin(rng.random() * 6.28 + np.arange(frames) * rng.uniform(0.3, 1.0))
    return Figure(
        x=np.full(frames, x),
        ground=ground,
        height=height,
        arms=held + sway[:, None] * np.array([1.0, -1.0]),
        legs=np.full(frames, max(0.0, legs + 0.35 * wobble * rng.standard_normal())),
        colour=any_colour(look, rng),
    )
