"""The results on disk: one JSON line for each run, one file for each experiment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.claims.claim import Phase

from tubelet.files import locked, make_parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run. `version`: of its experiment."""

    experiment: str
    version: int
    arm: str
    phase: Phase
    rate: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a run found, and where and how long it ran."""

    job: Job
    figures: Mapping[str, float]
    macs: float
    parameters: int
    cpu_seconds: float
    wall_seconds: float
    commit: str
    machine: str

    def to_json(self) -> str:
        return json.dumps(
            {**asdict(self.job), **{k: v for k, v in asdict(self).items() if k != "job"}}
        )

    @classmethod
    def from_json(cls, line: str) -> Self:
        found: dict[str, Any] = json.loads(line)
        job = {name: found.pop(name) for name in Job.__dataclass_fields__}
        return cls(job=Job(**job), **found)


def file_of(folder: Path, experiment: str) -> Path:
    """`folder/NAME.jsonl`."""
    return folder / f"{experiment.replace(' ', '_')}.jsonl"


def append(folder: Path, row: Row) -> None:
    """Add one line. A line that a killed process left unfinished is removed first."""
    path = file_of(folder, row.job.experiment)
    make_parent(path)
    with locked(path.with_name(f".{path.name}.lock")), path.open("ab+") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.write(row.to_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path, experiments: Iterable[str]) -> dict[Job, Row]:
    """Every finished run; of two runs of one job the later."""
    found: dict[Job, Row] = {}
    for name in experiments:
        path = file_of(folder, name)
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        for line in text[: text.rfind("\n") + 1].splitlines():
            row = Row.from_json(line)
            found[row.job] = row
    return found


def mean_of(rows: Sequence[Row], figure: str = "test") -> float:
    return sum(row.figures[figure] for row in rows) / len(rows)
