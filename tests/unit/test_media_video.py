"""Opening, describing and finding videos; orientation, colour and damage."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tubelet.errors import InputError, VideoError
from tubelet.media.decoder import Orientation
from tubelet.media.video import Video, find_videos, probe

CORNERS = np.zeros((64, 96, 3), np.uint8)
CORNERS[:32, :48], CORNERS[:32, 48:] = (220, 30, 30), (30, 200, 30)
CORNERS[32:, :48], CORNERS[32:, 48:] = (40, 40, 220), (128, 128, 128)


def encode(
    path: Path, images: list[np.ndarray], codec: str = "libx264", **stream_args: Any
) -> Path:
    matrix = stream_args.pop("matrix", None)
    aspect = stream_args.pop("aspect", None)
    pix_fmt = stream_args.pop("pix_fmt", "yuv420p")
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=Fraction(25), options=stream_args)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if pix_fmt == "gray":
            stream.codec_context.color_range = 2  # x264 stores grey as it comes: full range.
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    return path


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a.astype(int) - b.astype(int)).mean() < 6)


# The eight ways to lay a picture down, by display matrix: (x, y) → (a·x + c·y, b·x + d·y).
ONE = 65536
SIGNS = [(s, t) for s in (ONE, -ONE) for t in (ONE, -ONE)]
WAYS = [(s, 0, 0, t) for s, t in SIGNS] + [(0, s, t, 0) for s, t in SIGNS]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_orientation_is_made_upright_and_told(tmp_path: Path, way: tuple[int, ...]) -> None:
    a, b, c, d = way
    path = encode(tmp_path / "turned.mp4", [CORNERS] * 3, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    expected = np.zeros((64, 96, 3) if a else (96, 64, 3), np.uint8)
    for y in range(64):
        for x in range(96):
            to_x, to_y = (a * x + c * y) // ONE, (b * x + d * y) // ONE
            expected[to_y, to_x] = CORNERS[y, x]  # Negative indices count from the far edge.
    shift = [1 if a < 0 or c < 0 else 0, 1 if b < 0 or d < 0 else 0]
    expected = np.roll(expected, [-shift[1], -shift[0]], (0, 1))
    with Video(path) as video:
        info, image = video.info, next(video.frames()).image
        small = next(video.frames((info.height // 2, info.width // 2))).image
    assert (info.height, info.width) == expected.shape[:2]
    assert close(image, expected)
    assert close(small, expected[::2, ::2])
    stored = CORNERS[:, ::-1] if info.mirrored else CORNERS
    assert close(image, np.rot90(stored, -info.rotation // 90))
    assert info.mirrored == (a * d - b * c < 0)


def test_an_odd_angle_is_taken_to_the_nearest_quarter_turn() -> None:
    assert Orientation.turned(-90).clockwise == 90
    assert Orientation.turned(100).clockwise == 270
    assert Orientation.turned(-175).clockwise == 180
    assert Orientation.turned(30) == Orientation()


def test_non_square_pixels_become_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", [CORNERS] * 2, aspect=Fraction(4, 3))
    with Video(path) as video:
        assert (video.info.width, video.info.height) == (128, 64)
        image = next(video.frames()).image
    assert image.shape == (64, 128, 3)
    assert close(image[16, [32, 96]], CORNERS[16, [24, 72]])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le", "gray"])
def test_colour_survives_every_pixel_format(tmp_path: Path, pix_fmt: str) -> None:
    source = CORNERS if pix_fmt != "gray" else np.repeat(CORNERS[:, :, 1:2], 3, axis=2)
    path = encode(tmp_path / "colour.mp4", [source] * 2, pix_fmt=pix_fmt, crf="1")
    with Video(path) as video:
        for hw in (None, (32, 48), (31, 45)):
            image = next(video.frames(hw)).image
            corners = image[[4, 4, -4, -4], [4, -4, 4, -4]]
            assert close(corners, source[[4, 4, -4, -4], [4, -4, 4, -4]]), hw


def test_odd_targets_have_no_stale_edges(tmp_path: Path) -> None:
    white = np.full((64, 96, 3), 255, np.uint8)
    path = encode(tmp_path / "white.mp4", [white] * 2)
    with Video(path) as video:
        for hw in [(31, 45), (33, 47), (17, 63), (32, 49), (1, 1), (129, 191)]:
            assert next(video.frames(hw)).image.min() > 250, hw


def test_frames_of_another_size_midstream_get_the_films_own(tmp_path: Path) -> None:
    """Also a raw stream: no container, hence no time stamps and no duration."""
    small = encode(tmp_path / "small.h264", [CORNERS] * 5)
    large = encode(tmp_path / "large.h264", [np.repeat(np.repeat(CORNERS, 2, 0), 2, 1)] * 5)
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with Video(both) as video:
        frames = list(video.frames())
        assert video.info.duration_ms == pytest.approx(400, abs=5)
    assert [f.time_ms for f in frames] == [40 * i for i in range(10)]
    assert {f.image.shape for f in frames} == {(64, 96, 3)}
    assert close(frames[-1].image, CORNERS)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=0"}),
        ("mpeg4", {"g": "10", "bf": "0", "sc_threshold": "1000000000"}),
    ],
)
def test_what_hangs_on_a_lost_packet_is_left_out_up_to_the_next_key_frame(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    images = [np.roll(CORNERS, i, 1) for i in range(40)]
    path = encode(tmp_path / "sound.mkv", images, codec, **options)
    with av.open(str(path)) as source:
        lost = [bytes(p) for p in source.demux(video=0)][13]
    data = path.read_bytes()
    assert data.count(lost) == 1
    data = data.replace(lost, b"\xff" * len(lost))
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(data)
    with Video(path) as video:
        sound = {f.time_ms: f.image.tobytes() for f in video.frames()}
    with Video(broken) as video:
        frames = list(video.frames())
        assert video.damage
    assert [f.time_ms for f in frames] == [40 * i for i in range(40) if not 13 <= i < 20]
    assert all(f.image.tobytes() == sound[f.time_ms] for f in frames)


def test_several_passes_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [np.roll(CORNERS, i, 1) for i in range(20)])
    with Video(path) as video:
        one, two = video.frames(), video.frames(start_ms=400)
        pairs = [(next(one).time_ms, next(two).time_ms) for _ in range(5)]
    assert pairs == [(40 * i, 400 + 40 * i) for i in range(5)]


def test_bad_paths_are_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="video not found"):
        Video(tmp_path / "missing.mp4")
    with pytest.raises(InputError, match="folder"):
        Video(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="regular file"):
        probe(tmp_path / "pipe.mp4")


def test_a_playlist_in_disguise_reaches_no_network(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")
    with pytest.raises(VideoError) as caught:
        Video(path)
    assert caught.value.where == path


def test_names_that_ffmpeg_would_read_as_protocols_are_files(tmp_path: Path) -> None:
    for name in ("concat:a|b.mp4", "100% é #1.mp4", "-i.mp4"):
        path = encode(tmp_path / "plain.mp4", [CORNERS] * 2).rename(tmp_path / name)
        assert probe(path).width == 96


def test_an_impossible_size_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [CORNERS] * 2)
    with Video(path) as video, pytest.raises(InputError, match="pixel"):
        next(video.frames((0, 10)))


def test_folders_are_searched_in_natural_order(tmp_path: Path) -> None:
    for name in ("clip10.mp4", "clip2.MP4", "notes.txt", ".hidden.mp4", "sub/clip1.mkv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = [p.name for p in find_videos(tmp_path)]
    assert names == ["clip2.MP4", "clip10.mp4"]
    assert [p.name for p in find_videos([tmp_path], recursive=True)] == [*names, "clip1.mkv"]
    twice = find_videos([tmp_path / "clip10.mp4", tmp_path])
    assert [p.name for p in twice] == ["clip10.mp4", "clip2.MP4"]
    assert find_videos(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_nothing_found_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video in the folder"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="video or folder not found"):
        find_videos([tmp_path / "missing"])
    with pytest.raises(InputError, match="no video given"):
        find_videos([])
