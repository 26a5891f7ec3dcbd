"""A pool of processes: errors, deaths, limits and order; each test starts light processes only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tubelet.errors import InputError, TubeletError, VideoError
from tubelet.parallel.pool import Pool, in_order, threads_each
from tubelet.parallel.tasks import Alive, Limits, TaskOutcome, Worker, resident


class Obedient(Worker[tuple[str, Any], Any]):
    """Does what a task says."""

    def prepare(self) -> object:
        return os.environ["OMP_NUM_THREADS"]

    def work(self, task: tuple[str, Any], alive: Alive) -> Any:
        match task:
            case "return", value:
                return value
            case "refuse", _:
                raise VideoError("not a film", where="x.mp4")
            case "break", _:
                raise ZeroDivisionError("oh")
            case "die", _:
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang", _:
                time.sleep(60)
            case "go on", seconds:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    alive(0.5)
                    time.sleep(0.02)
            case "eat", size:
                eaten = b"x" * size
                time.sleep(60)
                return len(eaten)
            case "pid", _:
                return os.getpid()
        return None


class Unable(Worker[int, int]):
    def prepare(self) -> object:
        raise InputError("no such model", hint="another one")

    def work(self, task: int, alive: Alive) -> int:
        return task


class Stillborn(Unable):
    def prepare(self) -> object:
        os._exit(3)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool[Any, Any]]:
    with Pool(Obedient(), 2, threads=3) as made:
        yield made


def outcomes(pool: Pool[Any, Any], *tasks: tuple[str, Any]) -> list[TaskOutcome[Any]]:
    return list(in_order(pool.run(tasks)))


def test_values_come_in_order_and_processes_stay(pool: Pool[Any, Any]) -> None:
    found = outcomes(pool, *(("return", n) for n in range(20)))
    assert [one.value for one in found] == list(range(20))
    assert pool.greeting == "3"
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] != "3"
    before = set(pool.pids())
    assert {one.value for one in outcomes(pool, *[("pid", None)] * 6)} <= before


def test_a_failure_is_its_tasks_alone(pool: Pool[Any, Any]) -> None:
    tasks = ("return", 1), ("refuse", 0), ("break", 0), ("die", 0), ("return", 2)
    one, refused, broken, dead, two = outcomes(pool, *tasks)
    assert (one.value, two.value) == (1, 2)
    assert refused.failure is not None and refused.failure.reason == "error"
    assert isinstance(refused.failure.error, VideoError) and refused.failure.error.where == "x.mp4"
    assert broken.failure is not None and "ZeroDivisionError: oh" in broken.failure.text
    assert dead.failure is not None and dead.failure.reason == "died"
    assert "SIGKILL" in dead.failure.text
    assert (dead.tries, refused.tries) == (2, 1)


LIMITS = {
    "silence": (Limits(silence_s=0.5), ("hang", 0)),
    "time": (Limits(seconds=0.5), ("go on", 60)),
    "memory": (Limits(memory=150 << 20), ("eat", 200 << 20)),
}


@pytest.mark.parametrize("reason", LIMITS)
def test_a_limit_ends_its_task_and_nothing_else(pool: Pool[Any, Any], reason: str) -> None:
    if resident(os.getpid()) is None:
        pytest.skip("this system does not say what a process holds")
    heard: list[tuple[int, float | None]] = []
    pool.on_alive = lambda index, share: heard.append((index, share))
    pool.limits, task = LIMITS[reason]
    ended, fine = outcomes(pool, task, ("return", 5))
    pool.limits = Limits()
    assert ended.failure is not None and ended.failure.reason == reason
    assert (ended.tries, fine.value) == (1, 5)
    assert ((0, 0.5) in heard) == (reason == "time")


def test_a_sign_of_life_is_no_silence() -> None:
    limits = Limits(silence_s=1, seconds=9)
    assert limits.broken(1, spent_s=5, silent_s=0.5) is None
    assert limits.broken(1, spent_s=5, silent_s=1.5) is not None


def test_a_worker_that_cannot_begin_is_the_callers_error() -> None:
    with Pool(Unable(), 1) as unable, pytest.raises(InputError, match="no such model"):
        list(unable.run([1]))
    with Pool(Stillborn(), 1) as dead, pytest.raises(TubeletError, match="before they are ready"):
        list(dead.run([1]))


def test_a_pool_leaves_no_process() -> None:
    with Pool(Obedient(), 1) as made:
        running = made.run([("return", 0), ("hang", 0)])
        next(running)
        pids = made.pids()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tubelet.parallel.pool.cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(n) for n in (1, 3, 8, 20)] == [8, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [threads_each(n) for n in (1, 3, 8)] == [2, 2, 1]
