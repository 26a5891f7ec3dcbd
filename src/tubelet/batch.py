"""The records that carry tensors: Sample, Batch, Rois, FeatureMap, Memory.

Shape legend: B clips, T frames, R people of the whole batch (RoIs are flat), K classes,
M memory tokens, D their width. Pixels stay uint8 RGB until the model normalises them, but for
clips that an upstream project's kernel or padding makes float32 grey levels
(`InputSpec.preprocessing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tubelet.boxes import Geometry
from tubelet.errors import ShapeError
from tubelet.types import Key, People


def _check(
    tensor: Tensor, shape: tuple[int | None, ...], name: str, dtype: torch.dtype | None = None
) -> None:
    fits = tensor.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits or (dtype is not None and tensor.dtype != dtype):
        wanted = "(" + ", ".join("*" if s is None else str(s) for s in shape) + ")"
        raise ShapeError(
            f"{name} has the wrong shape or type",
            expected=f"{wanted} {dtype or ''}".strip(),
            got=f"{tuple(tensor.shape)} {tensor.dtype}",
        )


class _OnDevice:
    """`.to(device)` for a record of tensors."""

    __slots__ = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same record with every tensor on `device`."""
        moved: dict[str, Any] = {}
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, (Tensor, _OnDevice)):
                moved[f.name] = value.to(device, non_blocking=non_blocking)
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rois(_OnDevice):
    """People of a batch: `boxes_px (R, 4)` in clip pixels, `boxes_norm (R, 4)` of the source
    frame in [0, 1], `clip (R,)` the index of the clip each belongs to. `picture_px (R, 2)`: x and y
    where that clip's picture ends and its padding begins; None where clips are all picture."""

    boxes_px: Tensor
    boxes_norm: Tensor
    clip: Tensor
    picture_px: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self.boxes_px, (None, 4), "Rois.boxes_px")
        people = self.boxes_px.shape[0]  # len() would fix the number when a model is exported
        _check(self.boxes_norm, (people, 4), "Rois.boxes_norm")
        _check(self.clip, (people,), "Rois.clip", torch.int64)
        if self.picture_px is not None:
            _check(self.picture_px, (people, 2), "Rois.picture_px")

    def __len__(self) -> int:
        return len(self.boxes_px)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureMap(_OnDevice):
    """`values (B, C, T', H', W')`; strides in clip frames and clip pixels per cell."""

    values: Tensor
    time_stride: int
    space_stride: int

    @property
    def channels(self) -> int:
        return self.values.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory(_OnDevice):
    """Person tokens of other moments: `values (M, D)`, `group (M,)` the clip they serve,
    `delta_ms (M,)` their time minus that clip's."""

    values: Tensor
    group: Tensor
    delta_ms: Tensor

    def __post_init__(self) -> None:
        _check(self.values, (None, None), "Memory.values")
        _check(self.group, (len(self.values),), "Memory.group", torch.int64)
        _check(self.delta_ms, (len(self.values),), "Memory.delta_ms", torch.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One clip with its people, as a dataset yields it and detection prepares it.

    `frames u8 (3, T, H, W)` RGB; `people` in source coordinates; `boxes_px (N, 4)` in the clip;
    `targets (N, K)` float, None when unlabelled; `known bool (K,)`: classes the dataset annotates.
    """

    key: Key
    frames: Tensor
    people: People
    boxes_px: Tensor
    targets: Tensor | None
    known: Tensor
    geometry: Geometry
    dataset: str

    def __post_init__(self) -> None:
        kind = torch.float32 if self.frames.is_floating_point() else torch.uint8
        _check(self.frames, (3, None, None, None), "Sample.frames", kind)
        n = len(self.people)
        _check(self.boxes_px, (n, 4), "Sample.boxes_px")
        _check(self.known, (None,), "Sample.known", torch.bool)
        if self.targets is not None:
            _check(self.targets, (n, len(self.known)), "Sample.targets")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch(_OnDevice):
    """`frames u8 (B, 3, T, H, W)`; flat `rois`; `targets (R, K)` or None; `known (R, K)`;
    `group (B,)`: clips with one number are of one video; `dataset (B,)` names; `keys (B,)`."""

    frames: Tensor
    rois: Rois
    targets: Tensor | None
    known: Tensor
    group: Tensor
    dataset: tuple[str, ...]
    keys: tuple[Key, ...]

    def __len__(self) -> int:
        return len(self.frames)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a Batch; smaller clips are zero-padded right and below.

    Raises ShapeError when the samples differ in frames or classes, or the list is empty.
    """
    if not samples:
        raise ShapeError("a batch needs at least one sample")
    frames_in = {s.frames.shape[1] for s in samples}
    widths = {len(s.known) for s in samples}
    if len(frames_in) > 1 or len(widths) > 1:
        raise ShapeError(
            "samples of a batch differ",
            expected="one number of frames and one label space",
            got=f"frames {sorted(frames_in)}, classes {sorted(widths)}",
        )
    height = max(s.frames.shape[2] for s in samples)
    width = max(s.frames.shape[3] for s in samples)
    floats = any(s.frames.is_floating_point() for s in samples)
    kind = torch.float32 if floats else torch.uint8
    frames = torch.zeros(len(samples), 3, frames_in.pop(), height, width, dtype=kind)
    for i, s in enumerate(samples):
        frames[i, :, :, : s.frames.shape[2], : s.frames.shape[3]] = s.frames
    clip = np.repeat(np.arange(len(samples)), [len(s.people) for s in samples])
    videos: dict[tuple[str, str], int] = {}
    labelled = all(s.targets is not None for s in samples)
    return Batch(
        frames=frames,
        rois=Rois(
            boxes_px=torch.cat([s.boxes_px.float() for s in samples]),
            boxes_norm=torch.cat([torch.from_numpy(s.people.boxes) for s in samples]),
            clip=torch.from_numpy(clip.astype(np.int64)),
            picture_px=torch.tensor(
                [s.geometry.visible_px()[2:] for s in samples], dtype=torch.float32
            )[clip],
        ),
        targets=torch.cat([s.targets for s in samples if s.targets is not None])
        if labelled
        else None,
        known=torch.cat([s.known.expand(len(s.people), -1) for s in samples]),
        group=torch.tensor(
            [videos.setdefault((s.dataset, s.key.video), len(videos)) for s in samples]
        ),
        dataset=tuple(s.dataset for s in samples),
        keys=tuple(s.key for s in samples),
    )
