"""Mosaics: four clips in the quarters of one, so that a step shows more people and smaller ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tubelet.batch import Sample
from tubelet.boxes import Geometry
from tubelet.errors import ShapeError
from tubelet.media.transforms import Augment
from tubelet.types import InputSpec, People

TILES = 4


def quarter(spec: InputSpec, augment: Augment) -> tuple[InputSpec, Augment]:
    """How the clip of one quarter is prepared: everything half as large."""
    crop = augment.crop
    if crop is not None:
        crop = _half(crop) if isinstance(crop, int) else (_half(crop[0]), _half(crop[1]))
    small = replace(
        spec,
        short_side=_half(spec.short_side),
        long_side=None if spec.long_side is None else _half(spec.long_side),
        crop=None if spec.crop is None else _half(spec.crop),
        multiple=1,
    )
    return small, replace(augment, crop=crop)


def mosaic(samples: Sequence[Sample], *, multiple: int = 1) -> Sample:
    """Four samples of one dataset as one, row by row; quarters are as large as the largest clip.

    Key and dataset are the first one's. Sides are padded to a `multiple` at the right and below.
    """
    if len(samples) != TILES:
        raise ShapeError("a mosaic is made of four clips", expected=TILES, got=len(samples))
    tile_h = max(s.frames.shape[2] for s in samples)
    tile_w = max(s.frames.shape[3] for s in samples)
    height, width = (-(-2 * side // multiple) * multiple for side in (tile_h, tile_w))
    first = samples[0]
    frames = first.frames.new_zeros(3, first.frames.shape[1], height, width)
    moved = []
    for number, sample in enumerate(samples):
        top, left = (number // 2) * tile_h, (number % 2) * tile_w
        h, w = sample.frames.shape[2:]
        frames[:, :, top : top + h, left : left + w] = sample.frames
        moved.append(sample.boxes_px + torch.tensor([left, top, left, top]))
    boxes = torch.cat(moved)
    scale = np.array([width, height, width, height], np.float32)
    targets = [s.targets for s in samples if s.targets is not None]
    return Sample(
        key=first.key,
        frames=frames,
        people=People(
            boxes=np.divide(boxes.numpy(), scale, dtype=np.float32),
            scores=np.concatenate([s.people.scores for s in samples]),
            track_ids=np.full(len(boxes), -1, np.int64),  # ids of other videos mean other people
        ),
        boxes_px=boxes,
        targets=torch.cat(targets) if len(targets) == TILES else None,
        known=first.known,
        geometry=Geometry(
            source_hw=(height, width),
            resized_hw=(height, width),
            crop_xy=(0, 0),
            out_hw=(height, width),
            flip=False,
        ),
        dataset=first.dataset,
    )


def _half(side: int) -> int:
    return max(1, -(-side // 2))
