"""How a run is asked to stop, so that it can save itself first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tubelet.errors import Stopped


class StopFlag:
    """Whether the process has been asked to end, checked between steps."""

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
                "asked to stop",
                hint="resume: training continues from its last checkpoint",
                arguments=("resume",),
            )


@contextmanager
def stopped_by_sigterm() -> Iterator[StopFlag]:
    """Inside the block SIGTERM raises the flag, so that a step can end and be saved, or ends the
    process with `Stopped` if the flag is not watched.

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
