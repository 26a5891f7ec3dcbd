"""`tubelet detect --jobs`: what several processes write and print is what one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tubelet.cli import main
from tubelet.cli.detecting import INTERRUPTED, DetectOptions
from tubelet.cli.many import jobs
from tubelet.media.writer import VideoWriter
from tubelet.playground import PlaygroundConfig, make_clip

PEOPLE = "0.3,0.3,0.6,0.9"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of a second, something else called a film, and a person in each."""
    folder = tmp_path_factory.mktemp("desk")
    config = PlaygroundConfig(height=48, width=64, seconds=1.0)
    frames = make_clip(1, config).frames
    (folder / "films").mkdir()
    for name in "adb":
        with VideoWriter(folder / "films" / f"{name}.mp4", config.fps, (48, 64)) as writer:
            for frame in frames:
                writer.write(frame)
    (folder / "films" / "c.mp4").write_bytes(b"no film" * 99)
    (folder / "people.csv").write_text("".join(f"{n},0.4,{PEOPLE},1,1\n" for n in "abcd"))
    return folder


def options(desk: Path, out: Path) -> DetectOptions:
    people = str(desk / "people.csv")
    return DetectOptions(model="playground_small", people=people, out=out, overlay=False)


def test_two_processes_write_and_print_what_one_does(
    desk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = []
    for count in ("1", "2"):
        out = tmp_path / count
        given = "--model", "playground_small", "--people", str(desk / "people.csv")
        where = "--out", str(out), "--jobs", count, "--no-overlay"
        code = main(["detect", str(desk / "films"), *given, *where])
        assert code == 1
        told.append(tuple(text.replace(str(out), "OUT") for text in capfd.readouterr()))
    assert told[0] == told[1]
    order = [told[1][0].index(f"OUT/{name}") for name in "abd"]
    assert order == sorted(order)
    assert "skipped" in told[1][1] and "1 of 4 videos failed" in told[1][1]
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in "12"
    )
    assert one == two and len(one) == 3 * 4 + 1


def test_ctrl_c_keeps_what_is_finished(
    desk: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished: list[int] = []

    def moved(self: jobs._Bars, index: int, share: float | None) -> None:
        if share == 1.0:
            finished.append(index)
        if len(finished) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(jobs._Bars, "moved", moved)
    films = [jobs.Film(name=n, path=desk / "films" / f"{n}.mp4") for n in "abd"]
    worker = jobs.FilmWorker(options(desk, tmp_path), str(desk / "people.csv"))
    assert jobs._detect_at_once(films, worker, 1) == INTERRUPTED
    printed = capfd.readouterr()
    assert "2 of 3 videos are finished and kept" in printed.err
    rows = (tmp_path / "detections.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows} == {"a", "b"}


def test_one_process_where_more_would_not_help(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = {name: desk / "films" / f"{name}.mp4" for name in "abd"}
    given = options(desk, tmp_path)
    monkeypatch.setattr(jobs, "cores", lambda: 8)
    monkeypatch.setattr("tubelet.numerics.cores.free_memory", lambda: 64 << 30)
    assert jobs.helpful_jobs(films, given) == 1  # three seconds of film
    monkeypatch.setattr(jobs, "WORTH_S", 2)
    assert jobs.helpful_jobs(films, given) == 3
    monkeypatch.setattr("tubelet.numerics.cores.free_memory", lambda: 2 << 30)
    assert jobs.helpful_jobs(films, given) == 2
    monkeypatch.setattr(jobs, "cores", lambda: 1)
    assert jobs.helpful_jobs(films, given) == 1


def test_given_people_who_are_on_no_keyframe_are_told_of(
    desk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people.csv"
    people.write_text(f"a,0.0,{PEOPLE},1,4\na,0.4,{PEOPLE},1,9\na,0.44,{PEOPLE},1,11\n")
    given = "--people", str(people), "--every", "1", "--no-overlay", "--no-page"
    detect = ["detect", str(desk / "films" / "a.mp4"), "--model", "playground_small", *given]
    assert main([*detect, "--out", str(tmp_path / "out")]) == 0
    assert "a: 2 of 3 given people are on no keyframe and in no result: id 9, 11" in " ".join(
        capfd.readouterr().err.split()
    )
