"""People as a detector would find them in the rendered world: a little off, some mistaken."""

from __future__ import annotations

import numpy as np

from tubelet.types import Floats, People

_OFF = 0.04
"""Standard deviation of a corner's error, in sides of its box."""
_STRAY = 0.25
"""Share of the keyframes in which something else is taken for a person."""


def detected(people: People, seed: int, time_ms: int) -> People:
    """The people of clip `seed` at a moment, as this detector always finds them there: no identity,
    corners that miss by a few per cent of the box, scores from 0.8, and now and then a stray box
    scored below 0.7."""
    rng = np.random.default_rng((seed, time_ms))
    boxes = people.boxes.astype(np.float64)
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    found = [np.clip(boxes + rng.normal(0.0, _OFF, boxes.shape) * size, 0.0, 1.0)]
    scores = [rng.uniform(0.8, 1.0, len(boxes))]
    if rng.random() < _STRAY:
        corner = rng.uniform(0.0, 0.8, 2)
        found.append(np.concatenate([corner, corner + 0.2])[None])
        scores.append(rng.uniform(0.5, 0.7, 1))
    every: Floats = np.concatenate(found).astype(np.float32)
    return People.of(every, np.concatenate(scores))
