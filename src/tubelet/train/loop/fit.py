"""The training loop: everything that differs between experiments comes in as a value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from tubelet.errors import TrainingError
from tubelet.files import write_text
from tubelet.parallel.processes import World
from tubelet.train.data.loader import Step
from tubelet.train.learning.learners import Learner
from tubelet.train.loop.gates import GateWatch
from tubelet.train.loop.progress import Progress
from tubelet.train.loop.saving import Clock, StageSaver
from tubelet.train.loop.throughput import Pace
from tubelet.train.model.sharding import clip_gradients
from tubelet.train.recipe import Stage
from tubelet.train.reporters import Reporter
from tubelet.train.stopping import StopFlag
from tubelet.types import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopServices:
    """What the loop works with and does not change.

    `folder`: where the clips of a minibatch whose loss is not a number are listed. `clip_load`:
    share of the device's peak that training on one clip per second takes, where that is known.
    """

    device: torch.device
    world: World
    reporter: Reporter
    saver: StageSaver
    stop: StopFlag
    folder: Path
    clip_load: float | None


def fit(
    progress: Progress,
    minibatches: Iterator[Step],
    stage: Stage,
    *,
    learner: Learner,
    seed: int,
    services: LoopServices,
) -> None:
    """Train models, which are in train mode, until `progress.steps`, saving every
    `stage.save_every` steps, at the end, and when asked to stop.

    Each minibatch reseeds torch from (seed, step, its number), so dropout depends neither on what
    ran before nor on which process it falls to. Raises TrainingError when the loss stops being a
    number, naming the clips, and Stopped after a request to end.
    """
    rates, pace = _Rates(progress.optimizer), Pace(progress.step, stage.batch)
    clock = Clock(stage.save_minutes)
    gates = GateWatch(progress.models, services.reporter.note)
    loop = _Loop(
        progress=progress,
        minibatches=minibatches,
        stage=stage,
        learner=learner,
        seed=seed,
        services=services,
        pace=pace,
    )
    while progress.step < progress.steps:
        rates.scale(stage.schedule.at(progress.step, progress.steps))
        own = loop.accumulate()
        step = loop.agree(own, save=clock.due() if services.world.first else False)
        services.world.sum_gradients(progress.models.parameters())
        norm = loop.update(own.keys)
        progress.step += 1
        services.reporter.step(
            pace.report(
                progress, stage.name, loss=step.loss, rate=rates.first, norm=norm,
                load=services.clip_load, gates=gates.step(),
            )
        )  # fmt: skip
        regular = progress.step % stage.save_every == 0 or progress.step == progress.steps
        if regular or step.save or step.stop:
            rates.reset()
            services.saver.save()
        if step.stop:
            raise services.stop.stopped(
                f"stopped at step {progress.step} of {progress.steps}; training has saved its "
                "state",
                f"stage {stage.name!r}, {services.folder}",
            )


class _Rates:
    """The optimiser's learning rates. A checkpoint holds them as the recipe states them."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._groups = optimizer.param_groups
        self._stated = [group["lr"] for group in self._groups]

    @property
    def first(self) -> float:
        """The rate of the first parameter group."""
        return float(self._groups[0]["lr"])

    def scale(self, factor: float) -> None:
        for group, rate in zip(self._groups, self._stated, strict=True):
            group["lr"] = rate * factor

    def reset(self) -> None:
        self.scale(1.0)


class _Own(NamedTuple):
    """This process's part of a step: its share of the mean loss, and its clips."""

    loss: float
    keys: tuple[Key, ...]


class _Agreed(NamedTuple):
    """What all processes know of a step: the mean loss, and whether to save and to stop after."""

    loss: float
    save: bool
    stop: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """The parts of a step, in the order in which `fit` takes them."""

    progress: Progress
    minibatches: Iterator[Step]
    stage: Stage
    learner: Learner
    seed: int
    services: LoopServices
    pace: Pace

    def accumulate(self) -> _Own:
        """Gradients of this process's minibatches, added up in the parameters."""
        progress, stage, services = self.progress, self.stage, self.services
        share = 1 / (stage.accumulate * services.world.size)
        progress.optimizer.zero_grad(set_to_none=True)
        total, keys = 0.0, tuple[Key, ...]()
        for turn in range(stage.accumulate):
            with self.pace.waiting():
                batch, skipped = next(self.minibatches)
            for reason in skipped:
                services.reporter.note(f"skipped {reason}")
            number = services.world.rank * stage.accumulate + turn
            torch.manual_seed(self.seed * 1_000_003 + progress.step + number * 10**12)
            loss = self.learner.backward(
                batch.to(services.device), scale=share * progress.scaler.get_scale()
            )
            if not torch.isfinite(loss):
                self._record(batch.keys)
            total, keys = total + float(loss) * share, (*keys, *batch.keys)
        return _Own(total, keys)

    def agree(self, own: _Own, *, save: bool) -> _Agreed:
        """One sum over all processes. Raises TrainingError in all processes for a loss that is
        not a number in any."""
        world = self.services.world
        asked = [float(save), float(self.services.stop.raised)]
        loss, due, stop = world.sum([own.loss, *asked], self.services.device)
        if not math.isfinite(loss):
            raise self._not_a_number("loss", loss, own.keys)
        return _Agreed(loss, save=due > 0, stop=stop > 0)

    def update(self, keys: tuple[Key, ...]) -> float:
        """One step of the optimiser and of the average; returns the gradient's norm before
        clipping.

        Raises TrainingError for a gradient that is not a number, before it can reach a weight; in
        fp16 the loss scale is lowered instead and the step left out.
        """
        progress, limit = self.progress, self.stage.clip_norm
        scaler, models = progress.scaler, progress.models
        if scaler.is_enabled():
            # GradScaler makes its scale a tensor on the device when it first scales something, and
            # `unscale_` fails before that. Learners scale the loss themselves, by `get_scale`: so
            # it is given a zero to scale, which wakes it and changes nothing.
            scaler.scale(torch.zeros((), device=next(models.parameters()).device))
            scaler.unscale_(progress.optimizer)
        norm = clip_gradients(models.parameters(), math.inf if limit is None else limit)
        if not math.isfinite(norm) and not scaler.is_enabled():
            self._record(keys)
            raise self._not_a_number("gradient", norm, keys)
        scaler.step(progress.optimizer)
        scaler.update()
        if progress.average is not None:
            progress.average.update_parameters(models)
        return norm

    def _record(self, keys: tuple[Key, ...]) -> None:
        """Write down which clips a value that is not a number came from."""
        stage, step, rank = self.stage.name, self.progress.step, self.services.world.rank
        clips = [{"video": key.video, "time_ms": key.time_ms} for key in keys]
        text = json.dumps({"stage": stage, "step": step, "clips": clips})
        write_text(self.services.folder / f"not_a_number_{stage}_{step}_{rank}.json", text + "\n")

    def _not_a_number(self, what: str, value: float, keys: tuple[Key, ...]) -> TrainingError:
        return TrainingError(
            f"the {what} is not a number",
            where=f"stage {self.stage.name!r}, step {self.progress.step}",
            got=f"{value} on {', '.join(map(str, keys))}",
            hint="lower the learning rate, or look at the clips that were written to not_a_number",
        )
