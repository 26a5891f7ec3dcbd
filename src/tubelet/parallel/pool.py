"""A few processes that prepare once, do many tasks, and can be killed one by one.

`concurrent.futures` breaks the whole pool when one process dies, and can kill none. Here a task
that hangs, eats all memory or crashes its process is that task's failure; a new process goes on
with the next.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Self

from tubelet.errors import InputError, TubeletError
from tubelet.numerics.cores import cores
from tubelet.parallel.tasks import Alive, Failure, Limits, R, T, TaskOutcome, Worker

_LOOK_S = 0.05  # between two looks at time and memory
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
_PROCESS = 700 << 20  # bytes beside its model
_COPIES = 3  # of the weights while a model is loaded and its norms are folded
_STARTS = 2  # of a process that dies before it is ready


def threads_each(processes: int) -> int:
    """Threads of each of several processes that share this machine: cores / processes, at most what
    OMP_NUM_THREADS says."""
    share = max(1, cores() // processes)
    own = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(share, int(own)) if own.isdecimal() and int(own) else share


def bytes_of_a_process(weights: int) -> int:
    """About what a process takes that detects with a model of so many bytes of weights."""
    return _PROCESS + _COPIES * weights


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The environment that a process starts with: torch reads these before it can be told."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(slots=True)
class _Started(Generic[T]):
    """A task that a process is at."""

    index: int
    task: T
    tries: int = 0
    begun: float = 0.0
    heard: float = 0.0


@dataclass(slots=True, eq=False)
class _Process(Generic[T]):
    process: Any
    connection: Connection
    ready: bool = False
    at: _Started[T] | None = None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@dataclass(slots=True)
class Pool(Generic[T, R]):
    """`processes` of one worker; a context manager that leaves none behind.

    `threads`: of each, `threads_each` by default. `tries`: how often a task may begin
    whose process dies of something other than its limits. `on_alive` is called with a task's index
    and the share done. Scripts that use it need the `if __name__ == "__main__"` of
    `multiprocessing`.
    """

    worker: Worker[T, R]
    processes: int
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    tries: int = 2
    on_alive: Callable[[int, float | None], None] | None = None
    greeting: object = field(default=None, init=False)
    _running: list[_Process[T]] = field(default_factory=list, init=False)
    _waiting: deque[_Started[T]] = field(default_factory=deque, init=False)
    _stillborn: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise InputError("a pool needs at least one process", got=self.processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill every process, whatever it is at."""
        while self._running:
            self._running.pop().kill()
        self._waiting.clear()

    def run(self, tasks: Iterable[T]) -> Iterator[TaskOutcome[R]]:
        """The outcome of every task, as they are done; tasks are taken as processes become free.

        Raises what `Worker.prepare` raised, and TubeletError where processes die before they are
        ready. Processes stay for the next call.
        """
        queue = enumerate(tasks)
        while self._hand_out(queue):
            heard = wait([one.connection for one in self._running], timeout=_LOOK_S)
            for one in [p for p in self._running if p.connection in heard]:
                yield from self._listen(one)
            for one in [p for p in self._running if p.at is not None]:
                yield from self._look(one)

    def prepared(self) -> object:
        """Begin the processes, and wait for the greeting of the first. Raises as `run` does."""
        self._start()
        while not any(one.ready for one in self._running):
            for one in self._running[:]:
                if one.connection.poll(_LOOK_S):
                    for _ in self._listen(one):
                        pass
            self._start()
        return self.greeting

    def pids(self) -> list[int]:
        """The ids of the processes there are."""
        return [one.process.pid for one in self._running]

    def _start(self) -> None:
        """Begin those processes that are missing."""
        context = multiprocessing.get_context("spawn")
        threads = self.threads or threads_each(self.processes)
        while len(self._running) < self.processes:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, self.worker), daemon=True, name="tubelet-worker"
            )
            with _environment(dict.fromkeys(_THREADS, str(threads))):
                process.start()
            theirs.close()
            self._running.append(_Process(process, ours))

    def _hand_out(self, queue: Iterator[tuple[int, T]]) -> bool:
        """A task to each idle process; False once nothing is left to be waited for."""
        while True:
            if not self._waiting:
                following = next(queue, None)
                if following is None:
                    return any(one.at is not None for one in self._running)
                self._waiting.append(_Started(*following))
            self._start()
            idle = next((p for p in self._running if p.ready and p.at is None), None)
            if idle is None:
                return True
            started = idle.at = self._waiting.popleft()
            started.tries += 1
            started.begun = started.heard = time.monotonic()
            with suppress(OSError):  # it has died: `_listen` will hear so
                idle.connection.send((started.index, started.task))

    def _listen(self, one: _Process[T]) -> Iterator[TaskOutcome[R]]:
        try:
            kind, value = one.connection.recv()
        except (EOFError, OSError):
            yield from self._died(one)
            return
        if kind == "ready":
            one.ready, self._stillborn = True, 0
            self.greeting = value if self.greeting is None else self.greeting
        elif kind == "unready":
            raise value.error or TubeletError("a worker process cannot begin", got=value.text)
        elif one.at is None:
            return
        elif kind == "alive":
            one.at.heard = time.monotonic()
            if self.on_alive is not None:
                self.on_alive(one.at.index, value)
        else:
            started, one.at = one.at, None
            yield _outcome(started, value if kind == "done" else None, value, kind)

    def _look(self, one: _Process[T]) -> Iterator[TaskOutcome[R]]:
        """Kill a process whose task has exceeded a limit."""
        if one.at is None:
            return
        now = time.monotonic()
        broken = self.limits.broken(one.process.pid, now - one.at.begun, now - one.at.heard)
        if broken is not None:
            self._running.remove(one)
            one.kill()
            yield _outcome(one.at, None, broken, "failed")

    def _died(self, one: _Process[T]) -> Iterator[TaskOutcome[R]]:
        self._running.remove(one)
        one.kill()
        how = _cause(one.process.exitcode)
        if not one.ready:
            self._stillborn += 1
            if self._stillborn >= _STARTS:
                raise TubeletError(
                    "worker processes end before they are ready",
                    got=how,
                    hint="use fewer processes, or a smaller model; a script of your own needs "
                    '`if __name__ == "__main__":` around what it starts',
                )
        if one.at is None:
            return
        if one.at.tries < self.tries:
            self._waiting.append(one.at)
            return
        yield _outcome(one.at, None, Failure(reason="died", text=f"its process {how}"), "failed")


def _outcome(started: _Started[Any], value: Any, failure: Any, kind: str) -> TaskOutcome[Any]:
    return TaskOutcome(
        index=started.index,
        value=value,
        failure=None if kind == "done" else failure,
        tries=started.tries,
        seconds=time.monotonic() - started.begun,
    )


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def in_order(outcomes: Iterable[TaskOutcome[R]]) -> Iterator[TaskOutcome[R]]:
    """Outcomes by the order of their tasks; those that come early are kept until then."""
    early: dict[int, TaskOutcome[R]] = {}
    following = 0
    for outcome in outcomes:
        early[outcome.index] = outcome
        while following in early:
            yield early.pop(following)
            following += 1


def _serve(connection: Connection, worker: Worker[Any, Any]) -> None:
    """What a process of a pool runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pool decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(("ready", worker.prepare()))
    except Exception as error:
        connection.send(("unready", Failure.of(error)))
        return
    alive: Alive = lambda done: connection.send(("alive", done))  # noqa: E731
    while True:
        try:
            _, task = connection.recv()
        except EOFError:
            return
        try:
            reply = ("done", worker.work(task, alive))
        except Exception as error:
            reply = ("failed", Failure.of(error))
        connection.send(reply)


def _end_with_parent() -> None:
    """A process whose parent was killed ends at once, in the middle of its task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
