"""Films of five segments, in one of which the cue is: a tint of the whole picture.

Everything else is nuisance: each film has a ground of its own, each segment a blob, each pixel
noise, all of them coloured. Films are numbers' films: the same seed gives the same film.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.types import Pixels

SIDE, SEGMENTS, CLASSES = 16, 5, 4
HUES = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1], [0.7, 0.7, -1.4]])


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Grey levels: `tint` of the cue, standard deviations of the `ground` and of the `noise`.
    `frames` of each segment."""

    tint: float
    ground: float
    noise: float = 20.0
    frames: int = 2

    def segments(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Segments without a cue `(S, F, H, W, 3)`."""
        cells = np.kron(rng.normal(0, self.ground, (4, 4, 3)), np.ones((SIDE // 4, SIDE // 4, 1)))
        cast = rng.normal(0, self.ground / 2, 3)
        shown = np.zeros((SEGMENTS, self.frames, SIDE, SIDE, 3)) + 125 + cells + cast
        for segment in shown:
            size = int(rng.integers(4, 8))
            y, x = rng.integers(0, SIDE - size + 1, 2)
            segment[:, y : y + size, x : x + size] += rng.normal(0, 50, 3)
        return shown

    def finished(self, segments: npt.NDArray[np.float64], rng: np.random.Generator) -> Pixels:
        """With noise, as a film u8 `(S·F, H, W, 3)`."""
        noisy = segments + rng.normal(0, self.noise, segments.shape)
        return noisy.clip(0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)

    def film(self, seed: int) -> tuple[Pixels, int]:
        """A film and its class, 1…4."""
        rng = np.random.default_rng(seed)
        segments = self.segments(rng)
        label = int(rng.integers(CLASSES))
        segments[rng.integers(SEGMENTS)] += HUES[label] * self.tint
        return self.finished(segments, rng), label + 1

    def films(self, first: int, count: int) -> tuple[list[Pixels], list[int]]:
        """Films of consecutive seeds, and their classes."""
        drawn = [self.film(first + i) for i in range(count)]
        return [film for film, _ in drawn], [label for _, label in drawn]
