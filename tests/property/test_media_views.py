"""The views of a test clip: crops, mirrorings and scales, cut from one decoded clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import ConfigError, ShapeError
from tubelet.media.transforms import (
    View,
    boxes_in_clip,
    clip_size,
    look,
    prepare,
    whole,
)
from tubelet.testing.views import Views
from tubelet.types import InputSpec

sides = st.integers(8, 90)
specs = st.builds(
    InputSpec,
    frames=st.just(2),
    short_side=st.integers(12, 40),
    long_side=st.none() | st.integers(20, 60),
    crop=st.none() | st.integers(8, 48),
    multiple=st.sampled_from([1, 8, 32]),
)


def decoded(source: tuple[int, int], spec: InputSpec) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (2, *clip_size(source, spec), 3), np.uint8)


def seen(source: tuple[int, int], spec: InputSpec, view: View):  # type: ignore[no-untyped-def]
    return look(*prepare(decoded(source, spec), source, whole(spec)), spec, view)


@settings(max_examples=150)
@given(sides, sides, specs)
def test_the_plain_view_is_what_prepare_gives(h: int, w: int, spec: InputSpec) -> None:
    frames, geometry = prepare(decoded((h, w), spec), (h, w), spec)
    again, same = seen((h, w), spec, View())
    assert same == geometry
    assert torch.equal(again, frames)


@settings(max_examples=150)
@given(sides, sides, specs, st.floats(0, 1))
def test_a_mirrored_view_mirrors_pixels_and_boxes(
    h: int, w: int, spec: InputSpec, place: float
) -> None:
    if spec.crop is not None:  # beyond a crop that fits no multiple, more of the picture shows
        spec = replace(spec, crop=-(-spec.crop // spec.multiple) * spec.multiple)
    plain, before = seen((h, w), spec, View(place=place))
    mirrored, after = seen((h, w), spec, View(place=place, flip=True))
    left, top, right, bottom = before.visible_px()
    assert after.visible_px() == (left, top, right, bottom)
    assert torch.equal(mirrored[..., :bottom, :right].flip(3), plain[..., :bottom, :right])
    assert not mirrored[..., right:].any() and not mirrored[..., bottom:, :].any()
    box = np.array([[0.2, 0.1, 0.7, 0.9]], np.float32)
    own, other = (g.to_clip_px(box)[0] for g in (before, after))
    np.testing.assert_allclose(other[[2, 0]], right - own[[0, 2]], atol=1e-3)
    np.testing.assert_allclose(after.to_source_norm(after.to_clip_px(box)), box, atol=1e-5)
    cut = boxes_in_clip(box, after, spec)[0][0]
    assert cut[0] >= 0 and cut[2] <= right


@settings(max_examples=100)
@given(st.integers(20, 60), st.integers(0, 60), st.booleans(), st.integers(12, 40))
def test_three_crops_cover_the_longer_side(
    short: int, more: int, upright: bool, short_side: int
) -> None:
    source = (short + more, short) if upright else (short, short + more)
    [spec] = Views(crops=3).specs(InputSpec(frames=2, short_side=short_side, crop=10))
    views = Views(crops=3).looks()
    assert [view.place for view in views] == [0.0, 0.5, 1.0]
    resized = clip_size(source, spec)
    axis, long_side = (1, resized[0]) if upright else (0, resized[1])
    shown = set()
    for view in views:
        frames, geometry = seen(source, spec, view)
        assert frames.shape[2:] == (short_side, short_side)
        begin = geometry.crop_xy[axis]
        shown |= set(range(begin, begin + short_side))
    if long_side <= 3 * short_side:
        assert shown == set(range(long_side))


def test_scales_let_the_long_side_and_the_crop_grow_alike() -> None:
    spec = InputSpec(short_side=256, long_side=464, crop=224)
    small, own, large = Views(scales=(128, 256, 320)).specs(spec)
    assert (small.long_side, small.crop) == (232, 112)
    assert own == spec
    assert (large.short_side, large.long_side, large.crop) == (320, 580, 280)
    assert Views().specs(spec) == (spec,)
    assert Views(scales=(256, 320), flip=True, moments=10, crops=3).count == 120


def test_moments_are_spread_from_end_to_end() -> None:
    assert Views().times() == (0.5,)
    assert Views(moments=3).times() == (0.0, 0.5, 1.0)


def test_views_of_another_clip_are_refused() -> None:
    spec = InputSpec(frames=2, short_side=16, crop=12)
    frames, geometry = prepare(decoded((20, 30), spec), (20, 30), whole(spec))
    with pytest.raises(ShapeError, match="whole clip"):
        look(frames, geometry, replace(spec, short_side=18), View())
    with pytest.raises(ConfigError, match="place"):
        View(place=1.2)
