"""Recipe and Stage: a whole experiment as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from tubelet.data.sources import SourceConfig
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModelConfig
from tubelet.train.collaborative import CollaborativeTraining
from tubelet.train.losses import ActionLoss
from tubelet.train.schedules import CosineSchedule, Schedule
from tubelet.types import ConfigError, InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """AdamW or SGD with momentum; weight decay spares norms and biases."""

    kind: Literal["adamw", "sgd"] = "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        trainable = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.rate, momentum=self.momentum, nesterov=True)
        return torch.optim.AdamW(groups, lr=self.rate, betas=(self.momentum, 0.999))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One optimisation run: what is trained, on what, how long, and how.

    `input`: the clip to train on where it is not the model's own (smaller pictures first).
    `batch`: clips a step. A model with collaborative memory takes N clips of each of batch/N
    videos, and learns from them as `collaborative` says. `bank`: the tokens that a model with a
    memory bank sees: the folder of a finished bank, relative to the data folder; "build", extracted
    by the model as the stage begins; "empty", none at all; or None, a bank that grows as training
    sees clips. `clip_norm`: largest gradient norm. `ema`: decay of the weight
    average that is kept as the result, 0 for none. `precision`: autocast type of the forward pass.
    `save_every`: steps between checkpoints.
    """

    name: str
    data: SourceConfig
    steps: int
    batch: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=CosineSchedule)
    loss: ActionLoss = field(default_factory=ActionLoss)
    input: InputSpec | None = None
    augment: Augment | None = None
    collaborative: CollaborativeTraining = field(default_factory=CollaborativeTraining)
    bank: str | None = None
    clip_norm: float = 5.0
    ema: float = 0.0
    precision: Literal["fp32", "bf16"] = "bf16"
    workers: int = 0
    save_every: int = 100

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.save_every < 1:
            raise ConfigError(
                f"stage {self.name!r} needs at least one step, one clip a batch",
                got=f"steps {self.steps}, batch {self.batch}, save_every {self.save_every}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named, complete experiment: model, stages, and what it is tested on."""

    name: str
    summary: str
    model: ActionModelConfig
    stages: tuple[Stage, ...]
    test: SourceConfig
    seed: int = 0
