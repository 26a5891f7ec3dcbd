"""The minibatches of a stage: a stream of clips from each of its datasets, taking turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tubelet.data.dataset import ClipDataset
from tubelet.models.detector import ActionModel
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.parallel.processes import World
from tubelet.train.data.groups import GroupStream
from tubelet.train.data.loader import SampleStream, Share, Step, Stream, steps_of
from tubelet.train.data.mixture import Part
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Stage

_APART = 7919  # between the seeds of two datasets


def minibatches_of(
    stage: Stage,
    models: TiedModels,
    datasets: Sequence[ClipDataset],
    *,
    first: int,
    steps: int,
    seed: int,
    world: World,
) -> Iterator[Step]:
    """This process's minibatches from step `first` to the last of `steps`."""
    streams = [
        _stream(stage, part, dataset, models.model_of(part.data.name), seed + _APART * number)
        for number, (part, dataset) in enumerate(zip(stage.mixture.parts, datasets, strict=True))
    ]
    sizes = np.array([len(dataset) for dataset in datasets], np.int64)
    return steps_of(
        streams,
        stage.mixture.order(sizes, steps, seed=seed),
        batch=stage.batch,
        start=first,
        share=Share(accumulate=stage.accumulate, rank=world.rank, processes=world.size),
        workers=stage.workers,
    )


def _stream(
    stage: Stage, part: Part, dataset: ClipDataset, model: ActionModel, seed: int
) -> Stream:
    """Single clips, or N of each video where the model's memory is collaborative."""
    spec = model.input if part.model is not None else stage.input or model.input
    memory, clips = model.config.memory, stage.clips_of_a_video(model.config)
    augment = part.augment or stage.augment
    if clips > 1 or isinstance(memory, CollaborativeMemoryConfig):
        return GroupStream(
            dataset=dataset,
            spec=spec,
            augment=augment,
            seed=seed,
            clips=clips,
            stride_ms=memory.stride_ms if isinstance(memory, CollaborativeMemoryConfig) else 1000,
            sampler=stage.sampler,
        )
    return SampleStream(
        dataset=dataset, spec=spec, augment=augment, seed=seed, sampler=stage.sampler
    )
