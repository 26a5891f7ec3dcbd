"""The stream of training samples: position n is the same sample in every run and every worker.

A position decides everything by itself (which sample, and its random numbers), so the number of
workers or processes changes nothing and a resumed run simply begins at a later position.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import Sampler as Places

from tubelet.batch import Batch, Sample, collate
from tubelet.data.dataset import ClipDataset
from tubelet.errors import ConfigError, TrainingError, VideoError
from tubelet.media.transforms import Augment
from tubelet.train.data.mosaic import TILES, mosaic, quarter
from tubelet.train.data.samplers import Pick, RandomSampler, Sampler
from tubelet.types import InputSpec, Ints

ATTEMPTS = 8  # consecutive broken files before the data, not a file, is to blame


class Draw(NamedTuple):
    """Samples drawn at once, and why others were passed over for them. `group`: they are clips
    that share a memory, apart from those of every other draw."""

    samples: tuple[Sample, ...]
    skipped: tuple[str, ...]
    group: bool = False


class Step(NamedTuple):
    """The clips of one minibatch."""

    batch: Batch
    skipped: tuple[str, ...]


class Stream(Protocol):
    """An endless supply of draws, `clips` samples in each."""

    clips: int

    def __getitem__(self, position: int) -> Draw: ...


class SampleStream:
    """Single samples of a dataset, as `sampler` orders them.

    A file that cannot be decoded is replaced by another sample drawn from the same position and
    reported; `ATTEMPTS` of them in a row raise TrainingError.
    """

    clips = 1

    def __init__(
        self,
        *,
        dataset: ClipDataset,
        spec: InputSpec,
        augment: Augment | None,
        seed: int,
        sampler: Sampler | None = None,
    ) -> None:
        self._dataset, self._spec, self._augment, self._seed = dataset, spec, augment, seed
        self._pick = picker(dataset, sampler or RandomSampler(), seed)

    def __getitem__(self, position: int) -> Draw:
        return draw(self._dataset, self._pick(position), [self._seed, position], self._samples)

    def _samples(self, index: int, seed: Sequence[int]) -> tuple[Sample, ...]:
        dataset, spec, augment = self._dataset, self._spec, self._augment
        rng = np.random.default_rng(list(seed))
        if augment is None or not augment.mosaic or rng.random() >= augment.mosaic:
            return (dataset.sample(index, spec=spec, augment=augment, rng=rng),)
        small, closer = quarter(spec, augment)
        members = [index, *map(int, rng.integers(len(dataset), size=TILES - 1))]
        tiles = [dataset.sample(i, spec=small, augment=closer, rng=rng) for i in members]
        return (mosaic(tiles, multiple=spec.multiple),)


def picker(dataset: ClipDataset, sampler: Sampler, seed: int) -> Pick:
    """The sampler's order of a dataset. Raises TrainingError if it is empty."""
    if not len(dataset):
        raise TrainingError(f"the dataset {dataset.name!r} has no samples to train on")
    return sampler.build(dataset, seed=seed)


def draw(
    dataset: ClipDataset,
    index: int,
    seed: Sequence[int],
    read: Callable[[int, Sequence[int]], tuple[Sample, ...]],
) -> Draw:
    """What `read(index, random seed)` gives, or that of another sample where a file is broken."""
    skipped: list[str] = []
    for attempt in range(ATTEMPTS):
        own = [*seed, attempt]
        try:
            return Draw(read(index, own), tuple(skipped))
        except VideoError as error:
            skipped.append(f"{dataset.key(index)}: {error.what} ({error.got})")
            index = int(np.random.default_rng([*own, 1]).integers(len(dataset)))
    raise TrainingError(
        f"{ATTEMPTS} consecutive samples could not be read",
        where=f"dataset {dataset.name!r}",
        got=skipped[-1],
        hint="check the video folder: most of its files seem broken",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which minibatches of a step are this process's: it takes `accumulate` of them, after those
    of the processes before it."""

    accumulate: int = 1
    rank: int = 0
    processes: int = 1

    @property
    def minibatches(self) -> int:
        """Minibatches of a whole step."""
        return self.accumulate * self.processes


class _Mixed(Dataset[Draw]):
    """Draws of several streams, by (stream, position)."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = tuple(streams)

    def __getitem__(self, place: tuple[int, int]) -> Draw:
        stream, position = place
        return self._streams[stream][position]


def draws_a_step(batch: int, clips: int) -> int:
    """How many draws of `clips` make up a step of about `batch` clips."""
    return max(1, round(batch / clips))


def steps_of(
    streams: Sequence[Stream],
    order: Ints,
    *,
    batch: int,
    start: int = 0,
    share: Share | None = None,
    workers: int = 0,
) -> Iterator[Step]:
    """Minibatches from step `start` on, `share.accumulate` for each step.

    `order (steps,)`: the stream that each step draws from. `batch`: clips of a whole step. Raises
    ConfigError where they do not divide among the minibatches.
    """
    share = share or Share()
    for stream in streams:
        if draws_a_step(batch, stream.clips) % share.minibatches:
            raise ConfigError(
                "the batch does not divide among processes and accumulated minibatches",
                expected=f"a multiple of {share.minibatches * stream.clips} clips",
                got=batch,
            )
    loader: DataLoader[Draw] = DataLoader(
        _Mixed(streams),
        batch_sampler=_StepPositions(streams, order, batch, start, share),
        num_workers=workers,
        collate_fn=_join,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_work_on,
    )
    yield from loader


def _work_on(worker: int) -> None:
    """A signal for the whole process group is the trainer's to answer: it saves, then ends us."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class _StepPositions(Places[list[tuple[int, int]]]):
    """The (stream, position) pairs of every minibatch from step `start` on.

    A stream's positions go on where the last step that drew from it ended, whichever processes
    there are: step s of a stream takes as many positions as its draws, minibatch after minibatch.
    """

    def __init__(
        self, streams: Sequence[Stream], order: Ints, batch: int, start: int, share: Share
    ) -> None:
        self._draws = [draws_a_step(batch, s.clips) for s in streams]
        self._order, self._start, self._share = order, start, share

    def __len__(self) -> int:
        return (len(self._order) - self._start) * self._share.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self._share
        taken = [0] * len(self._draws)
        for step, stream in enumerate(map(int, self._order)):
            draws = self._draws[stream]
            first, part = taken[stream], draws // share.minibatches
            taken[stream] += draws
            if step < self._start:
                continue
            for turn in range(share.accumulate):
                begin = first + (share.rank * share.accumulate + turn) * part
                yield [(stream, position) for position in range(begin, begin + part)]


def _join(draws: list[Draw]) -> Step:
    skipped = tuple(reason for draw in draws for reason in draw.skipped)
    batch = collate([sample for draw in draws for sample in draw.samples])
    if any(draw.group for draw in draws):
        # Two groups may be of one video at different times: each keeps its own memory.
        number = np.repeat(np.arange(len(draws)), [len(draw.samples) for draw in draws])
        batch = replace(batch, group=torch.from_numpy(number.astype(np.int64)))
    return Step(batch, skipped)
