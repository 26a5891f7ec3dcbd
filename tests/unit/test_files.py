"""Every writer on a disk that is full, closed or taken: an error that says what and where."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tubelet.checkpoints import save_checkpoint
from tubelet.cli import main
from tubelet.data.annotations import Annotations
from tubelet.data.predictions import write_parquet
from tubelet.data.tables import write_ava_csv
from tubelet.errors import InputError
from tubelet.files import atomic_path, claimed, make_folder, write_text, writing
from tubelet.media.writer import VideoWriter
from tubelet.train.loop.state import TrainState
from tubelet.train.reporters import JsonLines, StepReport

MUCH = 1 << 20


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file of this process may grow beyond 64 KiB: what a quota or a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def text(path: Path) -> None:
    write_text(path, "x" * MUCH)


def checkpoint(path: Path) -> None:
    model = {"weight": torch.zeros(MUCH)}
    TrainState(recipe={}, stage=0, step=1, model=model, optimizer={}, average=None, scaler={}).save(
        path
    )


def weights(path: Path) -> None:
    save_checkpoint(path, {"weight": torch.zeros(MUCH)}, {})


def truth_file(path: Path) -> None:
    write_ava_csv(path, Annotations.of(video=["v"] * 20_000, time_us=np.arange(20_000)))


def parquet(path: Path) -> None:
    write_parquet(path, pl.DataFrame({"x": np.random.default_rng(0).random(MUCH)}))


def film(path: Path) -> None:
    rng = np.random.default_rng(0)
    with VideoWriter(path.with_suffix(".mp4"), 25, (240, 320), quality=1) as writer:
        for _ in range(30):
            writer.write(rng.integers(0, 255, (240, 320, 3), np.uint8))


WRITERS = [text, checkpoint, weights, truth_file, parquet, film]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_said_and_leaves_nothing(
    write: Callable[[Path], None], tmp_path: Path, little_room: None
) -> None:
    target = tmp_path / "result"
    with pytest.raises(InputError, match="cannot write") as caught:
        write(target)
    assert str(target) in str(caught.value.where)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_file_of_before(tmp_path: Path, little_room: None) -> None:
    write_text(tmp_path / "result", "before")
    with pytest.raises(InputError):
        text(tmp_path / "result")
    assert (tmp_path / "result").read_text() == "before"


def test_a_log_that_cannot_grow_is_said(tmp_path: Path, little_room: None) -> None:
    log = JsonLines(tmp_path / "log.jsonl", keep_steps=0)
    report = StepReport(
        stage="s" * 5000, step=1, steps=1, loss=0, rate=0, gradient_norm=0, clips_per_second=0,
        data_wait=0, eta_s=0,
    )  # fmt: skip
    with pytest.raises(InputError, match="cannot write"):
        for _ in range(20):
            log.step(report)


@pytest.mark.parametrize("write", WRITERS[:-1])
def test_below_a_file_nothing_can_be_written(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"is a file|cannot create the folder"):
        write(tmp_path / "file" / "below" / "result")


@pytest.mark.parametrize(
    "command",
    [
        ["detect", "VIDEO", "--out", "BAD"],
        ["people", "VIDEO", "--out", "BAD/people.csv"],
        ["evaluate", "TRUTH", "TRUTH", "--out", "BAD"],
        ["train", "playground_small", "--out", "BAD"],
        ["playground", "make", "--out", "BAD", "--clips", "1"],
        ["demo", "--out", "BAD"],
        ["data", "convert", "TRUTH", "BAD/x.csv"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("bad", ["file/below", "/proc/tubelet"])
def test_every_command_says_so_and_ends_with_2(
    command: list[str], bad: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "truth.csv").write_text("v,1,0.1,0.1,0.4,0.9,1,0\n")
    with VideoWriter(tmp_path / "v.mp4", 25, (64, 64)) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    folder = bad if bad.startswith("/") else str(tmp_path / bad)
    words = {"VIDEO": str(tmp_path / "v.mp4"), "TRUTH": str(tmp_path / "truth.csv"), "BAD": folder}
    line = [
        word.replace("BAD", folder) if "BAD" in word else words.get(word, word) for word in command
    ]
    assert main(line) == 2
    said = capfd.readouterr().err
    assert "error: " in said and folder.split("/")[1] in said
    assert "Traceback" not in said


def test_a_library_with_words_of_its_own_is_understood(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"), writing(tmp_path / "x"):
        raise RuntimeError("PytorchStreamWriter failed: No space left on device")
    with pytest.raises(RuntimeError, match="something else"), writing(tmp_path / "x"):
        raise RuntimeError("something else")


def test_what_is_read_meanwhile_is_not_blamed_on_the_writer(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "source"
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "here" / "x"):
        other.read_bytes()


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with claimed(run), pytest.raises(InputError, match="another process"), claimed(run):
        pass
    with claimed(tmp_path / "run"):
        pass


def test_a_folder_is_tried_before_it_is_needed(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        make_folder(tmp_path / "file")


def test_processes_of_one_number_do_not_share_a_half_written_file(tmp_path: Path) -> None:
    """As the first processes of two containers have, that write to one folder."""
    target = tmp_path / "run.json"
    with atomic_path(target) as one:
        one.write_text("one")
        with atomic_path(target) as other:
            other.write_text("the other")
        assert target.read_text() == "the other"
    assert target.read_text() == "one" and list(tmp_path.iterdir()) == [target]
