"""What the command line shows: one console for results, one for messages, and progress bars."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tubelet.train.reporters import Reporter, StepReport

out = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def note(text: str) -> None:
    """A line about the run, on stderr, so that stdout stays a result."""
    messages.print(text)


class Told(io.TextIOBase):
    """What a process without a console of its own says, in order: pairs of whether it belongs on
    stderr, and the text. `alive` is called with the share done wherever a bar would move."""

    def __init__(self, alive: Callable[[float | None], None]) -> None:
        self.lines: list[tuple[bool, str]] = []
        self.alive = alive

    def stream(self, console: Console, *, error: bool) -> TextIO:
        told, terminal = self.lines, console.is_terminal

        class Collected(io.StringIO):
            def write(self, text: str) -> int:
                told.append((error, text))
                return len(text)

            def isatty(self) -> bool:
                return terminal

        return Collected()


class _Moved(Progress):
    """A bar that shows nothing and says that it moves."""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        if _told is not None:
            total, done = changes.get("total"), changes.get("completed")
            _told.alive(done / total if total and done is not None else None)


_told: Told | None = None


@contextmanager
def telling(alive: Callable[[float | None], None]) -> Iterator[Told]:
    """Inside the block nothing is printed: what would be is collected, for another process to
    `tell`."""
    global _told  # noqa: PLW0603  (the consoles are of the process too)
    before = out.file, messages.file
    told = _told = Told(alive)
    out.file, messages.file = told.stream(out, error=False), told.stream(messages, error=True)
    try:
        yield told
    finally:
        _told = None
        out.file, messages.file = before


def tell(lines: Sequence[tuple[bool, str]]) -> None:
    """Print what another process collected."""
    for error, text in lines:
        stream = messages.file if error else out.file
        stream.write(text)
        stream.flush()


def progress_bar() -> Progress:
    """A bar with elapsed and remaining time on stderr; silent if stderr is not a terminal."""
    if _told is not None:
        return _Moved(disable=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def download_bar() -> Iterator[Callable[[int, int], None]]:
    """A callback for the bytes of a download; the bar appears with the first of them."""
    with progress_bar() as bar:
        task = bar.add_task("weights", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def show(items: Sequence[Any]) -> None:
    """Print rich renderables to stdout, one after the other."""
    for item in items:
        out.print(item)


def print_json(value: object) -> None:
    """JSON to stdout, unwrapped and uncoloured, for other programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_paragraph(text: str, *, indent: int = 4) -> None:
    """One line, or on a terminal as many as it takes, those after the first indented."""
    if not out.is_terminal:
        out.print(text)
        return
    lines = textwrap.wrap(
        text.lstrip(),
        out.width,
        initial_indent=text[: len(text) - len(text.lstrip())],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    out.print("\n".join(lines), soft_wrap=True)


class ConsoleReporter(Reporter):
    """A line every `every` steps: loss, clips per second, and when it will be done."""

    def __init__(self, every: int = 10) -> None:
        self._every = every

    def step(self, report: StepReport) -> None:
        if report.step % self._every and report.step not in (1, report.steps):
            return
        minutes, seconds = divmod(round(report.eta_s), 60)
        used = "" if report.mfu is None else f"MFU {report.mfu:.1%}  "
        note(
            f"{report.stage} {report.step}/{report.steps}  loss {report.loss:.4f}  "
            f"rate {report.rate:.2e}  {report.clips_per_second:.1f} clips/s  "
            f"data {report.data_wait:.0%}  {used}ETA {minutes}:{seconds:02d}"
        )

    def note(self, text: str) -> None:
        note(text)

    def close(self) -> None:
        """Nothing to close: the console stays."""
