"""Datasets of clips with people: what training and testing draw samples from.

A dataset says where clips, boxes and labels come from; how frames become tensors is decided by
`media`, so that a sample drawn here is the very tensor that detection would prepare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from tubelet.batch import Sample
from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.films import Films, Footage
from tubelet.data.proposals import with_boxes
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment, boxes_in_clip, jitter_boxes, prepare
from tubelet.types import Floats, InputSpec, Key, People, Pixels


class ClipDataset(Protocol):
    """Anything that yields samples by number."""

    name: str
    labels: LabelSpace

    def __len__(self) -> int: ...

    def key(self, index: int) -> Key:
        """The key of sample `index`, without reading any frame."""
        ...

    def label_ids(self, index: int) -> tuple[int, ...]:
        """The classes that sample `index` shows, each once, without reading any frame."""
        ...

    def truth(self) -> Annotations | ClipLabels:
        """Every label: of each keyframe's people, or of each video where that is classified."""
        ...

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        """Clip, people and targets of sample `index`. Raises VideoError for a broken file."""
        ...


@runtime_checkable
class WithPeople(Protocol):
    """A dataset that says who is in its keyframes without reading a frame."""

    def people(self) -> Annotations:
        """The people of every sample with their scores, whoever found them."""
        ...


def multi_hot(labels: Sequence[Sequence[int]], space: LabelSpace) -> Floats:
    """Action ids of N people → targets `(N, K)`. Raises DataError for an unknown id."""
    targets = np.zeros((len(labels), len(space)), np.float32)
    for row, ids in enumerate(labels):
        for label_id in ids:
            targets[row, space.column(label_id)] = 1.0
    return targets


def faster(
    spec: InputSpec, fps: float, augment: Augment | None, rng: np.random.Generator | None
) -> InputSpec:
    """`spec` with its frames drawn closer or further apart, as `augment.speed` says."""
    if augment is None or rng is None or not augment.speed:
        return spec
    factor = (1 + augment.speed) ** rng.uniform(-1, 1)
    rules = spec.preprocessing
    if rules.span_s is not None:
        return replace(spec, preprocessing=replace(rules, span_s=rules.span_s / factor))
    return replace(spec, fps=(spec.fps or fps) * factor)


def assemble(
    *,
    key: Key,
    clip: Pixels,
    source_hw: tuple[int, int],
    people: People,
    targets: Floats,
    spec: InputSpec,
    augment: Augment | None,
    rng: np.random.Generator | None,
    dataset: str,
) -> Sample:
    """A Sample from decoded frames and the people of the keyframe.

    Under augmentation the random crop is drawn around one of the people or anywhere, people who are
    then hardly visible are dropped, and boxes are jittered.
    """
    focus = None
    if augment is not None and rng is not None and augment.crop_at == "person" and len(people):
        focus = people.boxes[rng.integers(len(people))]
    frames, geometry = prepare(clip, source_hw, spec, augment, rng, focus)
    if augment is not None and rng is not None and augment.box_jitter:
        people = replace(people, boxes=jitter_boxes(people.boxes, augment.box_jitter, rng))
    share = 0.25 if augment is None else augment.min_visible
    boxes_px, visible = boxes_in_clip(people.boxes, geometry, spec, share)
    if augment is not None:
        people, targets, boxes_px = people.select(visible), targets[visible], boxes_px[visible]
    return Sample(
        key=key,
        frames=frames,
        people=people,
        boxes_px=torch.from_numpy(boxes_px),
        targets=torch.from_numpy(targets),
        known=torch.ones(targets.shape[1], dtype=torch.bool),
        geometry=geometry,
        dataset=dataset,
    )


class VideoDataset:
    """Labelled keyframes of films.

    `videos` maps ids to footage (see `Films` for `cache_short_side`). With `boxes`, the people of
    a keyframe are these boxes, which have no targets, instead of the annotated ones: testing on
    a detector's boxes. The keyframes stay those of `annotations`.
    """

    def __init__(
        self,
        *,
        name: str,
        annotations: Annotations,
        labels: LabelSpace,
        videos: Mapping[str, Path | Footage],
        cache_short_side: int | None = None,
        boxes: Annotations | None = None,
        truth: Annotations | None = None,
    ) -> None:
        self.name, self.labels = name, labels
        self._truth = annotations if truth is None else truth
        self._labelled = boxes is None
        shown = annotations if boxes is None else with_boxes(annotations, boxes)
        self._shown = shown
        self._keyframes = list(shown.keyframes())
        self._targets = [multi_hot(k.labels, labels) for k in self._keyframes]
        self._films = Films(videos, cache_short_side=cache_short_side)
        self._films.check((k.key.video for k in self._keyframes), annotations.source)

    def __len__(self) -> int:
        return len(self._keyframes)

    def key(self, index: int) -> Key:
        return self._keyframes[index].key

    def label_ids(self, index: int) -> tuple[int, ...]:
        return tuple(dict.fromkeys(i for ids in self._keyframes[index].labels for i in ids))

    def truth(self) -> Annotations:
        return self._truth

    def people(self) -> Annotations:
        return self._shown

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        key, people, _ = self._keyframes[index]
        info = self._films.info(key.video)
        sample = assemble(
            key=key,
            clip=self._films.clip(key, faster(spec, info.fps, augment, rng), augment),
            source_hw=info.hw,
            people=people,
            targets=self._targets[index],
            spec=spec,
            augment=augment,
            rng=rng,
            dataset=self.name,
        )
        return sample if self._labelled else replace(sample, targets=None)
