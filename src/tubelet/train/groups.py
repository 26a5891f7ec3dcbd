"""Several clips of one video in each draw: what collaborative memory trains on (004 §3.1, §4.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tubelet.batch import Sample, collate
from tubelet.data.dataset import ClipDataset
from tubelet.media.transforms import Augment
from tubelet.models.memory.window import clip_times
from tubelet.train.loader import ATTEMPTS, Step, sample_order
from tubelet.types import InputSpec, Ints, TrainingError, VideoError


class Group(NamedTuple):
    """Clips of one video, and why other videos were passed over for it."""

    samples: tuple[Sample, ...]
    skipped: tuple[str, ...]


class KeyframesByVideo:
    """The labelled moments of every video in time order, and the sample that each one is."""

    def __init__(self, dataset: ClipDataset) -> None:
        found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for index in range(len(dataset)):
            key = dataset.key(index)
            found[key.video].append((key.time_ms, index))
        self._times: dict[str, Ints] = {}
        self._samples: dict[str, Ints] = {}
        for video, rows in found.items():
            ordered = np.array(sorted(rows), np.int64)
            self._times[video], self._samples[video] = ordered[:, 0], ordered[:, 1]

    def videos(self) -> list[str]:
        """Every video, in the order in which the dataset first names it."""
        return list(self._times)

    def samples(self, video: str) -> list[int]:
        """Samples of `video` in time order."""
        return [int(i) for i in self._samples[video]]

    def around(self, video: str, at_ms: int, *, clips: int, stride_ms: int) -> list[int]:
        """Samples of `clips` moments `stride_ms` apart about `at_ms`, as `clip_times` chooses."""
        chosen = clip_times(self._times[video], at_ms, clips=clips, stride_ms=stride_ms)
        return [int(i) for i in self._samples[video][chosen]]


class GroupStream(Dataset[Group]):
    """Endless stream of groups of clips; position n is the same group in every run and worker.

    Every clip of a group has its own people and labels. All are augmented alike: they are drawn
    with the same random numbers, so that the video stays one scene. A video that cannot be decoded
    is replaced by another; several in a row raise TrainingError.
    """

    def __init__(
        self,
        *,
        dataset: ClipDataset,
        spec: InputSpec,
        augment: Augment | None,
        seed: int,
        clips: int,
        stride_ms: int,
    ) -> None:
        if not len(dataset):
            raise TrainingError(f"the dataset {dataset.name!r} has no sample to train on")
        self._dataset, self._spec, self._augment, self._seed = dataset, spec, augment, seed
        self._clips, self._stride_ms = clips, stride_ms
        self._moments = KeyframesByVideo(dataset)

    def __getitem__(self, position: int) -> Group:
        epoch, offset = divmod(position, len(self._dataset))
        anchor = int(sample_order(self._seed, epoch, len(self._dataset))[offset])
        skipped: list[str] = []
        for attempt in range(ATTEMPTS):
            seed = [self._seed, position, attempt]
            try:
                return Group(tuple(self._draw(anchor, seed)), tuple(skipped))
            except VideoError as error:
                skipped.append(f"{self._dataset.key(anchor)}: {error.what} ({error.got})")
                anchor = int(np.random.default_rng(seed).integers(len(self._dataset)))
        raise TrainingError(
            f"{ATTEMPTS} videos in a row could not be read",
            where=f"dataset {self._dataset.name!r}",
            got=skipped[-1],
            hint="check the video folder: most of its files seem broken",
        )

    def _draw(self, anchor: int, seed: Sequence[int]) -> Iterator[Sample]:
        key = self._dataset.key(anchor)
        for index in self._moments.around(
            key.video, key.time_ms, clips=self._clips, stride_ms=self._stride_ms
        ):
            rng = np.random.default_rng(list(seed))
            yield self._dataset.sample(index, spec=self._spec, augment=self._augment, rng=rng)


def _join(groups: list[Group]) -> Step:
    samples = [s for group in groups for s in group.samples]
    number = np.repeat(np.arange(len(groups)), [len(group.samples) for group in groups])
    # Two groups may be of one film at different times: each keeps its own memory.
    batch = replace(collate(samples), group=torch.from_numpy(number.astype(np.int64)))
    return Step(batch, tuple(s for group in groups for s in group.skipped))


def group_batches(
    stream: GroupStream, *, videos: int, start: int, stop: int, workers: int
) -> Iterator[Step]:
    """The steps `start`…`stop` − 1, each of `videos` groups."""
    loader: DataLoader[Group] = DataLoader(
        stream,
        batch_size=videos,
        sampler=range(start * videos, stop * videos),
        num_workers=workers,
        collate_fn=_join,
        prefetch_factor=2 if workers else None,
    )
    yield from loader
