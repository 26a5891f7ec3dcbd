"""A hole in a recording is a hole: nothing is scored in it, and no clip reaches across it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.api import ActionDetector
from tubelet.data.films import Films
from tubelet.media.sampling import HOLE_MS, hole_ms, keyframe_times, read_window, stretch, windows
from tubelet.media.video import Video
from tubelet.media.writer import VideoWriter
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.create import create_model
from tubelet.people.given import GivenPeople
from tubelet.types import InputSpec, Key, People

TIMES = [*range(0, 1000, 40), *range(6000, 7000, 40)]
SPEC = InputSpec(frames=4, stride=4, short_side=48)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of frames, five without one, and another second, each frame of its own grey."""
    path = tmp_path_factory.mktemp("hole") / "hole.mp4"
    with VideoWriter(path, 25, (48, 64)) as writer:
        for index, time_ms in enumerate(TIMES):
            writer.write(np.full((48, 64, 3), 4 * index + 8, np.uint8), time_ms)
    return path


def test_no_key_in_a_hole_and_no_clip_across_it(film: Path) -> None:
    seen: list[tuple[int, int]] = []
    with Video(film) as video:
        limit = hole_ms(video.info)
        keys = keyframe_times(video.info, 500)
        found = list(windows(video.frames(), keys, SPEC, longest_ms=limit,
                             on_hole=lambda *times: seen.append(times)))  # fmt: skip
    assert limit == HOLE_MS
    assert seen == [(960, 6000)]
    assert [w.key_ms for w in found] == [0, 500, 1000, 6000, 6500]
    for window in found:
        assert len({time < 3000 for time in window.times_ms.tolist()}) == 1
    assert found[2].times_ms.tolist() == [640, 800, 960, 960]
    assert found[3].times_ms.tolist() == [6000, 6000, 6000, 6160]


@pytest.mark.parametrize("key_ms", [0, 960, 1400, 3000, 6000, 6100, 6900])
def test_seeking_and_memory_give_the_same_clip(film: Path, key_ms: int) -> None:
    with Video(film) as video:
        times = np.array([f.time_ms for f in video.frames()])
    first, stop = stretch(times, key_ms, HOLE_MS)
    assert (first, stop) == ((0, 25) if key_ms < 6000 else (25, 50))
    sought = read_window(film, key_ms, SPEC, (48, 64))
    held = Films({"hole": film}, cache_short_side=48).clip(Key(video="hole", time_ms=key_ms), SPEC)
    assert np.array_equal(sought, held)


def test_a_slow_film_is_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "slow.mp4"
    with VideoWriter(path, 1, (48, 64)) as writer:
        for second in range(0, 30, 3):
            writer.write(np.zeros((48, 64, 3), np.uint8), second * 1000)
    with Video(path) as video:
        keys = keyframe_times(video.info, 3000)
        found = list(windows(video.frames(), keys, SPEC, longest_ms=hole_ms(video.info)))
    assert len(found) == len(keys)


def test_detection_says_where_the_hole_is(film: Path) -> None:
    torch.manual_seed(0)
    model = create_model(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4), input=SPEC, labels=["walk", "sit"]
    )
    given = GivenPeople(
        (Key(video="hole", time_ms=at), People.of([[0.1, 0.1, 0.9, 0.9]]))
        for at in (0, 500, 1000, 3000, 6000, 6500)
    )
    said: list[str] = []
    moments = [
        m.key.time_ms
        for m in ActionDetector(model, device="cpu").detect(film, people=given, on_note=said.append)
    ]
    assert moments == [0, 500, 1000, 6000, 6500]
    assert any("from 0.960 to 6.000 s" in line for line in said)
