"""What upstream projects do to a clip: their kernels, frame choices, roundings and boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tubelet.boxes import short_side_hw
from tubelet.config import decode, encode
from tubelet.errors import ConfigError
from tubelet.media import originals
from tubelet.media.kernels import resample
from tubelet.media.sampling import read_window, window
from tubelet.media.transforms import View, boxes_in_clip, clip_size, look, prepare, whole
from tubelet.media.video import Video
from tubelet.playground import PlaygroundConfig
from tubelet.playground.make import write_dataset
from tubelet.types import InputSpec, Preprocessing

NAMED = {name: value for name, value in vars(originals).items() if isinstance(value, Preprocessing)}
SIZES = [
    ((240, 320), (256, 341)),
    ((96, 130), (41, 55)),
    ((50, 30), (128, 76)),
    ((64, 64), (32, 32)),
]


def picture(hw: tuple[int, int]) -> np.ndarray:
    """Noise beside a ramp, the same everywhere."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    noise = (x * 7919 + y * 104729 + x * y * 31) % 256
    return np.stack([noise, (x + y) % 256, np.where(x > y, 255, 0)], -1).astype(np.uint8)


# Sum of all bytes and five of them, from cv2.resize(…, INTER_LINEAR) of OpenCV 4.10 and 5.0.
CV2 = {
    (256, 341): (36226816, [0, 209, 93, 25, 119]),
    (41, 55): (903408, [77, 60, 91, 124, 169]),
    (128, 76): (2331208, [0, 19, 208, 132, 239]),
    (32, 32): (322960, [76, 175, 172, 165, 122]),
}


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_cv2_kernel_gives_opencvs_bytes(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    total, samples = CV2[target]
    found = resample(picture(source), target, "cv2")
    h, w = target
    places = [(0, 0), (0, w - 1), (h // 2, w // 2), (h - 1, w // 3), (h - 1, w - 1)]
    assert [int(found[y, x, 0]) for y, x in places] == samples
    assert int(found.sum(dtype=np.int64)) == total


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_torch_kernel_is_interpolate_without_rounding(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    image = picture(source)
    exact = functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(), target, mode="bilinear"
    )
    found = torch.from_numpy(resample(image, target, "torch")).permute(2, 0, 1)[None]
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 1e-3


def test_a_picture_of_the_right_size_stays() -> None:
    image = picture((20, 30))
    assert resample(image, (20, 30), "cv2") is image


@pytest.mark.parametrize("parts", [4, 8, 16, 32, 64])
def test_a_spread_is_linspace_cut_to_whole_numbers(parts: int) -> None:
    spec = InputSpec(frames=parts, preprocessing=Preprocessing(choice="ends", span_s=1.0), fps=30.0)
    for count in range(1, 140):
        times = 500 + np.arange(count) * 1000 // count
        expected = torch.linspace(0, count - 1, parts).long()
        assert window(times, 1000, spec).tolist() == expected.tolist(), count


def test_middles_lie_in_the_middles() -> None:
    rules = Preprocessing(choice="middles", span_s=2.0)
    spec = InputSpec(frames=4, fps=25.0, preprocessing=rules)
    times = np.arange(200) * 40
    # 50 frames from index 25 on: parts of 12.5, their middles 6.25, 18.75, …
    assert window(times, 2000, spec).tolist() == [31, 43, 56, 68]


def test_a_span_without_a_frame_shows_the_frame_on_show() -> None:
    spec = InputSpec(frames=3, preprocessing=Preprocessing(choice="ends", span_s=0.5))
    assert window([0, 5000], 3000, spec).tolist() == [0, 0, 0]


def test_clips_of_cut_films_count_from_the_key() -> None:
    """25 fps cut into pictures at 30 by FFmpeg: picture n shows the last frame whose stamp rounds
    to n/30 s or less."""
    times = np.arange(250) * 40
    spec = InputSpec(frames=6, stride=1, fps=30.0, preprocessing=originals.PYSLOWFAST_AVA)
    pictures = [0, 1, 2, 2, 3, 4]
    for second in (1, 2):
        base = second * 25
        expected = [base - 3, base - 2, base - 1, *(base + p for p in pictures[:3])]
        assert window(times, second * 1000, spec).tolist() == expected
    # At 24 fps the nearest frame would be another: 2/30 s is nearer to frame 2 than to frame 1.
    times = np.arange(250) * 1000 // 24
    seen = window(times, 2000, replace(spec, frames=12))[6:].tolist()
    assert seen == [48 + p for p in (0, 1, 1, 2, 3, 4)]


def test_clips_of_mmaction2_lie_beside_the_key() -> None:
    times = np.arange(250) * 40
    spec = InputSpec(frames=6, stride=1, fps=30.0)
    late = replace(spec, preprocessing=originals.MMACTION_AVA)
    assert window(times, 1000, late).tolist()[2:] == [25, 26, 27, 27]
    early = replace(spec, preprocessing=originals.MMACTION_AVA_KINETICS)
    assert window(times, 1000, early).tolist()[:3] == [22, 22, 23]


@pytest.mark.parametrize(
    ("source", "short", "rounding", "expected"),
    [
        ((240, 320), 256, "floor", (256, 341)),
        ((432, 768), 256, "floor", (256, 455)),
        ((768, 432), 256, "floor", (455, 256)),
        ((256, 300), 256, "floor", (256, 300)),
        ((128, 333), 64, "half_up", (64, 167)),
        ((128, 333), 64, "nearest", (64, 166)),
        ((432, 768), 256, "half_up", (256, 455)),
    ],
)
def test_sizes_round_as_named(
    source: tuple[int, int], short: int, rounding: str, expected: tuple[int, int]
) -> None:
    assert short_side_hw(source, short, None, rounding) == expected  # type: ignore[arg-type]
    limited = short_side_hw(source, short, max(expected) // 2, rounding)  # type: ignore[arg-type]
    assert max(limited) <= max(expected) // 2 + 1


def placed(rules: Preprocessing, view: View | None = None) -> list[float]:
    spec = InputSpec(frames=1, short_side=256, fps=30.0, preprocessing=rules)
    hw = clip_size((240, 320), spec)
    clip, geometry = prepare(np.zeros((1, *hw, 3), np.uint8), (240, 320), whole(spec))
    if view is not None:
        _, geometry = look(clip, geometry, spec, view)
    box = np.array([[0.25, 0.5, 1.0, 1.0]], np.float32)
    values: list[float] = boxes_in_clip(box, geometry, spec)[0][0].tolist()
    return values


def test_boxes_are_placed_as_named() -> None:
    long_side = 341 / 320
    assert placed(Preprocessing()) == pytest.approx([85.25, 128, 341, 256])
    assert placed(originals.PYSLOWFAST_AVA) == pytest.approx(
        [80 * long_side, 120 * long_side, 319 * long_side, 239 * long_side], abs=1e-4
    )
    assert placed(originals.UMT_AVA) == pytest.approx(
        [80 * 341 / 320, 128, 319 * 341 / 320, 239 * 256 / 240], abs=1e-4
    )
    mirrored = placed(originals.PYSLOWFAST_AVA, View(flip=True))
    assert mirrored == pytest.approx(
        [340 - 319 * long_side, 120 * long_side, 340 - 80 * long_side, 239 * long_side], abs=1e-4
    )


def test_central_crops_round_as_named() -> None:
    spec = InputSpec(frames=1, short_side=256, crop=256, fps=30.0)
    left = {}
    for name in ("PYSLOWFAST_CLIPS", "PYTORCHVIDEO_CLIPS", "MMACTION_CLIPS"):
        own = replace(spec, preprocessing=NAMED[name])
        clip = np.zeros((1, *clip_size((240, 320), own), 3), np.uint8)
        left[name] = prepare(clip, (240, 320), own)[1].crop_xy[0]
    assert left == {"PYSLOWFAST_CLIPS": 43, "PYTORCHVIDEO_CLIPS": 42, "MMACTION_CLIPS": 42}


def test_what_fills_up_to_a_multiple_is_black_or_the_mean() -> None:
    spec = InputSpec(frames=1, short_side=20, multiple=16, mean=(0.1, 0.5, 0.9))
    clip = np.full((1, 20, 30, 3), 200, np.uint8)
    black, _ = prepare(clip, (20, 30), spec)
    assert black[:, 0, 25, 31].tolist() == [0, 0, 0]
    grey, _ = prepare(clip, (20, 30), replace(spec, preprocessing=Preprocessing(padding="mean")))
    assert grey[:, 0, 25, 31].tolist() == [25.5, 127.5, 229.5]  # exactly: bytes would round
    assert (black[..., :20, :30] == 200).all() and (grey[..., :20, :30] == 200).all()


@pytest.mark.parametrize("name", NAMED)
def test_it_travels_with_the_input(name: str) -> None:
    spec = InputSpec(fps=30.0, preprocessing=NAMED[name])
    assert decode(InputSpec, encode(spec)) == spec


def test_a_checkpoint_from_before_has_our_own_way() -> None:
    old = {k: v for k, v in encode(InputSpec()).items() if k != "preprocessing"}
    assert decode(InputSpec, old) == InputSpec(preprocessing=Preprocessing())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Preprocessing(span_s=1.0),
        lambda: Preprocessing(choice="ends", span_s=0.0),
        lambda: Preprocessing(choice="ends", span_s=1.0, shift=1),
        lambda: InputSpec(preprocessing=originals.PYSLOWFAST_AVA),
        lambda: InputSpec(preprocessing=originals.PYSLOWFAST_CLIPS),
    ],
)
def test_what_cannot_be_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError):
        wrong()  # type: ignore[operator]


@pytest.mark.parametrize("kernel", ["cv2", "torch"])
def test_a_film_is_resized_from_its_full_picture(tmp_path: Path, kernel: str) -> None:
    world = PlaygroundConfig(height=72, width=96, seconds=2)
    film = write_dataset(tmp_path, clips=1, config=world, split="val").videos[0]
    spec = InputSpec(
        frames=4,
        stride=2,
        fps=30.0,
        short_side=50,
        preprocessing=Preprocessing(kernel=kernel, anchor="key"),  # type: ignore[arg-type]
    )
    with Video(film) as video:
        full = read_window(video, 1000, spec)
        small = read_window(video, 1000, spec, clip_size(video.info.hw, spec))
    for one, other in zip(full, small, strict=True):
        assert np.array_equal(resample(one, (50, 67), kernel), other)  # type: ignore[arg-type]
