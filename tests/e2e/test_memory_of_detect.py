"""Memory of `detect` must not grow with the film."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tubelet.labels import LabelSpace
from tubelet.media.writer import VideoWriter
from tubelet.people.recording import Recording
from tubelet.results import Detections
from tubelet.types import Key

LABELS = LabelSpace.of(["wave", "walk"])


def test_a_recording_gives_back_what_it_was_told() -> None:
    recording = Recording("film", LABELS)
    rng = np.random.default_rng(0)
    told = [
        Detections(
            key=Key(video="film", time_ms=1000 * i),
            boxes=rng.random((n, 4), np.float32),
            person_scores=rng.random(n, np.float32),
            action_scores=rng.random((n, 2), np.float32),
            track_ids=np.arange(n),
            labels=LABELS,
        )
        for i, n in enumerate((2, 0, 3))
    ]
    for moment in told:
        recording.append(moment)
    assert len(recording) == 3 and recording.people == 5
    for before, after in zip(told, recording, strict=True):
        assert before.key == after.key
        for name in ("boxes", "person_scores", "action_scores", "track_ids"):
            assert np.array_equal(getattr(before, name), getattr(after, name))


def _film(path: Path, seconds: int) -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (10, 64, 96, 3), dtype=np.uint8)
    with VideoWriter(path, 5, (64, 96)) as writer:
        for index in range(5 * seconds):
            writer.write(scene[index % len(scene)])


def _peak(film: Path, out: Path) -> int:
    program = [sys.executable, "-m", "tubelet", "detect", str(film), "--out", str(out)]
    program += ["--every", "3", "--track-rate", "0.5", "--no-overlay", "--no-page"]
    child = os.posix_spawn(
        sys.executable,
        program,
        {**os.environ, "OMP_NUM_THREADS": "1"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_maxrss


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's peak memory")
def test_ten_minutes_take_hardly_more_memory_than_one(tmp_path: Path) -> None:
    peaks = []
    for seconds in (60, 600):
        film = tmp_path / f"{seconds}.mp4"
        _film(film, seconds)
        peaks.append(_peak(film, tmp_path / "out"))
    assert peaks[1] < 1.1 * peaks[0], peaks
