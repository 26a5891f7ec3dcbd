"""Pixels and boxes go through a crop, a flip and a resize together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.boxes import Geometry
from tubelet.errors import ConfigError, ShapeError
from tubelet.media.transforms import (
    Augment,
    boxes_in_clip,
    clip_size,
    jitter_boxes,
    prepare,
)
from tubelet.types import InputSpec

sides = st.integers(8, 90)
specs = st.builds(
    InputSpec,
    frames=st.just(2),
    short_side=st.integers(12, 40),
    long_side=st.none() | st.integers(20, 60),
    crop=st.none() | st.integers(8, 40),
    multiple=st.sampled_from([1, 8, 32]),
)
augments = st.builds(
    Augment,
    scale=st.sampled_from([(1.0, 1.0), (0.65, 1.1), (1.0, 1.25)]),
    aspect=st.sampled_from([0.0, 0.2]),
    crop=st.none() | st.integers(8, 48),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    brightness=st.sampled_from([0.0, 0.3]),
    saturation=st.sampled_from([0.0, 0.5]),
)


def clip_for(
    source: tuple[int, int], spec: InputSpec, augment: Augment | None = None
) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(1, 255, (2, *clip_size(source, spec, augment), 3), np.uint8)


@settings(max_examples=150)
@given(sides, sides, specs, st.none() | augments, st.integers(0, 2**32))
def test_the_tensor_fits_its_geometry(
    h: int, w: int, spec: InputSpec, augment: Augment | None, seed: int
) -> None:
    clip = clip_for((h, w), spec, augment)
    frames, geometry = prepare(clip, (h, w), spec, augment, np.random.default_rng(seed))
    assert frames.dtype == torch.uint8
    assert frames.shape == (3, 2, *geometry.out_hw)
    assert frames.is_contiguous()
    assert all(edge % spec.multiple == 0 for edge in geometry.out_hw)
    left, top, right, bottom = geometry.visible_px()
    assert (left, top) == (0, 0), "zeros stand at the right and below, mirrored or not"
    assert 0 < right <= geometry.out_hw[1]
    assert 0 < bottom <= geometry.out_hw[0]
    assert not frames[:, :, bottom:].any()
    assert not frames[:, :, :, right:].any()
    again, same = prepare(clip, (h, w), spec, augment, np.random.default_rng(seed))
    assert same == geometry
    assert torch.equal(again, frames)


boxes = st.lists(
    st.tuples(*[st.floats(0, 1)] * 4).map(
        lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
    ),
    min_size=1,
    max_size=5,
).map(lambda v: np.array(v, np.float32))


@given(sides, sides, specs, augments, st.integers(0, 2**32), boxes)
def test_boxes_go_there_and_back(
    h: int,
    w: int,
    spec: InputSpec,
    augment: Augment,
    seed: int,
    people: np.ndarray,
) -> None:
    clip = clip_for((h, w), spec, augment)
    _, geometry = prepare(clip, (h, w), spec, augment, np.random.default_rng(seed))
    px = geometry.to_clip_px(people)
    assert np.allclose(geometry.to_source_norm(px), people, atol=1e-5)
    cut, keep = boxes_in_clip(people, geometry, spec)
    left, top, right, bottom = geometry.visible_px()
    assert (cut[keep, 2:] - cut[keep, :2] >= 1).all()
    assert (cut >= [left, top, left, top]).all()
    assert (cut <= [right, bottom, right, bottom]).all()
    whole = (px >= [left, top, left, top]).all(1) & (px <= [right, bottom, right, bottom]).all(1)
    large = (px[:, 2:] - px[:, :2] >= 1).all(1)
    assert keep[whole & large].all()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 11), st.integers(0, 17), augments)
def test_a_mark_in_the_picture_stays_under_its_box(
    seed: int, row: int, column: int, augment: Augment
) -> None:
    """A white square drawn in the source lies where its box says after any augmentation."""
    spec = InputSpec(frames=1, short_side=48, multiple=16)
    source = (48, 72)
    image = np.zeros((1, *source, 3), np.uint8)
    image[0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 255
    box = np.array([[column / 18, row / 12, (column + 1) / 18, (row + 1) / 12]], np.float32)
    frames, geometry = prepare(image, source, spec, augment, np.random.default_rng(seed))
    cut, keep = boxes_in_clip(box, geometry, InputSpec(), min_visible=0.9)
    light = frames[1, 0].float().numpy()
    if not keep[0]:
        return
    rows, columns = np.nonzero(light > 0.4 * light.max())
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert light.max() > 60
    assert np.abs(np.array(found) - cut[0]).max() <= 1.6


def test_without_augmentation_the_decoders_pixels_pass_untouched() -> None:
    spec = InputSpec(frames=2, short_side=24, multiple=32)
    clip = clip_for((48, 80), spec)
    frames, geometry = prepare(clip, (48, 80), spec)
    assert geometry == Geometry(source_hw=(48, 80), resized_hw=(24, 40), out_hw=(32, 64))
    assert np.array_equal(frames[:, :, :24, :40].permute(1, 2, 3, 0).numpy(), clip)


def test_a_classification_crop_is_central() -> None:
    spec = InputSpec(frames=2, short_side=24, crop=20)
    clip = clip_for((48, 80), spec)
    frames, geometry = prepare(clip, (48, 80), spec)
    assert geometry.crop_xy == (10, 2)
    assert np.array_equal(frames.permute(1, 2, 3, 0).numpy(), clip[:, 2:22, 10:30])


def test_a_flip_mirrors_the_pixels() -> None:
    spec = InputSpec(frames=2, short_side=24)
    clip = clip_for((24, 40), spec)
    frames, _ = prepare(clip, (24, 40), spec, Augment(flip=1.0), np.random.default_rng(0))
    assert np.array_equal(frames.permute(1, 2, 3, 0).numpy(), clip[:, :, ::-1])


def test_colour_jitter_keeps_grey_grey_and_changes_the_rest() -> None:
    spec = InputSpec(frames=2, short_side=24)
    grey = np.repeat(clip_for((24, 40), spec)[..., :1], 3, axis=3)
    augment = Augment(brightness=0.4, contrast=0.4, saturation=0.8)
    frames, _ = prepare(grey, (24, 40), spec, augment, np.random.default_rng(1))
    assert (frames.amax(0).int() - frames.amin(0).int()).max() <= 1
    assert not np.array_equal(frames.permute(1, 2, 3, 0).numpy(), grey)


@given(boxes, st.floats(0, 0.45), st.integers(0, 2**32))
def test_jittered_boxes_stay_boxes(people: np.ndarray, amount: float, seed: int) -> None:
    moved = jitter_boxes(people, amount, np.random.default_rng(seed))
    size = np.tile(people[:, 2:] - people[:, :2], 2)
    assert (np.abs(moved - people) <= amount * size + 1e-6).all()
    assert (moved[:, 2:] >= moved[:, :2]).all()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_what_does_not_fit_is_refused() -> None:
    spec = InputSpec(frames=2, short_side=24)
    clip = clip_for((24, 40), spec)
    with pytest.raises(ShapeError, match="RGB bytes"):
        prepare(clip.astype(np.float32), (24, 40), spec)
    with pytest.raises(ShapeError, match="wrong length"):
        prepare(clip[:1], (24, 40), spec)
    with pytest.raises(ConfigError, match="random generator"):
        prepare(clip, (24, 40), spec, Augment(flip=1.0))
    with pytest.raises(ConfigError, match="scale"):
        Augment(scale=(1.2, 1.0))
    with pytest.raises(ConfigError, match="flip"):
        Augment(flip=1.5)
    with pytest.raises(ConfigError, match="jitter"):
        jitter_boxes(np.zeros((0, 4), np.float32), 0.6, np.random.default_rng(0))
