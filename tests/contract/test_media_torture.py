"""Every awkward or broken file decodes as its manifest says, or fails with one clear error."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tubelet.errors import VideoError
from tubelet.media.video import Video

TORTURE = Path(__file__).resolve().parents[3] / "shared" / "data" / "torture"
CAP = 701
SMALL = (48, 64)

# The manifest counts what one plain decoding loop gave before its first error. Draining the
# decoder first gives the frames that were complete by then, without inventing any.
DRAINED = {"invalid_nalu_decode_error_after26.mp4": 28, "truncated_45pct_moov_first.mp4": 46}
DAMAGED = {*DRAINED, "bitflips_60.mp4"}


def rows() -> list[dict[str, str]]:
    manifest = TORTURE / "manifest.csv"
    if not manifest.is_file():
        return []
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def name(row: dict[str, str]) -> str:
    return Path(row["file"]).name


ROWS = rows()
GOOD = [r for r in ROWS if r["decoded_frames(cap 701)"] not in ("", "0")]
BAD = [r for r in ROWS if r["decoded_frames(cap 701)"] in ("", "0")]


def test_the_manifest_is_complete(shared: Path) -> None:
    assert (len(GOOD), len(BAD)) == (56, 7)
    assert all((shared / "data" / "torture" / r["file"]).is_file() for r in ROWS)


@pytest.mark.parametrize("row", GOOD, ids=name)
def test_decodes_as_the_manifest_says(row: dict[str, str]) -> None:
    with Video(TORTURE / row["file"]) as video:
        info = video.info
        # A size that no orientation or aspect ratio gives away by chance.
        frames = list(islice(video.frames(SMALL), CAP))
        damage = video.damage
    times = np.array([f.time_ms for f in frames])
    count = DRAINED.get(name(row), int(row["decoded_frames(cap 701)"]))
    assert len(frames) == count
    assert (np.diff(times) > 0).all()
    assert times[0] == info.start_ms == pytest.approx(1000 * float(row["first_pts"]), abs=1)
    assert all(f.image.shape == (*SMALL, 3) and f.image.dtype == np.uint8 for f in frames)
    assert (damage is not None) == (name(row) in DAMAGED)
    if name(row) not in DRAINED and float(row["min_delta"] or 0) > 0:
        assert np.diff(times).max() == pytest.approx(1000 * float(row["max_delta"]), abs=1)
        assert np.diff(times).min() == pytest.approx(1000 * float(row["min_delta"]), abs=1)


@pytest.mark.parametrize("row", GOOD, ids=name)
def test_is_described_upright_and_square(row: dict[str, str]) -> None:
    with Video(TORTURE / row["file"], threads=1) as video:
        info = video.info
        first = next(video.frames())
    aspect = Fraction(row["sar"]) if row["sar"] not in ("None", "0", "") else Fraction(1)
    size = [round(int(row["width"]) * aspect), int(row["height"])]
    turn = -round(float(row["rotation_deg"])) % 360
    if turn % 180:
        size.reverse()
    assert [info.width, info.height] == size
    assert first.image.shape == (*info.hw, 3)
    assert info.rotation == turn
    assert not info.mirrored
    assert info.frame_count == (int(row["header_frames"]) or None)


BOGUS_RATES = {"h264_avg1000fps_bogus_start67ms.mkv": 30, "h264_multikey.mkv": 30}


@pytest.mark.parametrize("row", GOOD, ids=name)
def test_the_rate_is_the_one_that_the_stamps_show(row: dict[str, str]) -> None:
    with Video(TORTURE / row["file"], threads=1) as video:
        fps = video.info.fps
    expected = BOGUS_RATES.get(name(row), float(Fraction(row["avg_rate"])))
    assert fps == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("row", BAD, ids=name)
def test_fails_with_the_file_and_the_reason(row: dict[str, str]) -> None:
    path = TORTURE / row["file"]
    with pytest.raises(VideoError) as caught:
        Video(path)
    assert caught.value.where == path
    expected = {
        "audio_only_aac.mp4": "contains no video",
        "audio_only.m4a": "contains no video",
        "zero_bytes.mp4": "empty",
        "opens_but_no_extradata_0frames.mp4": "no frame of the video can be decoded",
        "vp9_invalid_bitstream.webm": "no frame of the video can be decoded",
        "text_not_video.mp4": "cannot open the video: Invalid data",
        "truncated_no_moov.mp4": "cannot open the video: Invalid data",
    }
    assert expected[path.name] in caught.value.what


def test_no_picture_is_black_by_accident(shared: Path) -> None:
    """The damaged film still shows what its sound twin shows, up to the damage."""
    torture = shared / "data" / "torture" / "derived"
    with Video(torture / "truncated_45pct_moov_first.mp4") as broken:
        images = [f.image for f in broken.frames(SMALL)]
    assert min(image.std() for image in images) > 10


@pytest.mark.parametrize("row", [r for r in GOOD if name(r) in DAMAGED], ids=name)
def test_damage_gives_the_same_frames_with_any_number_of_threads(row: dict[str, str]) -> None:
    seen = []
    for threads in (1, 0, 3):
        with Video(TORTURE / row["file"], threads=threads) as video:
            seen.append([(f.time_ms, f.image.tobytes()) for f in video.frames(SMALL)])
    assert seen[0] == seen[1] == seen[2]


def test_stamps_that_avi_confuses_are_put_in_order(shared: Path) -> None:
    with Video(shared / "data" / "torture" / "real" / "ucf_mpeg4_test.avi") as video:
        assert [f.time_ms for f in video.frames(SMALL)] == [40 * i for i in range(1, 165)]


def test_what_is_said_of_the_damage_can_be_acted_on(shared: Path) -> None:
    path = shared / "data" / "torture" / "real" / "invalid_nalu_decode_error_after26.mp4"
    with Video(path) as video:
        for _ in video.frames(SMALL):
            pass
        assert video.damage is not None
        assert "cannot decode at 0.868 s" in video.damage
        assert json.dumps(video.damage)
