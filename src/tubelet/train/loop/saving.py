"""When a run saves itself, which of its checkpoints stay, and how it is told to stop."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tubelet.files import atomic_path
from tubelet.train.loop.state import TrainState
from tubelet.types import Stopped

STATE = "state.pt"
_OLDER = "state_before_{}.pt"


class Checkpoints:
    """The last `keep` states of a run in its folder: `state.pt` is the newest, and
    `state_before_1.pt` the one before it."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, state: TrainState) -> None:
        """Write the newest state; a crash at any moment leaves every earlier one whole."""
        newest = self._folder / STATE
        names = [newest, *(self._folder / _OLDER.format(i) for i in range(1, self._keep))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.is_file() and newer != newest:
                newer.replace(older)
        if self._keep > 1 and newest.is_file():
            # A second name for the same file: `state.pt` is never absent, even for a moment.
            names[1].unlink(missing_ok=True)
            try:
                names[1].hardlink_to(newest)
            except OSError:  # a file system without hard links
                with atomic_path(names[1]) as part:
                    shutil.copyfile(newest, part)
        state.save(newest)


class Clock:
    """Says when `minutes` have gone by since the last time it said so; never, if None."""

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else minutes * 60
        self._last = time.monotonic()

    def due(self) -> bool:
        if self._seconds is None or time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


class StopFlag:
    """Whether the process has been asked to end, while somebody looks at it between steps."""

    def __init__(self) -> None:
        self.raised = False
        self._watched = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside the block a request only raises the flag; outside it ends the process at once."""
        self._watched = True
        try:
            yield
        finally:
            self._watched = False

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
        if not self._watched:
            raise Stopped(
                "asked to stop", hint="a training continues from its last checkpoint with --resume"
            )


@contextmanager
def stopped_by_sigterm() -> Iterator[StopFlag]:
    """Inside the block SIGTERM raises the flag, so that a step can end and be saved, or ends the
    process with `Stopped` where nobody watches the flag.

    Off the main thread, where Python hands no signals out, the flag is never raised.
    """
    flag = StopFlag()
    try:
        before = signal.signal(signal.SIGTERM, flag._asked)
    except ValueError:
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, before)
