"""Several clips of one video in each draw: what collaborative memory trains on (004 §3.1, §4.5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tubelet.batch import Sample
from tubelet.data.dataset import ClipDataset
from tubelet.data.keyframes import KeyframesByVideo
from tubelet.data.whole import WholeVideoDataset
from tubelet.media.transforms import Augment
from tubelet.models.memory.window import clip_times
from tubelet.train.data.loader import Draw, draw, picker
from tubelet.train.data.samplers import RandomSampler, Sampler
from tubelet.types import InputSpec, Key


def samples_around(moments: KeyframesByVideo, key: Key, *, clips: int, stride_ms: int) -> list[int]:
    """Samples of `clips` moments of a video `stride_ms` apart about `key`, as `clip_times`
    chooses."""
    chosen = clip_times(moments.times(key.video), key.time_ms, clips=clips, stride_ms=stride_ms)
    samples = moments.samples(key.video)
    return [samples[int(at)] for at in chosen]


class GroupStream:
    """Endless stream of groups of clips; position n is the same group in every run and worker.

    Every clip of a group has its own people and labels. In a video that is classified as a whole
    the clips lie anywhere (004 §3.1). All are augmented alike: they are drawn with the same random
    numbers, so that the video stays one scene. A video that cannot be decoded
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
        sampler: Sampler | None = None,
    ) -> None:
        self.clips = clips
        self._dataset, self._spec, self._augment, self._seed = dataset, spec, augment, seed
        self._stride_ms = stride_ms
        self._pick = picker(dataset, sampler or RandomSampler(), seed)
        self._moments = KeyframesByVideo(dataset)

    def __getitem__(self, position: int) -> Draw:
        drawn = draw(self._dataset, self._pick(position), [self._seed, position], self._samples)
        return drawn._replace(group=True)

    def _samples(self, anchor: int, seed: Sequence[int]) -> tuple[Sample, ...]:
        dataset = self._dataset
        if isinstance(dataset, WholeVideoDataset):
            places = np.sort(np.random.default_rng([*seed, 2]).random(self.clips))
            return tuple(
                dataset.sample(
                    anchor,
                    spec=self._spec,
                    augment=self._augment,
                    rng=np.random.default_rng(list(seed)),
                    moment=float(place),
                )
                for place in places
            )
        key = dataset.key(anchor)
        members = samples_around(self._moments, key, clips=self.clips, stride_ms=self._stride_ms)
        return tuple(
            dataset.sample(
                index,
                spec=self._spec,
                augment=self._augment,
                rng=np.random.default_rng(list(seed)),
            )
            for index in members
        )
