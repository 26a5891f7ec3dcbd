"""Several datasets of the same classes as one: AVA-Kinetics is AVA plus a part of Kinetics."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from tubelet.batch import Sample
from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import ClipDataset, WithPeople
from tubelet.errors import ConfigError
from tubelet.media.transforms import Augment
from tubelet.types import InputSpec, Key


class JoinedDataset:
    """The samples of `parts`, one part after the other; each keeps its part's name.

    Raises ConfigError where the parts' classes differ.
    """

    def __init__(self, *, name: str, parts: Sequence[ClipDataset]) -> None:
        if not parts:
            raise ConfigError(f"the joined dataset {name!r} has no parts")
        self.name, self.labels = name, parts[0].labels
        for part in parts:
            if (part.labels.ids, part.labels.names) != (self.labels.ids, self.labels.names):
                raise ConfigError(
                    f"the parts of {name!r} have different classes",
                    expected=f"those of {parts[0].name!r}",
                    got=f"{part.name!r}: {', '.join(part.labels.names[:4])}",
                    hint="give both the same label map",
                )
        self.parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def key(self, index: int) -> Key:
        part, own = self._locate(index)
        return part.key(own)

    def label_ids(self, index: int) -> tuple[int, ...]:
        part, own = self._locate(index)
        return part.label_ids(own)

    def truth(self) -> Annotations:
        return Annotations.concat(map(_truth_of, self.parts))

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        part, own = self._locate(index)
        return part.sample(own, spec=spec, augment=augment, rng=rng)

    def _locate(self, index: int) -> tuple[ClipDataset, int]:
        number = bisect_right(self._ends, index)
        return self.parts[number], index - (self._ends[number] - len(self.parts[number]))


class Picked:
    """The samples `indices` of `whole`, under its name."""

    def __init__(self, whole: ClipDataset, indices: Sequence[int]) -> None:
        self.name, self.labels = whole.name, whole.labels
        self._whole, self._indices = whole, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def key(self, index: int) -> Key:
        return self._whole.key(self._indices[index])

    def label_ids(self, index: int) -> tuple[int, ...]:
        return self._whole.label_ids(self._indices[index])

    def truth(self) -> Annotations | ClipLabels:
        return self._whole.truth()

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        return self._whole.sample(self._indices[index], spec=spec, augment=augment, rng=rng)


def people_of(dataset: ClipDataset) -> Annotations:
    """The people of every keyframe, of a joined dataset those of all its parts. Raises ConfigError
    for a dataset that does not say who they are."""
    if isinstance(dataset, JoinedDataset):
        return Annotations.concat(map(people_of, dataset.parts))
    if isinstance(dataset, WithPeople):
        return dataset.people()
    raise ConfigError(
        f"{dataset.name!r} does not say who is in its keyframes, so its boxes cannot be tested",
        expected="a dataset of people",
        got=type(dataset).__name__,
    )


def _truth_of(part: ClipDataset) -> Annotations:
    truth = part.truth()
    if not isinstance(truth, Annotations):
        raise ConfigError(
            f"{part.name!r} labels whole videos and cannot be joined", expected="labelled people"
        )
    return truth
