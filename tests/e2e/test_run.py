"""`tubelet run` and `FilmDetector` on real films and a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.e2e.test_jobs import PEOPLE

from tubelet.bulk import FilmDetector
from tubelet.cli import main
from tubelet.data.predictions import read_predictions
from tubelet.errors import InputError, VideoError
from tubelet.media.writer import VideoWriter
from tubelet.playground import PlaygroundConfig, make_clip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of a second with a person each, something else called a film, and their list."""
    folder = tmp_path_factory.mktemp("desk")
    config = PlaygroundConfig(height=48, width=64, seconds=1.0)
    frames = make_clip(1, config).frames
    for name in "ab":
        with VideoWriter(folder / f"{name}.mp4", config.fps, (48, 64)) as writer:
            for frame in frames:
                writer.write(frame)
    (folder / "c.mp4").write_bytes(b"no film" * 99)
    (folder / "people.csv").write_text("".join(f"{n},0.4,{PEOPLE},1,1\n" for n in "abc"))
    (folder / "films.csv").write_text("path\nb.mp4\nc.mp4\na.mp4\n")
    return folder


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here; and processes may have as many as there are cores."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_says_what_it_did_and_merges(
    desk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], one_thread: None
) -> None:
    given = "--model", "playground_small", "--people", str(desk / "people.csv"), "--device", "cpu"
    place = "--out", str(tmp_path)
    assert main(["run", *place, "--status"]) == 2
    run = ["run", str(desk / "films.csv"), *place, *given]
    assert main([*run, "--shard", "0/3", "--jobs", "1", "--threads", "1"]) == 0
    # Whoever goes on with other processes, which by default had more, has as many threads in each.
    assert main([*run, "--jobs", "1"]) == 1
    assert json.loads((tmp_path / "run.json").read_text())["threads"] == 1
    told = capfd.readouterr()
    assert "2 films done, 1 failed, 0 waiting" in told.out
    assert "failed (try 1): c: cannot open the video" in told.err
    assert main(["run", *place, "--status", "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert (found["films"], found["done"], found["waiting"]) == (3, 2, 0)
    assert found["failed"][0]["film"] == "c" and found["failed"][0]["reason"] == "error"
    assert main(["run", *place, "--merge"]) == 0
    table = read_predictions(tmp_path / "merged.parquet").frame
    assert table["video"].unique(maintain_order=True).to_list() == ["b", "a"]
    detector = FilmDetector(
        "playground_small", people=str(desk / "people.csv"), device="cpu", errors="rows"
    )
    batch = {"path": [str(desk / "b.mp4"), str(desk / "a.mp4")], "id": ["b", "a"]}
    columns = detector(batch)
    merged = pl.read_parquet(tmp_path / "merged.parquet")
    assert columns.pop("error").tolist() == [""] * len(merged)
    assert pl.DataFrame(columns, schema=merged.schema).equals(merged)
    assert main([*run, "--every", "0.2"]) == 2 and "another every" in capfd.readouterr().err
    assert main([*run, "--threads", "2"]) == 2
    assert "another number of threads" in capfd.readouterr().err


def test_one_class_is_a_function_an_actor_and_a_udf(desk: Path) -> None:
    people = str(desk / "people.csv")
    detector = FilmDetector("playground_small", people=people, device="cpu", min_score=0.1)
    path, broken = str(desk / "a.mp4"), str(desk / "c.mp4")
    table = detector([path])
    assert table["video"].tolist() == ["a"] * len(table["score"]) != []
    assert (table["score"] >= 0.1).all() and table["score"].dtype == np.float64
    batch = detector({"path": np.array([path, path], object), "id": np.array(["b", "a"], object)})
    assert set(batch["video"].tolist()) == {"a", "b"}
    rows, same = detector(_Column([path, path]))
    assert [row["score"] for row in rows] == table["score"].tolist() and rows == same
    with pytest.raises(VideoError):
        detector([broken])
    with pytest.raises(InputError, match="column of paths"):
        detector({"movie": [path]})
    with pytest.raises(InputError, match="two films of a batch have one id"):
        detector([path, str(desk / "elsewhere" / "a.mp4")])


def test_a_film_that_fails_is_a_row_on_request(desk: Path) -> None:
    people = str(desk / "people.csv")
    detector = FilmDetector("playground_small", people=people, device="cpu", errors="rows")
    table = detector([str(desk / "c.mp4"), str(desk / "a.mp4")])
    assert table["video"].tolist()[:2] == ["c", "a"]
    assert table["error"][0].startswith("cannot open") and not any(table["error"][1:])
    assert table["time_ms"][0] == -1 and np.isnan(table["score"][0])


class _Column:
    """A column of another library, as far as `FilmDetector` asks."""

    def __init__(self, values: list[str]) -> None:
        self._values = values

    def to_pylist(self) -> list[str]:
        return self._values
