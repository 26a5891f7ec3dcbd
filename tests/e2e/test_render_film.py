"""Overlay films and result pages of real encoded clips."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tubelet.drawing.draw import PALETTE
from tubelet.errors import InputError, VideoError
from tubelet.labels import LabelSpace
from tubelet.media.video import Video, probe
from tubelet.media.writer import VideoWriter
from tubelet.render.overlay import write_overlay
from tubelet.render.page import playable, write_page
from tubelet.render.timeline import Spans
from tubelet.results import Tube

FPS, FRAMES, HW = 10, 30, (120, 160)
EVIL = '</script><script>alert("x")</script>'


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a clip #1 & more.mp4"
    with VideoWriter(path, FPS, HW) as writer:
        for _ in range(FRAMES):
            writer.write(np.full((*HW, 3), 90, np.uint8))
    return path


def tube(track_id: int = 0, name: str = "walk") -> Tube:
    """From left to right between 0.5 s and 1.5 s; lives from 0 to 2 s at 1 s intervals."""
    return Tube(
        video="clip",
        track_id=track_id,
        times_ms=np.array([500, 1500]),
        boxes=np.array([[0.1, 0.4, 0.3, 0.9], [0.6, 0.4, 0.8, 0.9]], np.float32),
        person_scores=np.ones(2, np.float32),
        action_scores=np.array([[0.9, 0.01], [0.7, 0.01]], np.float32),
        labels=LabelSpace.of([name, "never"]),
    )


def colour_columns(image: np.ndarray, row: float) -> np.ndarray:
    """Columns in [0, 1] where a row of pixels has the first person's colour, more or less."""
    line = image[int(row * image.shape[0])].astype(int)
    near = np.abs(line - np.array(PALETTE[0])).max(-1) < 40
    edges: NDArray[Any] = np.flatnonzero(near) / image.shape[1]
    return edges


def test_the_overlay_draws_the_box_where_the_person_is(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "overlay.mp4"
    seen: list[int] = []
    written = write_overlay(clip, [tube()], out, every_ms=1000, on_frame=seen.append)
    assert written == FRAMES == len(seen)
    with Video(out) as video:
        assert video.info.hw == (360, 480)
        frames = {frame.time_ms: frame.image for frame in video.frames()}
    assert list(frames) == seen
    for time_ms, left in ((500, 0.1), (1000, 0.35), (1500, 0.6)):
        columns = colour_columns(frames[time_ms], 0.7)
        assert columns.min() == pytest.approx(left, abs=0.01)
        assert columns.max() == pytest.approx(left + 0.2, abs=0.01)
    assert colour_columns(frames[2500], 0.7).size == 0


def test_the_overlay_names_only_actions_under_way(clip: Path, tmp_path: Path) -> None:
    def painted(threshold: float) -> int:
        write_overlay(clip, [tube()], tmp_path / "o.mp4", every_ms=1000, spans=Spans(on=threshold))
        with Video(tmp_path / "o.mp4") as video:
            image = next(video.frames(start_ms=1000)).image
        above = image[: int(0.39 * image.shape[0])].astype(int)
        return int((np.abs(above - 90).max(-1) > 25).sum())

    badge_alone = painted(0.95)
    assert badge_alone > 100
    assert painted(0.5) > 2 * badge_alone


def test_a_broken_film_leaves_no_overlay(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film at all")
    for path, error in ((bad, VideoError), (tmp_path / "none.mp4", InputError)):
        with pytest.raises(error):
            write_overlay(path, [tube()], tmp_path / "out.mp4")
        with pytest.raises(error):
            write_page(tmp_path / "out.html", path, [tube()])
    assert [p.name for p in tmp_path.iterdir()] == ["bad.mp4"]


def page_data(page: str) -> dict[str, object]:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert block is not None
    data: dict[str, object] = json.loads(block[1])
    return data


def test_the_page_holds_the_film_and_escapes_every_name(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_page(out, clip, [tube(name=EVIL)], title=EVIL)
    page = out.read_text(encoding="utf-8")
    assert EVIL not in page
    assert page.count("<script") == 3  # data, film, code
    assert page_data(page)["labels"] == [EVIL, "never"]
    assert "media-src blob:" in page
    assert "unsafe" not in page
    assert not re.search(r"https?://", page)


def test_a_large_film_is_referred_to_and_not_copied(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.html"
    write_page(out, clip, [tube()], embed_limit=10)
    page = out.read_text(encoding="utf-8")
    assert "/a%20clip%20%231%20%26%20more.mp4" in page
    assert 'id="film"' not in page
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AVI with MPEG-4 part 2, which no browser plays."""
    path = tmp_path_factory.mktemp("foreign") / "old.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv420p"
        for _ in range(FRAMES):
            image = av.VideoFrame.from_ndarray(np.full((*HW, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def test_a_film_that_browsers_do_not_play_is_re_encoded(foreign: Path, tmp_path: Path) -> None:
    assert not playable(probe(foreign))
    write_page(tmp_path / "in.html", foreign, [tube()])
    assert 'data-type="video/mp4"' in (tmp_path / "in.html").read_text(encoding="utf-8")
    write_page(tmp_path / "out.html", foreign, [tube()], embed_limit=10)
    assert 'src="out.mp4"' in (tmp_path / "out.html").read_text(encoding="utf-8")
    copy = probe(tmp_path / "out.mp4")
    assert playable(copy)
    assert (copy.hw, copy.duration_ms) == (HW, FRAMES * 1000 // FPS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.html", "out.html", "out.mp4"]


def test_a_page_of_a_film_without_people_is_written(clip: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "p.html", clip, [])
    assert "0 people" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_a_film_that_starts_late_keeps_its_own_timeline(tmp_path: Path) -> None:
    late = tmp_path / "late.webm"
    with av.open(str(late), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv420p"
        for i in range(FRAMES):
            image = av.VideoFrame.from_ndarray(np.full((*HW, 3), 90, np.uint8), format="rgb24")
            image.pts, image.time_base = 12 + i, Fraction(1, FPS)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    info = probe(late)
    assert info.start_ms == 1200
    write_page(tmp_path / "p.html", late, [tube()], embed_limit=10)
    data = page_data((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert data["start_ms"] == info.start_ms
    assert probe(tmp_path / "p.mp4").start_ms == 0
    seen: list[int] = []
    write_overlay(late, [tube()], tmp_path / "o.mp4", every_ms=1000, on_frame=seen.append)
    with Video(tmp_path / "o.mp4") as video:
        first = next(video.frames()).image
    columns = colour_columns(first, 0.7)
    left = np.interp(info.start_ms, [500, 1500], [0.1, 0.6])
    assert (seen[0], columns.min()) == (info.start_ms, pytest.approx(left, abs=0.02))
