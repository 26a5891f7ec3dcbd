"""The training loop: everything that differs between experiments comes in as a value."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tubelet.models.detector import ActionModel
from tubelet.train.learners import Learner
from tubelet.train.loader import Step
from tubelet.train.recipe import Stage
from tubelet.train.reporting import Reporter, StepReport
from tubelet.types import TrainingError


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
    """What the loop changes: model, optimiser, weight average and the number of finished steps."""

    model: ActionModel
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    step: int = 0


def fit(
    progress: Progress,
    steps: Iterator[Step],
    stage: Stage,
    *,
    learner: Learner,
    seed: int,
    device: torch.device,
    reporter: Reporter,
    save: Callable[[], None],
) -> None:
    """Train until `stage.steps`; `save` is called every `stage.save_every` steps and at the end.

    Each step reseeds torch from (seed, step), so dropout does not depend on what ran before.
    Raises TrainingError when the loss stops being a number, naming the clips.
    """
    model, optimizer = progress.model, progress.optimizer
    model.train()
    first, began, waited = progress.step, time.monotonic(), 0.0
    base = [group["lr"] for group in optimizer.param_groups]
    while progress.step < stage.steps:
        asked = time.monotonic()
        batch, skipped = next(steps)
        waited += time.monotonic() - asked
        for reason in skipped:
            reporter.note(f"skipped {reason}")
        scale = stage.schedule.at(progress.step, stage.steps)
        for group, rate in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = rate * scale
        torch.manual_seed(seed * 1_000_003 + progress.step)
        optimizer.zero_grad(set_to_none=True)
        loss = learner.backward(batch.to(device))
        if not torch.isfinite(loss):
            raise TrainingError(
                "the loss is not a number",
                where=f"stage {stage.name!r}, step {progress.step}",
                got=f"{loss.item()} on {', '.join(map(str, batch.keys))}",
                hint="lower the learning rate, or look at these clips",
            )
        norm = nn.utils.clip_grad_norm_(model.parameters(), stage.clip_norm)
        optimizer.step()
        if progress.average is not None:
            progress.average.update_parameters(model)
        progress.step += 1
        spent = max(time.monotonic() - began, 1e-9)
        speed = (progress.step - first) / spent
        reporter.step(
            StepReport(
                stage=stage.name,
                step=progress.step,
                steps=stage.steps,
                loss=loss.item(),
                rate=optimizer.param_groups[0]["lr"],
                gradient_norm=float(norm),
                clips_per_second=speed * stage.batch,
                data_wait=waited / spent,
                eta_s=(stage.steps - progress.step) / speed,
            )
        )
        if progress.step % stage.save_every == 0 or progress.step == stage.steps:
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate
            save()
