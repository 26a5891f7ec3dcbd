"""Memory banks: what is stored, what is refused, what survives a kill, and who may write."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tubelet.errors import CheckpointError, DataError, InputError, ShapeError
from tubelet.models.memory.bank import BankStamp, BankWriter, MemoryBank, memory_of
from tubelet.models.memory.online import OnlineBank
from tubelet.types import Key

STAMP = BankStamp(weights="w", recipe="r", positions=2, width=3)
TIMES = np.array([1000, 2000, 4000, 4040, 9000])
COUNTS = [2, 0, 3, 1, 1]
PEOPLE = sum(COUNTS)
OWNER = np.repeat(TIMES, COUNTS)


def tokens() -> Tensor:
    return torch.arange(PEOPLE * 6, dtype=torch.float32).view(PEOPLE, 2, 3)


def written(folder: Path, video: str = "films/a b.mp4") -> MemoryBank:
    BankWriter(folder, STAMP).write(
        video,
        times_ms=TIMES,
        counts=COUNTS,
        tokens=tokens(),
        boxes=torch.arange(PEOPLE * 4.0).view(-1, 4),
        scores=torch.linspace(1, 0.5, PEOPLE),
    )
    return MemoryBank(folder, expected=STAMP)


def test_a_window_is_cut_by_time_without_its_own_moment(tmp_path: Path) -> None:
    bank = written(tmp_path)
    assert bank.videos() == ["films/a b.mp4"]
    found = bank.window(Key(video="films/a b.mp4", time_ms=4000), before_ms=3000, after_ms=40,
                        people=5)  # fmt: skip
    rows = torch.from_numpy((OWNER >= 1000) & (OWNER <= 4040) & (OWNER != 4000))
    assert found.delta_ms.tolist() == [-3000, -3000, 40]
    torch.testing.assert_close(found.tokens.float(), tokens()[rows])
    torch.testing.assert_close(found.boxes, torch.arange(PEOPLE * 4.0).view(-1, 4)[rows])
    torch.testing.assert_close(found.scores, torch.linspace(1, 0.5, PEOPLE)[rows])


def test_a_window_between_keyframes_and_beyond_the_ends(tmp_path: Path) -> None:
    bank = written(tmp_path)
    for at, before, after, expected in (
        (4020, 30, 30, [-20, -20, -20, 20]),
        (0, 5000, 999, []),
        (-500, 0, 1500, [1500, 1500]),
        (20_000, 11_000, 0, [-11_000]),
    ):
        found = bank.window(Key(video="films/a b.mp4", time_ms=at), before_ms=before,
                            after_ms=after, people=9)  # fmt: skip
        assert found.delta_ms.tolist() == expected


def test_only_the_best_people_of_a_moment_are_remembered(tmp_path: Path) -> None:
    bank = written(tmp_path)
    found = bank.window(Key(video="films/a b.mp4", time_ms=0), before_ms=0, after_ms=9000, people=1)
    torch.testing.assert_close(found.tokens.float(), tokens()[[0, 2, 5, 6]])


def test_a_video_that_the_bank_does_not_know_is_an_empty_memory(tmp_path: Path) -> None:
    bank = written(tmp_path)
    keys = [Key(video="other", time_ms=0), Key(video="films/a b.mp4", time_ms=8000)]
    memory = memory_of(bank, keys, before_ms=0, after_ms=1000, people=5)
    assert memory.group.tolist() == [1]
    assert memory.delta_ms.tolist() == [1000]
    assert memory.values.shape == (1, 6)


def test_another_models_bank_is_refused_with_the_way_out(tmp_path: Path) -> None:
    written(tmp_path)
    other = replace(STAMP, weights="other", width=4)
    with pytest.raises(CheckpointError, match=r"weights, width differ[\s\S]*build the bank again"):
        MemoryBank(tmp_path, expected=other)
    with pytest.raises(CheckpointError, match="weights, width differ"):
        BankWriter(tmp_path, other)


def test_a_folder_of_two_banks_is_refused_when_the_other_file_is_read(tmp_path: Path) -> None:
    written(tmp_path, "a")
    elsewhere = tmp_path / "elsewhere"
    BankWriter(elsewhere, replace(STAMP, recipe="x")).write(
        "b", times_ms=TIMES[:0], counts=[], tokens=tokens()[:0], boxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
    )  # fmt: skip
    (elsewhere / "b.bank").replace(tmp_path / "b.bank")
    bank = MemoryBank(tmp_path)
    with pytest.raises(CheckpointError, match="recipe differ"):
        bank.window(Key(video="b", time_ms=0), before_ms=1, after_ms=1, people=1)


def test_what_is_no_bank_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="memory bank not found"):
        MemoryBank(tmp_path / "nowhere")
    with pytest.raises(InputError, match="empty"):
        MemoryBank(tmp_path)
    with pytest.raises(ShapeError, match="do not fit"):
        BankWriter(tmp_path, STAMP).write(
            "a", times_ms=TIMES, counts=COUNTS, tokens=tokens()[:, :1], boxes=torch.zeros(7, 4),
            scores=torch.zeros(7),
        )  # fmt: skip
    (tmp_path / "broken.bank").write_bytes(b"no tensors here")
    with pytest.raises(CheckpointError):
        MemoryBank(tmp_path)


_BUILD = """
    import sys, time, torch, numpy as np
    from pathlib import Path
    from tubelet.models.memory.bank import BankStamp, BankWriter
    writer = BankWriter(Path(sys.argv[1]), BankStamp(weights="w", recipe="r", positions=2, width=3))
    for number in range(1000):
        if not writer.done(str(number)):
            writer.write(str(number), times_ms=np.arange(50), counts=[1] * 50,
                         tokens=torch.full((50, 2, 3), float(number)), boxes=torch.zeros(50, 4),
                         scores=torch.zeros(50))
            print(number, flush=True)
"""


def test_a_killed_build_leaves_whole_videos_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(_BUILD), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    bank = MemoryBank(tmp_path)
    assert len(bank.videos()) >= 5
    for video in bank.videos():
        found = bank.window(Key(video=video, time_ms=-1), before_ms=0, after_ms=99, people=1)
        assert torch.equal(found.tokens, torch.full((50, 2, 3), float(video)).half())
    writer = BankWriter(tmp_path, STAMP)
    assert [v for v in bank.videos() if not writer.done(v)] == []
    assert not writer.done("999")


KEYS = [Key(video=v, time_ms=t) for v in ("a", "b") for t in (0, 1000, 2000)]


def online(folder: Path, **changes: object) -> OnlineBank:
    settings = {"keys": KEYS, "stamp": replace(STAMP, weights=""), "people": 2, **changes}
    return OnlineBank(folder, **settings)  # type: ignore[arg-type]


def fill(bank: OnlineBank, key: Key, value: float, people: int = 1) -> None:
    bank.write(
        key, torch.full((people, 2, 3), value), torch.zeros(people, 4), torch.arange(people) + 0.0
    )


def test_an_online_bank_is_empty_until_clips_are_seen_and_then_up_to_date(tmp_path: Path) -> None:
    bank, key = online(tmp_path), Key(video="a", time_ms=1000)
    window = {"before_ms": 1000, "after_ms": 1000, "people": 5}
    assert len(bank.window(key, **window).delta_ms) == 0
    fill(bank, Key(video="a", time_ms=0), 1)
    fill(bank, key, 2)
    fill(bank, Key(video="b", time_ms=0), 3)
    assert bank.window(key, **window).tokens.flatten().tolist() == [1] * 6
    fill(bank, Key(video="a", time_ms=0), 4)
    fill(bank, Key(video="a", time_ms=2000), 5, people=0)
    found = bank.window(key, **window)
    assert (found.tokens[:, 0, 0].tolist(), found.delta_ms.tolist()) == ([4], [-1000])
    assert len(bank) == 4
    assert len(bank.window(Key(video="c", time_ms=0), **window).delta_ms) == 0


def test_an_online_bank_keeps_the_highest_scores(tmp_path: Path) -> None:
    bank = online(tmp_path)
    values = torch.tensor([1.0, 2, 3])[:, None, None].expand(3, 2, 3)
    bank.write(KEYS[0], values, torch.zeros(3, 4), torch.tensor([0.1, 0.9, 0.5]))
    found = bank.window(KEYS[1], before_ms=1000, after_ms=0, people=5)
    assert found.tokens[:, 0, 0].tolist() == [2, 3]
    best = bank.window(KEYS[1], before_ms=1000, after_ms=0, people=1)
    assert best.tokens[:, 0, 0].tolist() == [2]


def test_a_place_that_was_half_written_counts_as_empty(tmp_path: Path) -> None:
    bank = online(tmp_path)
    fill(bank, KEYS[0], 1)
    bank._data["version"][0] += 1  # as if the process had died here
    bank.flush()
    again = online(tmp_path)
    assert len(again.window(KEYS[1], before_ms=1000, after_ms=0, people=5).delta_ms) == 0
    fill(again, KEYS[0], 2)
    found = again.window(KEYS[1], before_ms=1000, after_ms=0, people=5)
    assert found.tokens[0, 0, 0] == 2


def test_an_online_bank_resumes_and_refuses_another_run(tmp_path: Path) -> None:
    fill(online(tmp_path), KEYS[0], 7)
    again = online(tmp_path)
    assert again.window(KEYS[1], before_ms=1000, after_ms=0, people=5).tokens[0, 0, 0] == 7
    for other in ({"people": 3}, {"keys": KEYS[1:]}, {"stamp": STAMP}):
        with pytest.raises(CheckpointError, match="different training run"):
            online(tmp_path, **other)
    with pytest.raises(DataError, match="no place"):
        fill(again, Key(video="a", time_ms=5), 1)
