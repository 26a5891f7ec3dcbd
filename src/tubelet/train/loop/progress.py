"""How far a stage has come: everything that its training changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tubelet.data.dataset import ClipDataset
from tubelet.train.data.loader import draws_a_step
from tubelet.train.loop.state import TrainState
from tubelet.train.model.sharding import load_whole, whole
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Stage


@dataclass(slots=True, kw_only=True)
class Progress:
    """Models, optimiser, loss scale, weight average, and the number of finished steps out of
    `steps`."""

    models: TiedModels
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    steps: int
    step: int = 0

    @classmethod
    def begin(
        cls,
        stage: Stage,
        models: TiedModels,
        datasets: Sequence[ClipDataset],
        device: torch.device,
    ) -> Progress:
        """Step 0 of a stage that trains `models` on all samples of `datasets`."""
        samples = sum(len(dataset) for dataset in datasets)
        draws = draws_a_step(stage.batch, stage.clips_of_a_video(models.main.config))
        return cls(
            models=models,
            optimizer=stage.optimizer.build(models, batch=stage.batch),
            scaler=torch.amp.GradScaler(device.type, enabled=stage.precision == "fp16"),
            average=_average_of(models, stage.ema) if stage.ema else None,
            steps=stage.steps or ceil((stage.epochs or 0) * samples / draws),
        )

    def captured(self, recipe: dict[str, Any], stage: int) -> TrainState:
        """The checkpoint at this point in stage `stage` of `recipe`; collective."""
        return TrainState(
            recipe=recipe,
            stage=stage,
            step=self.step,
            model=whole(self.models.state_dict()),
            optimizer=whole(self.optimizer.state_dict()),
            average=None if self.average is None else self.average.state_dict(),
            scaler=self.scaler.state_dict(),
        )

    def restore(self, state: TrainState) -> None:
        """Go on from a checkpoint of the same stage."""
        load_whole(self.models, self.optimizer, state.model, state.optimizer)
        self.scaler.load_state_dict(state.scaler)
        if self.average is not None and state.average is not None:
            self.average.load_state_dict(state.average)
        self.step = state.step

    def adopt_average(self) -> None:
        """Where weights were averaged, the average is the stage's result."""
        if self.average is not None:
            self.models.load_state_dict(self.average.module.state_dict())


def _average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and buffers, its decay ramped up from the start.

    The ramp min(decay, (1 + n) / (10 + n)) forgets the random initialisation in short runs.
    """

    def update(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(averaged, current, weight)

    return AveragedModel(model, avg_fn=update, use_buffers=True)
