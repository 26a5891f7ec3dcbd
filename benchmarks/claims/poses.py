"""One figure that holds a pose: the world of long tails, views, ensembles and co-finetuning."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from benchmarks.claims.figures import DOWN, PLAIN, SIDE, UP, Look, Scene, draw, figure_at
from benchmarks.claims.held import Clip, DrawnSource, Person

from tubelet.labels import LabelSpace

HW = (40, 40)
FRAMES = 4
_ARMS = tuple(itertools.combinations_with_replacement((DOWN, SIDE, UP), 2))
_LEGS = (6.0, 28.0)
POSES = tuple(itertools.product(_ARMS, _LEGS))
_WORDS = {DOWN: "down", SIDE: "out", UP: "up"}
NAMES = tuple(
    f"{_WORDS[left]} {_WORDS[right]}, legs {'apart' if legs > 10 else 'together'}"
    for (left, right), legs in POSES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseSource(DrawnSource):
    """`counts`: clips of each of the twelve poses."""

    summary: ClassVar[str] = "a figure that holds one of twelve poses"

    counts: tuple[int, ...]
    look: Look = PLAIN
    wobble: float = 9.0

    def space(self) -> LabelSpace:
        return LabelSpace.of(NAMES, exclusive=True)

    def clips(self, rng: np.random.Generator) -> list[Clip]:
        order = np.repeat(np.arange(len(POSES)), self.counts)
        return [
            posed(rng, int(pose), f"{self.split}_{number:04d}", self.look, self.wobble)
            for number, pose in enumerate(rng.permutation(order))
        ]


def posed(rng: np.random.Generator, pose: int, video: str, look: Look, wobble: float) -> Clip:
    """A clip of one figure."""
    arms, legs = POSES[pose]
    height = float(rng.uniform(24, 35))
    figure = figure_at(
        rng, frames=FRAMES, x=float(rng.uniform(11, HW[1] - 11)),
        ground=float(rng.uniform(height + 3, HW[0] - 1)), height=height, arms=arms, legs=legs,
        look=look, wobble=wobble,
    )  # fmt: skip
    scene = Scene(people=[figure], frames=FRAMES, hw=HW, look=look)
    return Clip(draw(scene, rng), [Person(figure.box(FRAMES // 2, HW), [pose])], video, 1000)
