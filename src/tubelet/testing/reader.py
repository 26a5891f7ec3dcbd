"""Reads the clips that testing requests, in order of request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch.utils.data import DataLoader, Dataset

from tubelet.batch import Sample
from tubelet.data.dataset import ClipDataset
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import VideoError
from tubelet.media.transforms import whole
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True)
class Place:
    """A clip to read: sample `index` at one of the scales; `moment` only of whole videos. A
    model with memory makes a pass over the film for each `look`."""

    index: int
    scale: int = 0
    moment: float | None = None
    look: int = 0


class Read(NamedTuple):
    """The clip of a place, uncropped, or why there is none."""

    place: Place
    sample: Sample | None
    fault: VideoError | None = None


class _ClipReader(Dataset[Read]):
    def __init__(self, dataset: ClipDataset, specs: Sequence[InputSpec]) -> None:
        self._dataset, self._specs = dataset, [whole(spec) for spec in specs]

    def __getitem__(self, place: Place) -> Read:
        try:
            return Read(place, self._sample(place))
        except VideoError as error:
            return Read(place, None, error)

    def _sample(self, place: Place) -> Sample:
        spec = self._specs[place.scale]
        if isinstance(self._dataset, WholeVideoDataset):
            return self._dataset.sample(place.index, spec=spec, moment=place.moment)
        return self._dataset.sample(place.index, spec=spec)


def read(
    dataset: ClipDataset,
    places: Sequence[Place],
    specs: Sequence[InputSpec],
    *,
    together: int = 1,
    workers: int = 0,
) -> Iterator[list[Read]]:
    """The clips of `places`, `together` at a time; a place's scale chooses among `specs`."""
    loader: DataLoader[Read] = DataLoader(
        _ClipReader(dataset, specs),
        sampler=places,
        batch_size=together,
        num_workers=workers,
        collate_fn=list,
    )
    yield from loader
