"""Three worlds in which one person's picture is not enough: tests for relations, memory and
context. Each is balanced, so that a model without the mechanism stays at chance.

- `partner`: two people far apart make gestures; the label says whether both make the same one.
- `event`: someone makes a gesture and then only stands; for up to four more seconds the label
  says which gesture it was.
- `scene`: everybody stands; the label is the colour of a lamp at the edge of the picture.
"""

from __future__ import annotations

import itertools

import numpy as np

from tubelet.playground.actions import Style
from tubelet.playground.figures import draw_body
from tubelet.playground.world import (
    AFTER,
    AT_LAMP,
    GESTURES,
    PARTNER,
    Actor,
    Phase,
    PlaygroundConfig,
    Thing,
)

Rng = np.random.Generator
Cast = tuple[list[Actor], tuple[Thing, ...]]
"""The people of a clip, and the scenery that their labels depend on."""

_LAMP_COLOURS = ((0.95, 0.12, 0.10), (0.15, 0.90, 0.25))


def partner_cast(rng: Rng, config: PlaygroundConfig) -> Cast:
    """Two people at opposite sides; each stretch of time both gesture, half the time alike."""
    places = (0.2 * config.aspect, 0.8 * config.aspect)
    spans = list(itertools.pairwise(cuts(rng, config.seconds, (2, 3))))
    plans: list[list[Phase]] = [[], []]
    for span in spans:
        alike = bool(rng.random() < 0.5)
        first = int(rng.integers(2))
        for who, gesture in enumerate((first, first if alike else 1 - first)):
            labels = (PARTNER[0 if alike else 1],)
            plans[who].append(_gesture(rng, span, GESTURES[gesture], places[who], labels))
    return [_actor(rng, config, i, tuple(plan)) for i, plan in enumerate(plans)], ()


def event_cast(rng: Rng, config: PlaygroundConfig) -> Cast:
    """People who gesture for a second, stand for two to four, and so on.

    The first gesture covers the first keyframe, so the clip always shows what decides a label.
    """
    count = int(rng.integers(config.people[0], config.people[1] + 1))
    actors = []
    for i in range(count):
        x = (i + 0.5) / count * config.aspect
        segments: list[Phase] = []
        at = -0.5
        while at < config.seconds + 0.5:
            gesture = int(rng.integers(2))
            end = 1.5 if at < 0 else at + 1.0
            name = GESTURES[gesture]
            segments.append(_gesture(rng, (at, end), name, x, (name,)))
            at = end + float(rng.integers(2, 5))
            segments.append(_gesture(rng, (end, at), None, x, (AFTER[gesture],)))
        actors.append(_actor(rng, config, i, tuple(segments)))
    return actors, ()


def scene_cast(rng: Rng, config: PlaygroundConfig) -> Cast:
    """People who stand in the middle, and a lamp at the left or right edge that names them.

    In a picture three times as wide as high it is further from everybody than a small network's
    person features reach.
    """
    count = int(rng.integers(config.people[0], config.people[1] + 1))
    colour = int(rng.integers(2))
    low, width = config.aspect / 2 - 0.3, 0.6
    actors = []
    for i in range(count):
        x = low + (i + 0.5) / count * width
        span = (-1.0, config.seconds + 1.0)
        actors.append(_actor(rng, config, i, (_gesture(rng, span, None, x, (AT_LAMP[colour],)),)))
    edge = 0.3 if rng.random() < 0.5 else config.aspect - 0.3
    y = float(rng.uniform(0.28, 0.44))
    parts = (
        Thing(ellipse=False, centre=(edge, (y + 0.8) / 2), half=(0.012, (0.8 - y) / 2),
              colour=(0.2, 0.2, 0.22)),
        Thing(ellipse=False, centre=(edge, y), half=(0.22, 0.22), colour=(0.10, 0.10, 0.12)),
        Thing(ellipse=True, centre=(edge, y), half=(0.18, 0.18), colour=_LAMP_COLOURS[colour]),
    )  # fmt: skip
    return actors, parts


def cuts(rng: Rng, seconds: float, lengths: tuple[int, ...]) -> list[float]:
    """Times of the changes of action: from before 0 to after `seconds`, each near a half second."""
    at = -0.5 - float(rng.integers(0, 2))
    whole = [at]
    while at < seconds + 0.5:
        at += float(rng.choice(lengths))
        whole.append(at)
    return [t + float(rng.uniform(-0.1, 0.1)) for t in whole]


def draw_style(rng: Rng) -> Style:
    """A random way of doing any action."""
    return Style(
        side=1 if rng.random() < 0.5 else -1,
        rate=float(rng.uniform(0.88, 1.15)),
        phase=float(rng.random()),
        lift=float(rng.uniform(-1, 1)),
        angle=float(rng.uniform(-1, 1)),
    )


def _gesture(
    rng: Rng, span: tuple[float, float], arms: str | None, x: float, labels: tuple[str, ...]
) -> Phase:
    return Phase(
        start_s=span[0], end_s=span[1], pose="stand", arms=arms, labels=labels,
        yaw=float(rng.uniform(-0.6, 0.6)), x=x, style=draw_style(rng),
    )  # fmt: skip


def _actor(rng: Rng, config: PlaygroundConfig, number: int, segments: tuple[Phase, ...]) -> Actor:
    low, high = config.person_height
    return Actor(
        person_id=number,
        body=draw_body(rng, float(rng.uniform(low, min(high, max(low, 0.62))))),
        ground_y=float(rng.uniform(0.84, 0.93)),
        segments=segments,
    )
