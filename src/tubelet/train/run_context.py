"""Where and how a recipe runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tubelet.parallel.processes import World
from tubelet.train.reporters import Reporter
from tubelet.train.stopping import StopFlag


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Where and how a recipe runs; nothing here changes what it computes.

    `root`: the data folder. `out`: the run's own folder. `stop`: raised when it is to end early.
    `fsdp`: split the backbone's parameters over the processes.
    """

    root: Path
    out: Path
    device: torch.device
    reporter: Reporter
    world: World
    stop: StopFlag
    fsdp: bool = False
