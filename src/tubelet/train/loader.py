"""The stream of training samples: position n is the same sample in every run and every worker.

A position decides everything by itself (which sample, and its random numbers), so the number of
workers changes nothing and a resumed run simply begins at a later position.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from tubelet.batch import Batch, Sample, collate
from tubelet.data.dataset import ClipDataset
from tubelet.media.transforms import Augment
from tubelet.types import InputSpec, Ints, TrainingError, VideoError

ATTEMPTS = 8  # broken files in a row before the data, not a file, is to blame


class Draw(NamedTuple):
    """A sample, and why others were passed over for it."""

    sample: Sample
    skipped: tuple[str, ...]


class Step(NamedTuple):
    """The clips of one optimisation step."""

    batch: Batch
    skipped: tuple[str, ...]


class SampleStream(Dataset[Draw]):
    """Endless stream over a dataset, reshuffled every epoch.

    A file that cannot be decoded is replaced by another sample drawn from the same position and
    reported; `ATTEMPTS` of them in a row raise TrainingError.
    """

    def __init__(
        self, *, dataset: ClipDataset, spec: InputSpec, augment: Augment | None, seed: int
    ) -> None:
        if not len(dataset):
            raise TrainingError(f"the dataset {dataset.name!r} has no sample to train on")
        self._dataset, self._spec, self._augment, self._seed = dataset, spec, augment, seed

    def __getitem__(self, position: int) -> Draw:
        epoch, offset = divmod(position, len(self._dataset))
        index = int(sample_order(self._seed, epoch, len(self._dataset))[offset])
        skipped: list[str] = []
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([self._seed, position, attempt])
            try:
                sample = self._dataset.sample(
                    index, spec=self._spec, augment=self._augment, rng=rng
                )
            except VideoError as error:
                skipped.append(f"{self._dataset.key(index)}: {error.what} ({error.got})")
                index = int(rng.integers(len(self._dataset)))
            else:
                return Draw(sample, tuple(skipped))
        raise TrainingError(
            f"{ATTEMPTS} samples in a row could not be read",
            where=f"dataset {self._dataset.name!r}",
            got=skipped[-1],
            hint="check the video folder: most of its files seem broken",
        )


@lru_cache(maxsize=2)
def sample_order(seed: int, epoch: int, length: int) -> Ints:
    """The shuffled sample numbers of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(length)


def _join(draws: list[Draw]) -> Step:
    return Step(collate([d.sample for d in draws]), tuple(s for d in draws for s in d.skipped))


def batches(
    stream: SampleStream, *, batch: int, start: int, stop: int, workers: int
) -> Iterator[Step]:
    """The steps `start`…`stop` − 1, each of `batch` clips."""
    loader: DataLoader[Draw] = DataLoader(
        stream,
        batch_size=batch,
        sampler=range(start * batch, stop * batch),
        num_workers=workers,
        collate_fn=_join,
        prefetch_factor=2 if workers else None,
    )
    yield from loader
