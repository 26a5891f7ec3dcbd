"""Training of the small person detector, top to bottom in `train_person`.

Each step's canvases are a function of (seed, step), so a run that is killed and resumed takes the
same steps as one that is not. The exported weights are the moving average, in fp16.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tubelet.checkpoints import read_checkpoint, save_checkpoint
from tubelet.config import encode
from tubelet.errors import CheckpointError, ConfigError, Stopped, TrainingError
from tubelet.files import atomic_path
from tubelet.numerics.choices import Precision, PrecisionChoice
from tubelet.numerics.precision import autocast, resolve
from tubelet.numerics.prepare import prepare
from tubelet.people.detectors.efficient import EfficientPersonConfig, EfficientPersonNet
from tubelet.people.detectors.small import (
    PersonNet,
    PersonNetConfig,
    SmallDetectorConfig,
    calls_of,
    header_of,
)
from tubelet.people.training.imagenet import imagenet_backbone
from tubelet.people.training.loss import PersonLoss
from tubelet.people.training.pictures import Augmentation, Picture, draw_batch

_DEVICE = torch.device("cpu")
Report = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecipe:
    """A complete training of a small person detector, apart from the pictures.

    `steps` of `batch` canvases; AdamW at `lr` after `warmup` linear steps, then half a cosine down
    to `final_lr_share` of it. `ema` is the longest memory of the averaged weights, as the share
    kept per step. `save_every` and `log_every` count steps.
    """

    model: PersonNetConfig = field(default_factory=EfficientPersonConfig)
    reading: SmallDetectorConfig = field(default_factory=SmallDetectorConfig)
    augment: Augmentation = field(default_factory=Augmentation)
    loss: PersonLoss = field(default_factory=PersonLoss)
    steps: int = 5000
    batch: int = 16
    lr: float = 2e-3
    imagenet: bool = False
    backbone_lr_share: float = 1.0
    frozen_stages: int = 0
    weight_decay: float = 0.03
    warmup: int = 200
    final_lr_share: float = 0.02
    clip_norm: float = 10.0
    ema: float = 0.998
    precision: PrecisionChoice = "auto"
    seed: int = 0
    save_every: int = 200
    log_every: int = 20

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every, self.log_every) < 1 or self.lr <= 0:
            raise ConfigError(
                "a training needs at least one step, one picture and a rate", got=self
            )
        if self.frozen_stages and not self.imagenet:
            raise ConfigError(
                "stages that know nothing yet cannot be frozen",
                expected="frozen_stages=0 without imagenet",
                got=self.frozen_stages,
            )

    def rate(self, step: int) -> float:
        """Learning rate of step 0 … steps−1."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.lr * warm * (self.final_lr_share + (1 - self.final_lr_share) * cosine)


def train_person(
    recipe: PersonRecipe,
    pictures: Sequence[Picture],
    out: Path,
    *,
    resume: bool = False,
    report: Report | None = None,
    stop: Callable[[], Stopped | None] | None = None,
) -> Path:
    """Train, and return the path of the averaged fp16 weights, `out/person_small.safetensors`.

    `out` also receives `state.safetensors` (to resume from) and `recipe.json`. `report` is called
    every `log_every` steps with the losses, the rate, pictures per second and the seconds left.
    `stop` is asked after each step: what it gives is raised once the step is saved.
    Raises TrainingError if the loss stops being a number or there is nothing to learn from.
    """
    if not any(len(p.boxes_px) for p in pictures):
        raise TrainingError("no picture shows a person", where=out, got=f"{len(pictures)} pictures")
    with atomic_path(out / "recipe.json") as part:
        part.write_text(json.dumps(encode(recipe), indent=1), encoding="utf-8")
    torch.manual_seed(recipe.seed)
    net = recipe.model.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(net, EfficientPersonNet):
        _start(net, recipe)
    average = recipe.model.build()
    average.load_state_dict(net.state_dict())
    optimiser = _optimiser(net, recipe)
    state = out / "state.safetensors"
    start = _restore(state, net, average, optimiser) if resume and state.is_file() else 0
    precision = _prepare(net, recipe)
    net.train()
    started = time.monotonic()
    for step in range(start, recipe.steps):
        rng = np.random.default_rng((recipe.seed, step))
        canvases = draw_batch(pictures, recipe.batch, rng, recipe.augment)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step) * group["share"]
        with autocast(_DEVICE, precision):
            dense = net(torch.stack([c.image for c in canvases]))
        losses = recipe.loss(dense, canvases)
        optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm)
        if not torch.isfinite(norm):
            raise TrainingError("the gradient is not a number", where=f"step {step}", got=losses)
        optimiser.step()
        _average(average, net, min(recipe.ema, (1 + step) / (10 + step)))
        if report and (step + 1) % recipe.log_every == 0:
            pace = (step + 1 - start) / (time.monotonic() - started)
            report(_line(step + 1, losses, norm, pace, recipe))
        stopped = stop() if stop is not None else None
        if stopped or (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            _save(state, step + 1, net, average, optimiser)
        if stopped is not None:
            raise stopped
    return export(state, out / "person_small.safetensors", recipe)


def _prepare(net: PersonNet, recipe: PersonRecipe) -> Precision:
    """The recipe's precision on this machine, once the layers of every canvas size are probed."""
    precision = resolve(recipe.precision, _DEVICE)
    for hw in recipe.augment.canvases_hw:
        prepare(
            net,
            partial(calls_of, net, (recipe.batch, 3, *hw)),
            device=_DEVICE,
            precision=precision,
            backward=True,
        )
    return precision


def export(
    state: Path, to: Path, recipe: PersonRecipe, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write the averaged weights of a training state as fp16, with `extra` in the header."""
    header, tensors = read_checkpoint(state)
    weights = {
        name.removeprefix("average."): value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith("average.")
    }
    if not weights or not all(v.isfinite().all() for v in weights.values()):
        raise CheckpointError("the training state's weights do not fit fp16", where=state)
    save_checkpoint(
        to,
        weights,
        {**header_of(recipe.model, recipe.reading), "steps": header["step"], **(extra or {})},
    )
    return to


def _start(net: EfficientPersonNet, recipe: PersonRecipe) -> None:
    if recipe.imagenet:
        net.backbone.load_state_dict(imagenet_backbone())
    for part in (net.backbone.stem, *net.backbone.stages[: recipe.frozen_stages]):
        part.requires_grad_(False)


def _optimiser(net: PersonNet, recipe: PersonRecipe) -> torch.optim.AdamW:
    """Weight decay on the convolutions alone, not on norms and biases."""
    groups = []
    for share, of_backbone in ((1.0, False), (recipe.backbone_lr_share, True)):
        parameters = [
            p
            for name, p in net.named_parameters()
            if p.requires_grad and name.startswith("backbone.") == of_backbone
        ]
        for decay, kernels in ((recipe.weight_decay, True), (0.0, False)):
            members = [p for p in parameters if (p.ndim > 1) == kernels]
            groups.append({"params": members, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=recipe.lr, betas=(0.9, 0.98)
    )


@torch.no_grad()
def _average(average: PersonNet, net: PersonNet, keep: float) -> None:
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


def _line(
    step: int, losses: Mapping[str, Tensor], norm: Tensor, pace: float, recipe: PersonRecipe
) -> dict[str, float]:
    return {
        "step": step,
        **{f"loss_{name}": round(value.item(), 4) for name, value in losses.items()},
        "gradient_norm": round(norm.item(), 3),
        "rate": recipe.rate(step - 1),
        "pictures_per_s": round(pace * recipe.batch, 1),
        "eta_s": round((recipe.steps - step) / pace),
    }


def _save(
    path: Path,
    step: int,
    net: PersonNet,
    average: PersonNet,
    optimiser: torch.optim.Optimizer,
) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in slots.items()}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    save_checkpoint(path, tensors, {"kind": "person_training", "step": step})


def _restore(
    path: Path, net: PersonNet, average: PersonNet, optimiser: torch.optim.Optimizer
) -> int:
    """Load a training state into the objects; return the number of steps it has taken."""
    header, tensors = read_checkpoint(path)
    if header.get("kind") != "person_training":
        raise CheckpointError("not a training state", where=path, got=header.get("kind"))
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "average": {}, "optimiser": {}}
    for name, value in tensors.items():
        owner, rest = name.split(".", 1)
        parts[owner][rest] = value
    net.load_state_dict(parts["net"])
    average.load_state_dict(parts["average"])
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimiser"].items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    return int(header["step"])
