"""What a checkpoint of a stage holds, when one is written, and which of them stay."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.config import encode
from tubelet.files import atomic_path
from tubelet.models.memory.online import LearningBank
from tubelet.parallel.processes import World
from tubelet.train.loop.progress import Progress
from tubelet.train.loop.state import TrainState
from tubelet.train.model.norms import learnt_statistics
from tubelet.train.recipe import Recipe

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
    """Due every `minutes`; never, if None."""

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else minutes * 60
        self._last = time.monotonic()

    def due(self) -> bool:
        if self._seconds is None or time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSaver:
    """Writes the checkpoints of stage `stage`. `statistics`: names of the running means and
    variances that it trains. `banks`: those that it fills, marked at the same step."""

    recipe: dict[str, Any]
    stage: int
    progress: Progress
    statistics: Sequence[str]
    banks: Sequence[LearningBank]
    world: World
    checkpoints: Checkpoints

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        index: int,
        progress: Progress,
        banks: Sequence[LearningBank],
        world: World,
        folder: Path,
    ) -> StageSaver:
        """The saver of stage `index`, whose models are in train mode already."""
        return cls(
            recipe=encode(recipe),
            stage=index,
            progress=progress,
            statistics=learnt_statistics(progress.models),
            banks=banks,
            world=world,
            checkpoints=Checkpoints(folder, keep=recipe.stages[index].keep),
        )

    def save(self) -> None:
        """Save the step just finished; every process makes this call."""
        progress, world = self.progress, self.world
        world.average_buffers(progress.models, self.statistics)
        if progress.average is not None:
            world.average_buffers(progress.average.module, self.statistics)
        for bank in self.banks:
            bank.mark(progress.step)
        state = progress.captured(self.recipe, self.stage)
        if world.first:
            self.checkpoints.save(state)
        world.wait()
        for bank in self.banks:
            bank.settle(progress.step)
