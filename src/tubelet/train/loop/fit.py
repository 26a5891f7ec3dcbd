"""The training loop: everything that differs between experiments comes in as a value."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tubelet.parallel.processes import World
from tubelet.train.data.loader import Step
from tubelet.train.learning.learners import Learner
from tubelet.train.loop.reporters import Reporter, StepReport
from tubelet.train.loop.saving import Clock, StopFlag
from tubelet.train.model.sharding import clip_gradients
from tubelet.train.model.tied import Family
from tubelet.train.recipe import Stage
from tubelet.types import Key, Stopped, TrainingError


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and buffers, its decay ramped up from the start.

    The ramp min(decay, (1 + n) / (10 + n)) forgets the random initialisation in short runs.
    """

    def update(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(averaged, current, weight)

    return AveragedModel(model, avg_fn=update, use_buffers=True)


@dataclass(slots=True, kw_only=True)
class Progress:
    """What the loop changes: models, optimiser, loss scale, weight average, and the number of
    finished steps out of `steps`."""

    family: Family
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    steps: int
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the loop works with and does not change.

    `save` writes a checkpoint; every process calls it. `alarm` is told the clips of a minibatch
    whose loss is no number. `clip_load`: share of the device's peak that training on one clip a
    second takes, where that is known.
    """

    device: torch.device
    reporter: Reporter
    save: Callable[[], None]
    alarm: Callable[[int, tuple[Key, ...]], None]
    world: World = field(default_factory=World)
    stop: StopFlag = field(default_factory=StopFlag)
    clip_load: float | None = None


def fit(
    progress: Progress,
    minibatches: Iterator[Step],
    stage: Stage,
    *,
    learner: Learner,
    seed: int,
    around: Surroundings,
) -> None:
    """Train models, which are in train mode, until `progress.steps`, saving every
    `stage.save_every` steps, at the end, and when asked to stop.

    Each minibatch reseeds torch from (seed, step, its number), so dropout depends neither on what
    ran before nor on which process it falls to. Raises TrainingError when the loss stops being a
    number, naming the clips, and Stopped after a request to end.
    """
    pace = _Pace(progress.step, stage.batch)
    base = [group["lr"] for group in progress.optimizer.param_groups]
    clock = Clock(stage.save_minutes)
    while progress.step < progress.steps:
        scale = stage.schedule.at(progress.step, progress.steps)
        for group, rate in zip(progress.optimizer.param_groups, base, strict=True):
            group["lr"] = rate * scale
        loss, stop, due, keys = _gradients(
            progress, minibatches, stage, learner, seed, around, pace, clock
        )
        norm = _update(progress, stage, keys, around)
        progress.step += 1
        rate = progress.optimizer.param_groups[0]["lr"]
        around.reporter.step(pace.report(progress, stage.name, loss, rate, norm, around.clip_load))
        regular = progress.step % stage.save_every == 0 or progress.step == progress.steps
        if regular or due or stop:
            for group, rate in zip(progress.optimizer.param_groups, base, strict=True):
                group["lr"] = rate
            around.save()
        if stop:
            raise Stopped(
                "training was asked to stop, and has saved itself",
                where=f"stage {stage.name!r}, after step {progress.step} of {progress.steps}",
                hint="continue it with --resume",
            )


def _gradients(
    progress: Progress,
    minibatches: Iterator[Step],
    stage: Stage,
    learner: Learner,
    seed: int,
    around: Surroundings,
    pace: _Pace,
    clock: Clock,
) -> tuple[float, bool, bool, tuple[Key, ...]]:
    """Gradients of a whole step, over all minibatches and processes: the loss, whether to stop,
    whether to save, and this process's clips."""
    world, share = around.world, 1 / (stage.accumulate * around.world.size)
    progress.optimizer.zero_grad(set_to_none=True)
    total, keys = 0.0, tuple[Key, ...]()
    for turn in range(stage.accumulate):
        with pace.waiting():
            batch, skipped = next(minibatches)
        for reason in skipped:
            around.reporter.note(f"skipped {reason}")
        number = world.rank * stage.accumulate + turn
        torch.manual_seed(seed * 1_000_003 + progress.step + number * 10**12)
        loss = learner.backward(batch.to(around.device), scale=share * progress.scaler.get_scale())
        if not torch.isfinite(loss):
            around.alarm(progress.step, batch.keys)
        total, keys = total + float(loss) * share, (*keys, *batch.keys)
    asked = [float(around.stop.raised), float(world.first and clock.due())]
    total, stop, due = world.sum([total, *asked], around.device)
    if not math.isfinite(total):
        raise _not_a_number("loss", total, progress, stage, keys)
    world.sum_gradients(progress.family.parameters())
    return total, stop > 0, due > 0, keys


def _not_a_number(
    what: str, value: float, progress: Progress, stage: Stage, keys: tuple[Key, ...]
) -> TrainingError:
    return TrainingError(
        f"the {what} is not a number",
        where=f"stage {stage.name!r}, step {progress.step}",
        got=f"{value} on {', '.join(map(str, keys))}",
        hint="lower the learning rate, or look at the clips that were written to not_a_number",
    )


def _update(progress: Progress, stage: Stage, keys: tuple[Key, ...], around: Surroundings) -> float:
    """One step of the optimiser and of the average; returns the gradient's norm before clipping.

    Raises TrainingError for a gradient that is no number, before it can reach a weight; in fp16
    the loss scale is lowered instead and the step left out.
    """
    optimizer, scaler = progress.optimizer, progress.scaler
    if scaler.is_enabled():
        scaler.scale(torch.zeros((), device=next(progress.family.parameters()).device))
        scaler.unscale_(optimizer)
    largest = math.inf if stage.clip_norm is None else stage.clip_norm
    norm = clip_gradients(progress.family.parameters(), largest)
    if not math.isfinite(norm) and not scaler.is_enabled():
        around.alarm(progress.step, keys)
        raise _not_a_number("gradient", norm, progress, stage, keys)
    scaler.step(optimizer)
    scaler.update()
    if progress.average is not None:
        progress.average.update_parameters(progress.family)
    return norm


class _Pace:
    """How fast the loop goes, and how much of its time it waits for data."""

    def __init__(self, first: int, batch: int) -> None:
        self._first, self._batch = first, batch
        self._began, self._waited = time.monotonic(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time inside the block is waiting."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def report(
        self,
        progress: Progress,
        stage: str,
        loss: float,
        rate: float,
        norm: float,
        load: float | None,
    ) -> StepReport:
        spent = max(time.monotonic() - self._began, 1e-9)
        speed = (progress.step - self._first) / spent
        clips = speed * self._batch
        return StepReport(
            stage=stage,
            step=progress.step,
            steps=progress.steps,
            loss=loss,
            rate=rate,
            gradient_norm=norm,
            clips_per_second=clips,
            data_wait=self._waited / spent,
            eta_s=(progress.steps - progress.step) / speed,
            mfu=None if load is None else clips * load,
        )
