"""What a pool of processes works on: the worker, what a task may take, and what came of it.

Type legend: T a task, R what it gives; both travel between processes.
"""

from __future__ import annotations

import pickle
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from tubelet.errors import TubeletError

T = TypeVar("T")
R = TypeVar("R")

Reason = Literal["error", "bug", "died", "time", "silence", "memory"]
Alive = Callable[[float | None], None]
"""Called by a task that is not stuck, with the share of it that is done if that is known."""
_PAGE = 4096


class Worker(ABC, Generic[T, R]):
    """What each process of a pool does. It is sent there once, so its fields must be picklable."""

    @abstractmethod
    def prepare(self) -> object:
        """Called once in each process, before its first task: the place to load a model. What it
        returns is handed to whoever asks `Pool.greeting`."""

    @abstractmethod
    def work(self, task: T, alive: Alive) -> R:
        """Do one task. An exception is the failure of this task and of no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a task may take before its process is killed; None: any amount.

    `seconds`: in all. `silence_s`: without calling `alive`. `memory`: resident bytes of the
    process, watched from outside, on Linux only.
    """

    seconds: float | None = None
    silence_s: float | None = None
    memory: int | None = None

    def broken(self, pid: int, spent_s: float, silent_s: float) -> Failure | None:
        """What a process of id `pid` has exceeded, if anything."""
        if self.seconds is not None and spent_s > self.seconds:
            return Failure(reason="time", text=f"took more than {self.seconds:g} s")
        if self.silence_s is not None and silent_s > self.silence_s:
            text = f"no progress for more than {self.silence_s:g} s"
            return Failure(reason="silence", text=text)
        if self.memory is not None and (resident(pid) or 0) > self.memory:
            text = f"took more than {self.memory / (1 << 20):.0f} MiB of memory"
            return Failure(reason="memory", text=text)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a task has no result: an "error" raised on purpose, a "bug" (any other exception), a
    process that "died", or was killed for its "time", its "silence" or its "memory".

    `error`: what was raised, where it could travel.
    """

    reason: Reason
    text: str
    error: TubeletError | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """A task's own exception."""
        if isinstance(error, TubeletError):
            return cls(reason="error", text=str(error), error=_sendable(error))
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" ({last[0].filename}:{last[0].lineno})" if last else ""
        return cls(reason="bug", text=f"{type(error).__name__}: {error}{place}")


def _sendable(error: TubeletError) -> TubeletError:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:  # an error with a constructor of its own, or a `where` that cannot travel
        plain = TubeletError(str(error))
        plain.exit_code = error.exit_code
        return plain
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome(Generic[R]):
    """What came of the task number `index`: a value, or a failure. `tries`: how often it began."""

    index: int
    value: R | None
    failure: Failure | None
    tries: int
    seconds: float


def resident(pid: int) -> int | None:
    """Resident bytes of a process; None where the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * _PAGE
