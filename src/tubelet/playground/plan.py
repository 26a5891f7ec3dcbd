"""From a seed to a world: how many people, which bodies, who does what when, and the scenery.

Changes of action fall near half seconds (x.4 to x.6 s), so that at whole seconds, where AVA puts
its keyframes, nobody is between two actions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from tubelet.playground.actions import (
    ARMS,
    PAIRS,
    PUSHED,
    Style,
)
from tubelet.playground.figures import Body, draw_body
from tubelet.playground.tasks import (
    Cast,
    cuts,
    draw_style,
    event_cast,
    partner_cast,
    scene_cast,
)
from tubelet.playground.world import (
    Actor,
    Camera,
    Phase,
    PlaygroundConfig,
    PlaygroundWorld,
    Thing,
    label_space,
)

Rng = np.random.Generator

_STANDING = {
    "stand": 0.08,
    "arms": 0.32,
    "walk": 0.16,
    "run/jog": 0.16,
    "jump/leap": 0.15,
    "bend/bow (at the waist)": 0.16,
    "turn around": 0.18,
}
_PAIR_CHANCE = 0.36
_STOOL_CHANCE = 0.34
_LIE_CHANCE = 0.07


def stream(seed: int, number: int) -> Rng:
    """Random stream `number` of a clip; streams do not disturb each other."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,))))


def plan(seed: int, config: PlaygroundConfig) -> PlaygroundWorld:
    """The world of clip `seed`: the same seed and config give the same world, always."""
    rng = stream(seed, 0)
    actors, signals = _CASTS[config.task](rng, config)
    return PlaygroundWorld(
        config=config,
        space=label_space(config.task),
        actors=tuple(sorted(actors, key=lambda a: (a.ground_y, a.person_id))),
        camera=_camera(stream(seed, 1), config),
        movers=(*_movers(stream(seed, 2), config), *signals),
        front=_front(stream(seed, 3), config),
        scenery_seed=np.random.SeedSequence(seed, spawn_key=(4,)),
    )


def _atomic_cast(rng: Rng, config: PlaygroundConfig) -> Cast:
    """People at evenly spread places, some of them in pairs."""
    low, high = config.people
    count = int(rng.integers(low, high + 1))
    groups: list[int] = []
    while sum(groups) < count:
        groups.append(2 if count - sum(groups) >= 2 and rng.random() < _PAIR_CHANCE else 1)
    rng.shuffle(groups)
    edges = np.cumsum([0, *groups]) / count * config.aspect
    near = rng.permutation(np.linspace(0, 1, len(groups) + 1)[:-1]) + rng.random() / len(groups)
    actors: list[Actor] = []
    for i, size in enumerate(groups):
        room = edges[i + 1] - edges[i]
        x = float((edges[i] + edges[i + 1]) / 2 + rng.uniform(-0.12, 0.12) * room)
        edge = 0.14 + 0.12 * size  # room for a stretched arm
        x = float(np.clip(x, edge, config.aspect - edge))
        ground = 0.82 + 0.13 * float(near[i])
        small, tall = config.person_height
        height = small + (tall - small) * float(np.clip(near[i] + rng.uniform(-0.2, 0.2), 0, 1))
        if size == 1:
            actors.append(_solo(rng, config, len(actors), x, ground, height))
        else:
            actors += _pair(rng, config, len(actors), x, ground, min(height, 0.62))
    return actors, ()


def _solo(
    rng: Rng, config: PlaygroundConfig, number: int, x: float, ground: float, height: float
) -> Actor:
    body = draw_body(rng, height)
    roll = rng.random()
    if roll < _LIE_CHANCE:
        return _sleeper(rng, config, number, x, ground, body)
    sits = roll < _LIE_CHANCE + _STOOL_CHANCE
    stool = float(rng.choice([-1, 1]) * rng.uniform(0.55, 1.0)) if sits else None
    ends = cuts(rng, config.seconds, (2, 2, 3))
    segments: list[Phase] = []
    seated = sits and rng.random() < 0.5
    place, heading = x, stool if stool is not None else float(rng.uniform(-1, 1))
    for start, end in itertools.pairwise(ends):
        if stool is not None:
            segment, seated = _sitter(rng, start, end, x, stool, seated)
        else:
            segment = _standing(rng, config, start, end, place, heading, body)
            place, heading = segment.exit
        segments.append(segment)
    return Actor(
        person_id=number, body=body, ground_y=ground, segments=tuple(segments), stool=stool
    )


def _sleeper(
    rng: Rng, config: PlaygroundConfig, number: int, x: float, ground: float, body: Body
) -> Actor:
    yaw = float(rng.choice([-1, 1]) * rng.uniform(1.3, 1.75))
    segment = Phase(
        start_s=-1.0, end_s=config.seconds + 1.0, pose="lie/sleep", arms=None,
        labels=("lie/sleep",), yaw=yaw, style=draw_style(rng),
        x=float(np.clip(x, 0.45 * body.height, config.aspect - 0.45 * body.height)),
    )  # fmt: skip
    return Actor(person_id=number, body=body, ground_y=ground, segments=(segment,))


def _sitter(
    rng: Rng, start: float, end: float, x: float, yaw: float, seated: bool
) -> tuple[Phase, bool]:
    """The next thing done by someone with a stool, and whether they sit after it."""
    arms = None
    roll = rng.random()
    if roll < 0.62:
        pose = "get up" if seated else "sit down"
    else:
        pose = "sit" if seated else "stand"
        arms = str(rng.choice(ARMS)) if rng.random() < 0.5 else None
    after = seated if roll >= 0.62 else not seated
    segment = Phase(
        start_s=start, end_s=end, pose=pose, arms=arms, style=draw_style(rng), yaw=yaw, x=x,
        labels=(pose, arms) if arms else (pose,),
    )  # fmt: skip
    return segment, after


def _standing(
    rng: Rng, config: PlaygroundConfig, start: float, end: float, x: float, heading: float,
    body: Body,
) -> Phase:  # fmt: skip
    """The next thing done by someone on their feet, who turns to a fitting side for it."""
    weights = np.array(list(_STANDING.values()))
    name = str(rng.choice(list(_STANDING), p=weights / weights.sum()))
    style = draw_style(rng)
    pose, arms, speed = name, None, 0.0
    if name == "arms":
        pose, arms = "stand", str(rng.choice(ARMS))
    sign = float(rng.choice([-1.0, 1.0]))
    if name in ("walk", "run/jog"):
        pace = 0.80 if name == "walk" else 1.45
        speed = sign * pace * body.height * style.rate
        yaw = float(rng.uniform(1.2, 1.55))
        return Phase(
            start_s=start, end_s=end, pose=pose, arms=None, labels=(pose,), x=x, style=style,
            yaw=yaw, speed=speed, bounds=(min(0.14, x), max(config.aspect - 0.14, x)),
        )  # fmt: skip
    if name == "turn around":
        yaw = heading
    elif pose == "bend/bow (at the waist)":
        yaw = sign * float(rng.uniform(0.6, 1.5))
    elif arms is None and rng.random() < 0.3:
        yaw = float(rng.uniform(-np.pi, np.pi))
    else:
        yaw = float(rng.uniform(-0.8, 0.8))
    yaw += 2 * np.pi * round((heading - yaw) / (2 * np.pi))
    return Phase(
        start_s=start, end_s=end, pose=pose, arms=arms, style=style, yaw=yaw, x=x,
        labels=(pose, arms) if arms else (pose,),
    )  # fmt: skip


def _pair(
    rng: Rng, config: PlaygroundConfig, number: int, x: float, ground: float, height: float
) -> list[Actor]:
    """Two people who face each other and now and then interact."""
    kind = str(rng.choice(PAIRS, p=(0.27, 0.43, 0.30)))
    bodies = [draw_body(rng, height * float(rng.uniform(0.95, 1.05))) for _ in range(2)]
    gap = {"hand shake": 0.50, "push (another person)": 0.52, "hug (a person)": 0.30}[kind] * height
    ends = cuts(rng, config.seconds, (2, 3))
    busy = [bool(rng.random() < 0.72) for _ in ends[1:]]
    pusher = int(rng.integers(2))
    actors = []
    for side, body in enumerate(bodies):
        sign = 1 if side == 0 else -1
        yaw = sign * float(rng.uniform(1.25, 1.5))
        place = x - sign * gap / 2
        segments = []
        for (start, end), together in zip(itertools.pairwise(ends), busy, strict=True):
            style = draw_style(rng)
            arms: str | None = None
            heading = yaw
            labels: tuple[str, ...] = ("stand",)
            if together:
                arms = PUSHED if kind.startswith("push") and side != pusher else kind
                labels = ("stand", kind) if arms == kind else ("stand",)
                style = Style(side=sign, phase=style.phase, reach=_reach(bodies, side))
            elif not kind.startswith("hug") and rng.random() < 0.5:
                arms = str(
                    rng.choice(ARMS[:3])
                )  # pointing at each other would look like a hand shake
                labels = ("stand", arms)
                heading = sign * float(rng.uniform(0.2, 0.8))
            segments.append(
                Phase(
                    start_s=start,
                    end_s=end,
                    pose="stand",
                    arms=arms,
                    labels=labels,
                    yaw=heading,
                    x=place,
                    style=style,
                )
            )
        actors.append(
            Actor(
                person_id=number + side,
                body=body,
                ground_y=ground + 0.001 * side,
                segments=tuple(segments),
            )
        )
    return actors


def _reach(bodies: list[Body], side: int) -> float:
    """The arm's angle that brings both hands to one height."""
    shoulders = [b.height * (2 * b.leg * 0.97 + 0.026 + 0.93 * b.trunk) for b in bodies]
    hand = min(shoulders) - 0.16 * bodies[side].height
    arm = 1.97 * bodies[side].arm * bodies[side].height
    return float(np.arccos(np.clip((shoulders[side] - hand) / arm, -1, 1)))


def _camera(rng: Rng, config: PlaygroundConfig) -> Camera:
    k = config.camera
    amplitude = np.array([[0.035, 0.004], [0.018, 0.004], [0.045, 0.004]]) * k
    waves = np.stack(
        [
            amplitude * rng.uniform(0.0, 1.0, (3, 2)),
            np.stack([rng.uniform(0.05, 0.22, 3), rng.uniform(1.5, 4.0, 3)], axis=1),
            rng.random((3, 2)),
        ]
    )
    return Camera(
        centre=(config.aspect / 2 + k * float(rng.uniform(-0.03, 0.03)),
                0.5 + k * float(rng.uniform(-0.02, 0.02))),
        zoom=1.0 + k * float(rng.uniform(-0.04, 0.08)),
        waves=waves,
    )  # fmt: skip


def _colour(rng: Rng, low: float = 0.15, high: float = 0.95) -> tuple[float, float, float]:
    r, g, b = rng.uniform(low, high, 3)
    return float(r), float(g), float(b)


def _movers(rng: Rng, config: PlaygroundConfig) -> tuple[Thing, ...]:
    """Balloons, carts and the like, moving behind the people."""
    count = int(rng.poisson(1.6 * config.clutter))
    return tuple(
        Thing(
            ellipse=bool(rng.random() < 0.5),
            centre=(float(rng.uniform(0, config.aspect)), float(rng.uniform(0.08, 0.72))),
            half=(float(rng.uniform(0.03, 0.11)), float(rng.uniform(0.03, 0.09))),
            colour=_colour(rng),
            velocity=float(rng.normal(0, 0.16)),
            bob=(float(rng.uniform(0, 0.05)), float(rng.uniform(0.2, 0.9)), float(rng.random())),
            span=(-0.3, config.aspect + 0.3),
        )
        for _ in range(min(count, 5))
    )


def _front(rng: Rng, config: PlaygroundConfig) -> tuple[Thing, ...]:
    """Posts and bushes in front of the people."""
    things: list[Thing] = []
    for _ in range(min(int(rng.poisson(0.6 * config.occluders)), 3)):
        x = float(rng.uniform(0, config.aspect))
        if rng.random() < 0.5:
            dark = _colour(rng, 0.1, 0.5)
            half = float(rng.uniform(0.010, 0.028))
            things.append(Thing(ellipse=False, centre=(x, 0.5), half=(half, 0.8), colour=dark))
            continue
        green = np.array([0.16, 0.38, 0.15]) * rng.uniform(0.6, 1.5)
        for _ in range(6):
            r, g, b = green * rng.uniform(0.75, 1.25)
            things.append(
                Thing(
                    ellipse=True,
                    colour=(float(r), float(g), float(b)),
                    centre=(x + float(rng.normal(0, 0.06)), 1.0 + float(rng.uniform(-0.05, 0.06))),
                    half=(float(rng.uniform(0.04, 0.09)), float(rng.uniform(0.03, 0.08))),
                )
            )
    return tuple(things)


_CASTS: dict[str, Callable[[Rng, PlaygroundConfig], Cast]] = {
    "atomic": _atomic_cast,
    "partner": partner_cast,
    "event": event_cast,
    "scene": scene_cast,
}
