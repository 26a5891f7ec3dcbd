"""RoIAlign against a sample-by-sample reference, and its traced form against its eager one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tubelet.batch import FeatureMap, Rois, Sample, collate
from tubelet.media.transforms import boxes_in_clip, prepare
from tubelet.models.roi import enlarge_boxes, pool_people, roi_align
from tubelet.types import InputSpec, Key, People

CELLS = (5, 7)
STRIDE = 16.0


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """One sample of `plane (C, H, W)` by the kernel's rules at the border."""
    height, width = plane.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return torch.zeros(plane.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    top = plane[:, y0, x0] * (1 - fx) + plane[:, y0, x1] * fx
    return top * (1 - fy) + (plane[:, y1, x0] * (1 - fx) + plane[:, y1, x1] * fx) * fy


def reference(plane: Tensor, box: list[float], size: int, aligned: bool) -> Tensor:
    x1, y1, x2, y2 = (float(torch.tensor(v) / STRIDE - (0.5 if aligned else 0.0)) for v in box)
    low = 0.0 if aligned else 1.0
    width, height = max(x2 - x1, low), max(y2 - y1, low)
    nx, ny = math.ceil(width / size), math.ceil(height / size)
    out = torch.zeros(plane.shape[0], size, size)
    for p in range(size):
        for q in range(size):
            for i in range(ny):
                for j in range(nx):
                    y = y1 + p * height / size + (i + 0.5) * height / size / ny
                    x = x1 + q * width / size + (j + 0.5) * width / size / nx
                    out[:, p, q] += bilinear(plane, y, x) / max(ny * nx, 1)
    return out


coordinate = st.floats(-40, 150, width=16)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(coordinate, coordinate, coordinate, coordinate),
    st.booleans(),
    st.integers(1, 3),
)
def test_equals_the_reference(
    box: tuple[float, float, float, float], aligned: bool, size: int
) -> None:
    plane = torch.randn(2, *CELLS, generator=torch.Generator().manual_seed(0))
    ordered = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
    found = roi_align(
        plane[None],
        torch.tensor([ordered]),
        torch.zeros(1, dtype=torch.int64),
        size=size,
        stride=STRIDE,
        aligned=aligned,
    )[0]
    expected = reference(plane, ordered, size, aligned)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("clips", [1, 3])
def test_the_traced_form_gives_the_same(clips: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(clips, 4, 8, 10, generator=generator)
    corner = torch.rand(20, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + torch.rand(20, 2, generator=generator) * 90], dim=1)
    clip = torch.arange(20) % clips

    def pool(features: Tensor, boxes: Tensor, clip: Tensor) -> Tensor:
        return roi_align(features, boxes, clip, size=7, stride=16)

    traced = torch.compile(pool, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(features, boxes, clip), pool(features, boxes, clip))


def test_boxes_grow_up_to_the_picture_not_into_its_padding() -> None:
    """UMT's arithmetic: half of (0.1, 0.05) on either side, to the picture's last pixel."""
    box = torch.tensor([[40.0, 10.0, 89.0, 49.0]])
    grown = enlarge_boxes(box, (0.05, 0.025), torch.tensor([[90.0, 60.0]]))
    assert torch.allclose(grown, torch.tensor([[37.5, 9.0, 89.0, 50.0]]))
    values = torch.randn(1, 3, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    rois = Rois(boxes_px=box, boxes_norm=torch.zeros(1, 4), clip=torch.zeros(1, dtype=torch.int64))
    maps = [FeatureMap(values=values, time_stride=1, space_stride=16)]

    def pooled(picture: Tensor | None) -> Tensor:
        seen = replace(rois, picture_px=picture)
        return pool_people(maps, seen, size=3, aligned=False, enlarge=(0.05, 0.025))

    whole = roi_align(values.mean(2), grown, rois.clip, size=3, stride=16, aligned=False)
    assert torch.equal(pooled(torch.tensor([[90.0, 60.0]])), whole.amax((2, 3)))
    assert torch.equal(pooled(None), pooled(torch.tensor([[96.0, 64.0]])))
    assert not torch.equal(pooled(None), pooled(torch.tensor([[90.0, 60.0]])))


def test_a_batch_knows_where_its_pictures_end() -> None:
    spec = InputSpec(frames=2, short_side=20, multiple=16)
    clip = np.zeros((2, 20, 30, 3), np.uint8)
    frames, geometry = prepare(clip, (20, 30), spec)
    people = People.of([[0.1, 0.2, 0.9, 1.0]])
    sample = Sample(
        key=Key(video="a", time_ms=0),
        frames=frames,
        people=people,
        boxes_px=torch.from_numpy(boxes_in_clip(people.boxes, geometry, spec)[0]),
        targets=None,
        known=torch.ones(1, dtype=torch.bool),
        geometry=geometry,
        dataset="",
    )
    batch = collate([sample, sample])
    assert batch.frames.shape[3:] == (32, 32)
    assert batch.rois.picture_px is not None and batch.rois.picture_px.tolist() == [[30, 20]] * 2
