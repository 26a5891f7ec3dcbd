"""The same key gives bit-identical clips, whether the film streams by or is sought into."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.data.annotations import Annotations
from tubelet.errors import InputError, VideoError
from tubelet.media.sampling import (
    END_SLACK_MS,
    keyframe_times,
    read_window,
    window,
    windows,
)
from tubelet.media.video import Frame, Video, VideoInfo
from tubelet.types import InputSpec, Preprocessing

SMALL = (36, 48)
SPECS = [
    InputSpec(frames=8, stride=4, short_side=36),
    InputSpec(frames=5, stride=3, fps=12.5, short_side=36),
]


def encode(path: Path, stamps_ms: list[int], codec: str, **options: str) -> Path:
    """A film whose every frame differs, at the given times."""
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 255, (96, 128, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        # MPEG-2 knows its broadcast rates only.
        clock = 25 if codec == "mpeg2video" else 1000
        stream.codec_context.time_base = Fraction(1, clock)
        for i, stamp in enumerate(stamps_ms):
            image = np.roll(noise, 5 * i, axis=1)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


STEADY = list(range(0, 4000, 40))
UNEVEN = [sum(random.Random(3).choices([20, 40, 40, 45, 300], k=90)[:i]) for i in range(90)]
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=15:min-keyint=15:scenecut=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=20:bframes=2"}
FILMS = {
    "steady.mp4": (STEADY, "libx264", {"g": "12"}),
    "uneven.mp4": (UNEVEN, "libx264", {"g": "20"}),
    "offset.mp4": ([t + 7300 for t in STEADY], "libx264", {"g": "20"}),
    "open_gop.mp4": (STEADY, "libx264", OPEN_GOP),
    "open_gop_uneven.mkv": (UNEVEN, "libx264", OPEN_GOP),
    "open_gop.ts": (STEADY, "libx264", OPEN_GOP),
    "refresh.mkv": (STEADY, "libx264", REFRESH),
    "refresh.ts": (STEADY, "libx264", REFRESH),
    "xvid_b.avi": (STEADY, "mpeg4", {"bf": "2", "g": "12"}),
    "xvid_b.mkv": (STEADY, "mpeg4", {"bf": "2", "g": "12"}),
    "mpeg2_b.mkv": (STEADY, "mpeg2video", {"bf": "2", "g": "12"}),
    "vp9.webm": (UNEVEN, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "15"}),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


def assert_both_ways_agree(path: Path, spec: InputSpec, every: int = 5, threads: int = 0) -> None:
    with Video(path) as video:
        times = [f.time_ms for f in video.frames(SMALL)]
        keys = sorted({times[0] - 50, *times[::every], times[-1], times[-1] + 100})
        streamed = {w.key_ms: w for w in windows(video.frames(SMALL), keys, spec)}
        assert sorted(streamed) == keys
        for key in random.Random(1).sample(keys, min(8, len(keys))):
            index = window(times, key, spec)
            assert streamed[key].times_ms.tolist() == [times[i] for i in index]
            sought = read_window(path, key, spec, SMALL, threads=threads)
            assert np.array_equal(sought, streamed[key].clip), f"{path.name} at {key} ms"


@pytest.mark.parametrize("spec", SPECS, ids=["frames", "fps"])
@pytest.mark.parametrize("film", FILMS)
def test_streaming_and_seeking_agree(films: Path, film: str, spec: InputSpec) -> None:
    stamps, codec, options = FILMS[film]
    path = films / film
    if not path.exists():
        encode(path, stamps, codec, **options)
    assert_both_ways_agree(path, spec)


UPSTREAM = {
    "late": Preprocessing(anchor="key", shift=3),
    "wholly late": Preprocessing(anchor="key", shift=20),
    "wholly early": Preprocessing(shift=-20),
    "ends": Preprocessing(choice="ends", span_s=1.0),
    "middles": Preprocessing(choice="middles"),
}


@pytest.mark.parametrize("rules", UPSTREAM.values(), ids=list(UPSTREAM))
@pytest.mark.parametrize("film", ["uneven.mp4", "offset.mp4", "open_gop_uneven.mkv"])
def test_streaming_and_seeking_agree_for_upstream_choices_of_frames(
    films: Path, film: str, rules: Preprocessing
) -> None:
    stamps, codec, options = FILMS[film]
    path = films / film
    if not path.exists():
        encode(path, stamps, codec, **options)
    assert_both_ways_agree(path, replace(SPECS[1], preprocessing=rules))


REAL = [
    "derived/vfr_h264.mp4",
    "derived/h264_open_gop_b4.mp4",
    "derived/hevc_open_gop.mkv",
    "derived/video_starts_0.7s_after_audio.mkv",
    "derived/one_keyframe_10s.mp4",
    "derived/mpeg4_asp_bframes_packed.avi",
    "derived/mpeg2_interlaced.mpg",
    "derived/single_frame.mp4",
    "derived/truncated_45pct_moov_first.mp4",
    "real/editlist_no_keyframe_output.mp4",
    "real/h264_yuv444_bframes_editlist_1fps.mp4",
    "real/h264_ts_start1.467.ts",
    "real/starts_at_10s_bframes_sar.mp4",
    "real/ucf_mpeg4_test.avi",
]


@pytest.mark.parametrize("film", REAL)
def test_streaming_and_seeking_agree_on_real_files(shared: Path, film: str) -> None:
    assert_both_ways_agree(shared / "data" / "torture" / film, SPECS[0], every=7)


def test_seeking_far_into_a_long_film(shared: Path) -> None:
    path = shared / "data" / "torture" / "real" / "long_6min_10883frames_1080p.mp4"
    with Video(path) as video:
        start = 300_000
        frames = [next(video.frames(SMALL, start + 10)), next(video.frames(SMALL, start))]
        assert [f.time_ms for f in frames] == [300_033, 300_000]


def test_every_start_gives_the_frames_of_a_pass_from_the_beginning(films: Path) -> None:
    path = encode(films / "starts.mp4", STEADY, "libx264", **OPEN_GOP)
    with Video(path) as video:
        whole = [(f.time_ms, f.image.tobytes()) for f in video.frames(SMALL)]
        for start in range(960, 4000, 130):
            got = [(f.time_ms, f.image.tobytes()) for f in video.frames(SMALL, start)]
            assert got == [f for f in whole if f[0] >= start]


times_lists = st.lists(st.integers(1, 400), min_size=1, max_size=80).map(
    lambda gaps: np.cumsum(gaps).tolist()
)
specs = st.builds(
    InputSpec,
    frames=st.integers(1, 12),
    stride=st.integers(1, 5),
    fps=st.none() | st.sampled_from([5.0, 12.5, 25.0, 29.97, 60.0]),
)


@given(times_lists, st.integers(-500, 30_000), specs)
def test_a_window_holds_ascending_frames_around_the_one_on_show(
    times: list[int], key: int, spec: InputSpec
) -> None:
    index = window(times, key, spec)
    assert index.shape == (spec.frames,)
    assert index.min() >= 0
    assert index.max() < len(times)
    assert (np.diff(index) >= 0).all()
    shown = times[index[spec.frames // 2]]
    assert shown <= key + 1 or shown == times[0]
    assert not any(shown < t <= key + 1 for t in times)


@given(st.integers(1, 200), st.integers(0, 6000), st.integers(1, 16), st.integers(1, 4))
def test_a_rate_equal_to_the_source_counts_its_frames(
    n: int, key: int, t: int, stride: int
) -> None:
    """Also at NTSC's 29.97 with stamps rounded to milliseconds."""
    times = [round(i * 1001 / 30) for i in range(n)]
    by_count = window(times, key, InputSpec(frames=t, stride=stride))
    by_rate = window(times, key, InputSpec(frames=t, stride=stride, fps=30.0))
    assert by_count.tolist() == by_rate.tolist()


@given(st.integers(0, 3000), st.integers(1, 8))
def test_a_film_of_twice_the_rate_gives_the_same_moments(key: int, t: int) -> None:
    spec = InputSpec(frames=t, stride=2, fps=25.0)
    slow, fast = list(range(0, 4000, 40)), list(range(0, 4000, 20))
    shown = key // 40 * 40
    assert [slow[i] for i in window(slow, shown, spec)] == [
        min(fast[i], slow[-1]) for i in window(fast, shown, spec)
    ]


def stream(times: list[int]) -> Iterator[Frame]:
    for t in times:
        yield Frame(t, np.full((2, 2, 3), t % 251, np.uint8))


@settings(max_examples=200)
@given(times_lists, st.lists(st.integers(-100, 30_000), max_size=12).map(sorted), specs)
def test_one_pass_gives_the_window_of_every_key_in_the_film(
    times: list[int], keys: list[int], spec: InputSpec
) -> None:
    got = list(windows(stream(times), keys, spec))
    assert [w.key_ms for w in got] == [k for k in keys if k <= times[-1] + END_SLACK_MS]
    for w in got:
        index = window(times, w.key_ms, spec)
        assert w.times_ms.tolist() == [times[i] for i in index]
        assert w.clip[:, 0, 0, 0].tolist() == [times[i] % 251 for i in index]
        assert w.image[0, 0, 0] == times[index[spec.frames // 2]] % 251


def test_a_pass_keeps_no_more_than_a_window_and_reads_no_further_than_it_must() -> None:
    alive = 0
    most = 0
    read = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def film() -> Iterator[Frame]:
        nonlocal alive, most, read
        for t in range(0, 400_000, 40):
            image = np.zeros((2, 2, 3), np.uint8).view(Counted)
            alive, read = alive + 1, read + 1
            most = max(most, alive)
            yield Frame(t, image)
            del image

    spec = InputSpec(frames=8, stride=4)
    keys = [10_000, 10_400, 200_000, 200_010]
    assert len(list(windows(film(), keys, spec))) == 4
    assert most <= 8 * 4 + 3
    assert read == 200_000 // 40 + 3 * 4 + 1


def info(start: int, duration: int) -> VideoInfo:
    return VideoInfo(
        path=Path("a.mp4"),
        width=4,
        height=4,
        fps=25.0,
        start_ms=start,
        duration_ms=duration,
        frame_count=None,
        rotation=0,
        mirrored=False,
        codec="h264",
    )


@given(st.integers(-1000, 100_000), st.integers(1, 60_000), st.integers(1, 5000))
def test_keyframes_lie_within_the_film(start: int, duration: int, every: int) -> None:
    times = keyframe_times(info(start, duration), every)
    assert times
    assert all(start <= t < start + duration for t in times)
    assert all(b - a == every for a, b in pairwise(times[1:]))
    assert all(t % every == 0 for t in times[1:])
    assert len(times) < 2 or every / 2 - 1 <= times[1] - times[0] <= 1.5 * every


@given(st.integers(0, 3000), st.integers(30, 200), st.sampled_from([250, 500, 1000]))
def test_labels_are_kept_where_detection_looks(start: int, frames: int, every: int) -> None:
    """A film of 25 frames a second with a label on each: the moments that `every` keeps are those
    that detection looks at, to half a frame; but for the film's first and last half period."""
    stamps = start + 40 * np.arange(frames)
    labels = Annotations.of(video=["v"] * frames, time_us=stamps * 1000)
    kept = labels.every(every).time_ms.to_numpy()
    looked = np.array(keyframe_times(info(start, 40 * frames), every))
    inner = kept[(kept > start + every) & (kept < stamps[-1] - every)]
    assert all(np.abs(looked - time).min() <= 20 for time in inner)


def test_a_short_film_has_its_middle_and_a_period_must_be_positive() -> None:
    assert keyframe_times(info(1467, 800), 1000) == [1867]
    assert keyframe_times(info(0, 3000), 1000) == [0, 1000, 2000]
    with pytest.raises(InputError, match="period"):
        keyframe_times(info(0, 800), 0)


def test_a_key_after_the_end_is_left_out_or_refused(films: Path) -> None:
    path = encode(films / "short.mp4", STEADY[:10], "libx264")
    with Video(path) as video:
        assert not list(windows(video.frames(SMALL), [5000], SPECS[0]))
    with pytest.raises(VideoError, match=r"ends before the keyframe at 5\.000 s"):
        read_window(path, 5000, SPECS[0], SMALL)


def test_keys_that_descend_are_refused() -> None:
    with pytest.raises(InputError, match="ascend"):
        list(windows(stream([0, 40, 80]), [40, 0], SPECS[0]))


def test_the_key_frame_comes_at_its_own_size(films: Path) -> None:
    path = encode(films / "large.mp4", STEADY[:40], "libx264")
    with Video(path) as video:
        full = {f.time_ms: f.image for f in video.frames()}
        frames = video.frames(SMALL, keep_source=True)
        for w in windows(frames, [0, 410, 820], SPECS[0], key_hw=video.info.hw):
            assert w.clip.shape == (8, *SMALL, 3)
            assert np.array_equal(w.image, full[w.key_ms // 40 * 40])
        with pytest.raises(InputError, match="keep_source"):
            list(windows(video.frames(SMALL), [0], SPECS[0], key_hw=(9, 9)))
