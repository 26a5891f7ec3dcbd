"""Optimisers as data: which parameters move, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tubelet.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """AdamW or SGD with momentum; weight decay spares norms and biases unless `decay_all`.

    `rate`: learning rate at the schedule's height. With `per_clips` it is that of a batch of so
    many clips, and a stage with another batch uses rate · batch / per_clips (linear scaling rule,
    Goyal et al. 2017). `layer_decay`: each layer of a transformer learns this much slower than
    the one above it, the embeddings slowest; 1 for all alike.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    decay_all: bool = False
    per_clips: int | None = None
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or not 0 < self.layer_decay <= 1 or (self.per_clips or 1) < 1:
            raise ConfigError(
                "an optimiser needs a positive rate and a layer decay of at most 1",
                got=f"rate {self.rate}, layer_decay {self.layer_decay}, per_clips {self.per_clips}",
            )

    def build(self, model: nn.Module, *, batch: int | None = None) -> torch.optim.Optimizer:
        """An optimiser of the parameters that require a gradient; `batch`: clips per step."""
        rate = self.rate
        if self.per_clips is not None and batch is not None:
            rate *= batch / self.per_clips
        groups = list(self._groups(model, rate))
        if not groups:
            raise ConfigError(
                "no trainable parameters", hint="look at the stage's `trainable` patterns"
            )
        # A group of whole and of sharded parameters cannot be stepped as one list.
        sharded = any(isinstance(p, DTensor) for p in model.parameters())
        foreach = False if sharded else None
        if self.kind == "sgd":
            return torch.optim.SGD(
                groups,
                lr=rate,
                momentum=self.momentum,
                nesterov=self.nesterov and self.momentum > 0,
                foreach=foreach,
            )
        return torch.optim.AdamW(groups, lr=rate, betas=(self.momentum, 0.999), foreach=foreach)

    def _groups(self, model: nn.Module, rate: float) -> Iterator[dict[str, Any]]:
        """One group for each pair of learning rate and weight decay, in order of first use."""
        depth = _depths(model) if self.layer_decay < 1 else {}
        found: dict[tuple[int, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                decay = self.weight_decay if parameter.ndim > 1 or self.decay_all else 0.0
                found.setdefault((depth.get(name, 0), decay), []).append(parameter)
        for (below, decay), parameters in found.items():
            yield {
                "params": parameters,
                "weight_decay": decay,
                "lr": rate * self.layer_decay**below,
            }


def _depths(model: nn.Module) -> dict[str, int]:
    """For each parameter of a backbone, how many layers lie between it and the head.

    A layer is an element of a list of blocks, in the order of registration; what comes before the
    first block (embeddings, stem) lies below them all. Parameters outside backbones have depth 0.
    """
    layers: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        owner, found, _ = name.partition("backbone.")
        if found and isinstance(module, (nn.ModuleList, nn.Sequential)):
            own = layers.setdefault(owner, [])
            if not any(name.startswith(f"{layer}.") for layer in own):
                own += [f"{name}.{i}" for i in range(len(module))]
    depths = {}
    for name, _ in model.named_parameters():
        owner, found, _ = name.partition("backbone.")
        if found:
            own = layers.get(owner, [])
            place = next((i for i, la in enumerate(own) if name.startswith(f"{la}.")), -1)
            depths[name] = len(own) - place
    return depths
