"""A written film reads back as it was, and is there whole or not at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tubelet.errors import InputError, ShapeError, VideoError
from tubelet.media.video import Video
from tubelet.media.writer import VideoWriter


def images(count: int, hw: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    out = []
    for i in range(count):
        image = np.zeros((*hw, 3), np.uint8)
        image[:] = (200, 3 * i, 40)
        image[:, i : i + 12] = (20, 60, 220)
        out.append(image)
    return out


def write(
    path: Path, count: int = 12, fps: float | Fraction = 25, hw: tuple[int, int] = (64, 96)
) -> Path:
    with VideoWriter(path, fps, hw) as writer:
        for image in images(count, hw):
            writer.write(image)
    return path


@pytest.mark.parametrize("fps", [25, 12.5, 29.97, Fraction(30000, 1001), 60])
def test_a_film_reads_back_as_written(tmp_path: Path, fps: float | Fraction) -> None:
    with Video(write(tmp_path / "a.mp4", fps=fps)) as video:
        frames = list(video.frames())
        info = video.info
    assert [f.time_ms for f in frames] == [round(i * 1000 / fps) for i in range(12)]
    assert info.fps == pytest.approx(float(fps), rel=1e-3)
    for frame, image in zip(frames, images(12), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 8


def test_odd_sides_grow_by_a_pixel_of_their_own_edge(tmp_path: Path) -> None:
    with Video(write(tmp_path / "a.mp4", hw=(63, 95))) as video:
        image = next(video.frames()).image
    assert image.shape == (64, 96, 3)
    assert np.abs(image[:63, :95].astype(int) - images(1, (63, 95))[0]).mean() < 8


def test_times_of_a_variable_rate_are_kept_from_the_first_on(tmp_path: Path) -> None:
    times = [10_000, 10_040, 10_300, 10_333, 11_000]
    with VideoWriter(tmp_path / "a.mp4", 25, (64, 96)) as writer:
        for image, time in zip(images(5), times, strict=True):
            writer.write(image, time)
        with pytest.raises(InputError, match="ascend"):
            writer.write(images(1)[0], 10_900)
    with Video(tmp_path / "a.mp4") as video:
        assert [f.time_ms for f in video.frames()] == [t - 10_000 for t in times]


def test_the_index_comes_first(tmp_path: Path) -> None:
    data = write(tmp_path / "1.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_nothing_is_left_of_a_film_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the one before")
    with pytest.raises(RuntimeError, match="half way"), VideoWriter(path, 25, (64, 96)) as writer:
        writer.write(images(1)[0])
        raise RuntimeError("half way")
    with pytest.raises(VideoError, match="no image"), VideoWriter(path, 25, (64, 96)):
        pass
    with pytest.raises(ShapeError, match="does not fit"), VideoWriter(path, 25, (64, 96)) as writer:
        writer.write(images(1, (32, 32))[0])
    assert path.read_bytes() == b"the one before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_impossible_films_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.avi", 25, (64, 96))
    with pytest.raises(InputError, match="folder not found"):
        VideoWriter(tmp_path / "no" / "a.mp4", 25, (64, 96))
    for fps, hw in ((0, (64, 96)), (float("nan"), (64, 96)), (25, (0, 96))):
        with pytest.raises(InputError, match="invalid frame rate or size"):
            VideoWriter(tmp_path / "a.mp4", fps, hw)
