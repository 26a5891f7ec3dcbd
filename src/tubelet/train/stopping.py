"""How a run is asked to stop, so that it can save itself first."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tubelet.errors import Stopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# torchrun passes a Ctrl-C on to processes that the terminal has sent it to already.
_PATIENCE_S = 1.0


class StopFlag:
    """Whether the process has been asked to end, checked between steps.

    `exit_code`: 143 after SIGTERM, 130 after Ctrl-C, as shells report them. `on_first` is called
    once, when a watched run is first asked.
    """

    def __init__(self, on_first: Callable[[], None] | None = None) -> None:
        self.raised = False
        self.exit_code = Stopped.exit_code
        self._watched = False
        self._on_first = on_first
        self._asked_at = math.inf

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside the block a first request only raises the flag; a second Ctrl-C, or any request
        outside it, ends the process at once."""
        self._watched = True
        try:
            yield
        finally:
            self._watched = False

    def stopped(self, what: str, where: str | None = None, *, can_finish: bool = True) -> Stopped:
        """The error that ends the run, and says how to go on."""
        hint, arguments = "resume the run", ["resume"]
        if can_finish:
            hint += "; or finish it, which writes the model as it is and tests it"
            arguments.append("finish")
        stopped = Stopped(what, where=where, hint=hint, arguments=tuple(arguments))
        stopped.exit_code = self.exit_code
        return stopped

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """What the signal `number` does."""
        again, self.raised = self.raised, True
        now = time.monotonic()
        if not self._watched or (number == signal.SIGINT and now - self._asked_at > _PATIENCE_S):
            self.exit_code = 128 + number
            raise self.stopped("stopped at once: what was saved before is kept")
        if not again:
            self.exit_code, self._asked_at = 128 + number, now
            if self._on_first is not None:
                self._on_first()


@contextmanager
def stopped_by_signals(on_first: Callable[[], None] | None = None) -> Iterator[StopFlag]:
    """Inside the block SIGTERM and Ctrl-C raise the flag, so that a step can end and be saved, or
    end the process with `Stopped` if the flag is not watched or raised already.

    Off the main thread, where Python hands no signals out, the flag is never raised.
    """
    flag = StopFlag(on_first)
    before = {}
    try:
        for number in _SIGNALS:
            before[number] = signal.signal(number, flag.ask)
    except ValueError:
        yield flag
        return
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
