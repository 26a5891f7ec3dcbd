"""Which sample is at which position of the endless training stream.

A sampler is a function of (seed, position) alone, so that workers, processes and interruptions
change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tubelet.data.dataset import ClipDataset
from tubelet.errors import TrainingError
from tubelet.types import Ints

Pick = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSampler:
    """Every sample once per epoch, reshuffled."""

    def build(self, dataset: ClipDataset, *, seed: int) -> Pick:
        """Position → sample number."""
        length = len(dataset)

        def pick(position: int) -> int:
            epoch, offset = divmod(position, length)
            return int(sample_order(seed, epoch, length)[offset])

        return pick


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBalancedSampler:
    """Draws a class, each equally often, then a sample that has it (000 §2.4; Kang et al. 2020).

    `power`: a class with n samples is drawn in proportion to n^power: 0 evenly, ½ the
    square-root rule, 1 as often as it occurs. Samples without a class are never drawn.
    """

    power: float = 0.0

    def build(self, dataset: ClipDataset, *, seed: int) -> Pick:
        """Position → sample number. Raises TrainingError where no sample has a class."""
        members = [rows for rows in samples_by_class(dataset).values() if len(rows)]
        if not members:
            raise TrainingError(f"no sample of {dataset.name!r} has a class to balance")
        weight = np.array([len(rows) for rows in members], np.float64) ** self.power
        chance = weight / weight.sum()

        def pick(position: int) -> int:
            rng = np.random.default_rng([seed, position, 1])
            rows = members[int(rng.choice(len(members), p=chance))]
            return int(rows[rng.integers(len(rows))])

        return pick


Sampler = RandomSampler | ClassBalancedSampler


@lru_cache(maxsize=4)
def sample_order(seed: int, epoch: int, length: int) -> Ints:
    """The shuffled sample numbers of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(length)


def samples_by_class(dataset: ClipDataset) -> dict[int, Ints]:
    """Class id → the samples in which it occurs."""
    found: dict[int, list[int]] = {label: [] for label in dataset.labels.ids}
    for index in range(len(dataset)):
        for label in dataset.label_ids(index):
            found[label].append(index)
    return {label: np.array(rows, np.int64) for label, rows in found.items()}
