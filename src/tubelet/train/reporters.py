"""What a run reports as it goes: one record per step, to any number of listeners."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from tubelet.errors import InputError
from tubelet.files import write_text, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One finished step. `data_wait`: share of the time spent waiting for the loader. `mfu`: share
    of the device's peak arithmetic that the model's own operations take, where that is known.
    `gate_saturation`, `gate_spread`: of a collaborative memory with gates, as in `GateReport`."""

    stage: str
    step: int
    steps: int
    loss: float
    rate: float
    gradient_norm: float
    clips_per_second: float
    data_wait: float
    eta_s: float
    mfu: float | None = None
    gate_saturation: float | None = None
    gate_spread: float | None = None


class Reporter(Protocol):
    """A listener of a training run."""

    def step(self, report: StepReport) -> None: ...

    def note(self, text: str) -> None:
        """Something worth a line: a skipped file, a saved checkpoint, a stage's end."""
        ...

    def close(self) -> None: ...


class Reporters:
    """Several listeners as one."""

    def __init__(self, listeners: Sequence[Reporter]) -> None:
        self._listeners = tuple(listeners)

    def step(self, report: StepReport) -> None:
        for listener in self._listeners:
            listener.step(report)

    def note(self, text: str) -> None:
        for listener in self._listeners:
            listener.note(text)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


class Silent:
    """Discards everything: for all processes but the first."""

    def step(self, report: StepReport) -> None:
        """Discarded."""

    def note(self, text: str) -> None:
        """Discarded."""

    def close(self) -> None:
        """Nothing is open."""


class JsonLines:
    """A stage's metrics, one line per step. A resumed run drops the lines it is about to repeat."""

    def __init__(self, path: Path, *, keep_steps: int) -> None:
        lines = path.read_text().splitlines()[:keep_steps] if path.is_file() else []
        write_text(path, "".join(f"{line}\n" for line in lines))
        self._path = path
        with writing(path):
            self._file = path.open("a", buffering=1)

    def step(self, report: StepReport) -> None:
        with writing(self._path):
            self._file.write(json.dumps(asdict(report)) + "\n")

    def note(self, text: str) -> None:
        """Notes are for people; the metrics file holds steps only."""

    def close(self) -> None:
        with writing(self._path):
            self._file.close()


_SCALARS = (
    "loss", "rate", "gradient_norm", "clips_per_second", "data_wait", "mfu", "gate_saturation",
    "gate_spread",
)  # fmt: skip


class TensorBoard:
    """Scalars for TensorBoard, which is an optional extra."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise InputError(
                "TensorBoard is not installed", hint="pip install 'tubelet[tensorboard]'"
            ) from error
        with writing(folder / "events"):
            self._writer = SummaryWriter(str(folder))

    def step(self, report: StepReport) -> None:
        for name in _SCALARS:
            value = getattr(report, name)
            if value is not None:
                self._writer.add_scalar(f"{report.stage}/{name}", value, report.step)

    def note(self, text: str) -> None:
        self._writer.add_text("notes", text)

    def close(self) -> None:
        self._writer.close()


@contextmanager
def with_step_log(reporter: Reporter, path: Path, step: int, *, write: bool) -> Iterator[Reporter]:
    """`reporter`, and a stage's metrics in `path` from `step` on; silence unless to `write`."""
    if not write:
        yield Silent()
        return
    with closing(JsonLines(path, keep_steps=step)) as log:
        yield Reporters([reporter, log])
