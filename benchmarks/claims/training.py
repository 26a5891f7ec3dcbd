"""The loop that every arm trains in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import nn

from tubelet.batch import Batch
from tubelet.models.cost import count
from tubelet.models.detector import ActionModelConfig
from tubelet.train.learning.learners import Learner
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule

ADAMW = Optimizer(kind="adamw", weight_decay=0.02)


def fit(
    model: nn.Module,
    learner: Learner,
    batches: Iterable[Batch],
    *,
    steps: int,
    rate: float,
    optimizer: Optimizer = ADAMW,
    clip: float = 5.0,
) -> None:
    """`steps` steps at `rate` under a cosine with a tenth of warm-up, gradients clipped. The model
    is left in the mode that it was in."""
    schedule = CosineSchedule(warmup=0.1)
    built = optimizer.build(model)
    scale = rate / optimizer.rate
    rates = [group["lr"] * scale for group in built.param_groups]
    for step, batch in enumerate(itertools.islice(batches, steps)):
        for group, full in zip(built.param_groups, rates, strict=True):
            group["lr"] = full * schedule.at(step, steps)
        built.zero_grad(set_to_none=True)
        learner.backward(batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        built.step()


def macs_of(config: ActionModelConfig, *, size: int | tuple[int, int], clips: int) -> float:
    """Multiply-adds of the forward pass of `clips` clips, one person each."""
    return float(count(config, size=size).macs * clips)


def parameters_of(model: nn.Module) -> int:
    """How many are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
