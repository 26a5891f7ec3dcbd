"""Folders of extracted frames read as films."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.dataset import VideoDataset
from tubelet.data.films import Footage
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import read_ava_csv
from tubelet.errors import InputError, VideoError
from tubelet.media.frames import FrameFolder, open_film
from tubelet.media.sampling import read_window
from tubelet.media.video import Video
from tubelet.playground import PlaygroundConfig, write_dataset
from tubelet.types import InputSpec

ExtractFrames = Callable[..., None]
WORLD = PlaygroundConfig(height=48, width=64, seconds=1.5)
SPEC = InputSpec(frames=4, stride=3, short_side=48)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return write_dataset(folder, clips=1, config=WORLD, split="val").videos[0]


@pytest.fixture
def folder(film: Path, tmp_path: Path, extract_frames: ExtractFrames) -> Path:
    extract_frames(film, tmp_path / "frames", "img_%05d.jpg")
    return tmp_path / "frames"


def test_extracted_losslessly_a_film_gives_the_very_same_samples(
    film: Path, tmp_path: Path, extract_frames: ExtractFrames
) -> None:
    extract_frames(film, tmp_path / film.stem, "video_%06d.png")
    labels = read_label_map(film.parents[1] / "labels.pbtxt")
    table = read_ava_csv(film.parents[1] / "val.csv")
    both = [
        VideoDataset(name="x", annotations=table, labels=labels, videos={film.stem: footage})
        for footage in (Footage(film), Footage(tmp_path / film.stem, fps=WORLD.fps))
    ]
    for index in range(len(both[0])):
        one, two = (dataset.sample(index, spec=SPEC) for dataset in both)
        assert one.key == two.key
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.boxes_px, two.boxes_px)


def test_it_says_what_the_film_says(film: Path, folder: Path) -> None:
    with Video(film) as video, FrameFolder(folder, fps=WORLD.fps) as frames:
        assert (frames.info.hw, frames.info.fps) == (video.info.hw, video.info.fps)
        assert frames.info.duration_ms == video.info.duration_ms
        assert frames.info.frame_count == WORLD.frame_count
        times = [f.time_ms for f in frames.frames()]
        assert times == [f.time_ms for f in video.frames()]
        near = np.stack([f.image for f in frames.frames((24, 32))]).astype(int)
        true = np.stack([f.image for f in video.frames((24, 32))]).astype(int)
        assert np.abs(near - true).mean() < 4, "JPEG loses little"


@pytest.mark.parametrize("start_ms", [0, 1, 40, 41, 700, 1459, 1460, 1461, 9000])
def test_beginning_later_gives_the_same_frames(folder: Path, start_ms: int) -> None:
    frames = FrameFolder(folder, fps=25)
    later = [(f.time_ms, f.image.tobytes()) for f in frames.frames(start_ms=start_ms)]
    whole = [(f.time_ms, f.image.tobytes()) for f in frames.frames()]
    assert later == [f for f in whole if f[0] >= start_ms]


def test_a_window_seeks_and_another_size_comes_from_the_picture(folder: Path) -> None:
    frames = FrameFolder(folder, fps=25)
    clip = read_window(frames, 1000, SPEC, (24, 32))
    shown = list(frames.frames((24, 32), keep_source=True))
    assert np.array_equal(clip[2], shown[25].image)
    assert shown[25].resized((48, 64)).shape == (48, 64, 3)
    with pytest.raises(VideoError, match="ends before the keyframe"):
        read_window(frames, 4000, SPEC)


def test_a_gap_names_the_frame(folder: Path) -> None:
    (folder / "img_00007.jpg").unlink()
    with pytest.raises(VideoError, match=r"number 7 after img_00006\.jpg[^$]*img_00008\.jpg"):
        FrameFolder(folder, fps=25)


def test_a_repeated_number_names_the_frame(folder: Path) -> None:
    (folder / "img_007.jpg").write_bytes((folder / "img_00007.jpg").read_bytes())
    with pytest.raises(VideoError, match="duplicate frame"):
        FrameFolder(folder, fps=25)


@pytest.mark.parametrize("damage", [b"", b"no picture", 200, -1, -300])
def test_a_broken_picture_is_named(folder: Path, damage: bytes | int) -> None:
    path = folder / "img_00003.jpg"
    path.write_bytes(path.read_bytes()[:damage] if isinstance(damage, int) else damage)
    frames = FrameFolder(folder, fps=25)
    with pytest.raises(VideoError, match=r"cannot decode the frame[^$]*img_00003\.jpg"):
        list(frames.frames())


def test_a_picture_of_another_size_is_named(
    folder: Path, film: Path, tmp_path: Path, extract_frames: ExtractFrames
) -> None:
    extract_frames(film, tmp_path / "small", "img_%05d.jpg", hw=(32, 32))
    shutil.copy(tmp_path / "small" / "img_00004.jpg", folder)
    with pytest.raises(VideoError, match=r"img_00004\.jpg[^$]*64×48 pixels[^$]*32×32"):
        list(FrameFolder(folder, fps=25).frames())


def test_flow_beside_the_pictures_is_passed_over_but_two_films_are_not(folder: Path) -> None:
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg", "notes.txt"):
        (folder / name).write_bytes(b"")
    assert FrameFolder(folder, fps=25).info.frame_count == WORLD.frame_count
    for path in folder.glob("img_*"):
        path.rename(path.with_name(path.name.replace("img_", "vid_")))
    with pytest.raises(VideoError, match="several videos"):
        FrameFolder(folder, fps=25)


def test_a_folder_needs_its_rate_and_frames(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing frame rate"):
        open_film(folder)
    with pytest.raises(InputError, match="invalid frame rate"):
        open_film(folder, fps=0)
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="no frames in the folder"):
        open_film(tmp_path / "none", fps=25)
    with pytest.raises(InputError, match="folder of frames not found"):
        FrameFolder(tmp_path / "absent", fps=25)
