"""Parameters and multiply-adds of a model, counted by operator without running it.

The model is built on the meta device, so nothing is allocated, and torch's flop counter sees each
operator. One multiply-add counts as one, the papers' convention. Left out: RoIAlign, whose cost
depends on the boxes (49·h·w·C per person in our matrix form), and everything elementwise. Batch
norm is counted beside the total, at two per element, because PySlowFast and MMAction2 print it
included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tubelet.models.detector import ActionModelConfig
from tubelet.models.shapes import meta_twin, one_person

_OPERATORS = {
    "convolution": "convolution",
    "_convolution": "convolution",
    "mm": "linear",
    "addmm": "linear",
    "bmm": "matmul",
    "baddbmm": "matmul",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """`operators`: multiply-adds by operator: convolution, linear, and matmul, which is attention;
    `norm`: batch norm's, not part of the total."""

    parameters: int
    operators: Mapping[str, int]
    norm: int

    @property
    def macs(self) -> int:
        """Multiply-adds of one view with one person, RoIAlign and batch norm left out."""
        return sum(self.operators.values())

    @property
    def gmacs(self) -> float:
        """`macs` in units of 10⁹, what the papers print as GFLOPs."""
        return self.macs / 1e9


def count(
    config: ActionModelConfig, *, size: int | tuple[int, int], frames: int | None = None
) -> Cost:
    """Cost of one view of `frames` (the model's own by default) at `size` pixels, one person."""
    height, width = (size, size) if isinstance(size, int) else size
    model, rois = meta_twin(config), one_person()
    clip = torch.zeros(1, 3, frames or config.input.frames, height, width, device="meta")
    norms = _count_norms(model)
    backbone, maps = _counted(lambda: model.backbone(clip))
    memory, maps = _counted(lambda: maps if model.memory is None else model.memory(maps))
    pool, people = _counted(lambda: model.pool(maps, rois))
    # RoIAlign is the only matrix product of a head's pooling; its convolutions count.
    pool = {name: n for name, n in pool.items() if name == "convolution"}
    head, _ = _counted(lambda: model.classify(people, rois))
    operators: dict[str, int] = {}
    for part in (backbone, memory, pool, head):
        for name, n in part.items():
            operators[name] = operators.get(name, 0) + n
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        operators=operators,
        norm=sum(norms),
    )


def _count_norms(model: nn.Module) -> list[int]:
    """A list that fills with two per element of every batch norm's output as the model runs."""
    found: list[int] = []

    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        found.append(2 * output.numel())

    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.register_forward_hook(hook)
    return found


def _counted(run: Any) -> tuple[dict[str, int], Any]:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        result = run()
    totals: dict[str, int] = {}
    for operator, flops in counter.get_flop_counts().get("Global", {}).items():
        raw = str(operator).removeprefix("aten.")
        name = "matmul" if "attention" in raw else _OPERATORS.get(raw, raw)
        totals[name] = totals.get(name, 0) + flops // 2
    return totals, result
