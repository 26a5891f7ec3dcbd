"""Curves between 0 and 1 as an SVG, in a few lines of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import numpy.typing as npt

COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad")
SIDE, LEFT, TOP, STEP = 320, 60, 56, 410


@dataclass(frozen=True)
class Line:
    """A curve `(N,)`, `(N,)`; with `dots`, its points are marked."""

    name: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    title: str
    x: str
    y: str
    lines: list[Line] = field(default_factory=list)


def chart(title: str, panels: Sequence[Panel]) -> str:
    """Panels side by side under a title, the lines' names below. A panel of marked points has the
    diagonal, where a score is a probability."""
    names = [line.name for line in panels[0].lines]
    width, height = LEFT + STEP * len(panels) - 30, TOP + SIDE + 56 + 20 * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="17">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + STEP * number)
    for number, name in enumerate(names):
        y, colour = TOP + SIDE + 60 + 20 * number, COLOURS[number]
        parts.append(f'<rect x="{LEFT}" y="{y - 7}" width="22" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 30}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int) -> list[str]:
    bottom = TOP + SIDE
    parts = [f'<text x="{left}" y="{TOP - 10}">{escape(panel.title)}</text>']
    for tick in np.linspace(0, 1, 6):
        x, y = left + SIDE * tick, bottom - SIDE * tick
        parts += [
            f'<path d="M{x:.0f} {TOP}V{bottom}M{left} {y:.0f}h{SIDE}" stroke="#ddd"/>',
            f'<text x="{x:.0f}" y="{bottom + 18}" text-anchor="middle">{tick:.1f}</text>',
            f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{tick:.1f}</text>',
        ]
    middle = left + SIDE // 2
    parts += [
        f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(panel.x)}</text>',
        f'<text transform="translate({left - 40} {TOP + SIDE // 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(panel.y)}</text>',
    ]
    if any(line.dots for line in panel.lines):
        parts.append(
            f'<path d="M{left} {bottom}l{SIDE} {-SIDE}" stroke="#888" stroke-dasharray="5"/>'
        )
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        points = [(left + SIDE * x, bottom - SIDE * y) for x, y in zip(line.x, line.y, strict=True)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        if points:
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if line.dots:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points
            ]
    return parts
