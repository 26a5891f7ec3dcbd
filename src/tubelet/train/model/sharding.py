"""Parameters split over processes (FSDP2), where a model and its optimiser do not fit one device.

Only backbones are sharded: heads and memories are small, and learners call their parts rather than
`forward`. Gradients of a sharded parameter are summed by FSDP as it reduces them, those of the rest
by `World.sum_gradients`; both are the same sum. Checkpoints hold whole tensors, so a run may
continue with another number of processes, sharded or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tubelet.errors import ConfigError
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.parallel.processes import World
from tubelet.train.model.activations import parts_of
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Stage


def shard(models: TiedModels, stage: Stage, world: World, device: torch.device) -> None:
    """Split the backbone's parameters over all processes, part by part.

    Raises ConfigError where sharding is impossible: in one process, with models that share a
    backbone, with a weight average.
    """
    reasons = [
        reason
        for wrong, reason in (
            (world.size == 1, "there is only one process; start several with torchrun"),
            (len(models.by_dataset()) > 1, "several models share one backbone"),
            (stage.ema > 0, "a weight average would hold every parameter whole"),
            (stage.norms.mode == "synced", "synchronised norms are not supported"),
            (
                isinstance(models.main.config.memory, MemoryBankConfig),
                "a memory bank requires a whole backbone",
            ),
        )
        if wrong
    ]
    if reasons:
        raise ConfigError(
            f"stage {stage.name!r} cannot shard its parameters",
            got="; ".join(reasons),
            hint="train it without sharding",
            arguments=("fsdp",),
        )
    mesh = init_device_mesh(device.type, (world.size,))
    backbone = models.main.backbone
    for module in [*parts_of(backbone), backbone]:
        fully_shard(module, mesh=mesh)
    for module in backbone.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sum


def whole(value: Any) -> Any:
    """`value` with every sharded tensor gathered, on the CPU; collective."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole(member) for member in value]
    return value


def load_whole(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], steps: Any
) -> None:
    """Fill a model and its optimiser, sharded or not, from whole tensors."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    plain = {n: v for n, v in state.items() if not isinstance(own.get(n), DTensor)}
    missing, extra = model.load_state_dict(plain, strict=False)
    lost = [n for n in missing if n not in state]
    if lost or extra:
        raise ConfigError(
            "the checkpoint is of a different model", got=", ".join([*lost, *extra][:5])
        )
    with torch.no_grad():
        for name, value in state.items():
            target = own.get(name)
            if isinstance(target, DTensor):
                target.copy_(_like(value, target))
    optimizer.load_state_dict(steps)
    for parameter, moments in optimizer.state.items():
        if isinstance(parameter, DTensor):
            for key, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    moments[key] = _like(value, parameter)


def _like(value: Tensor, target: DTensor) -> DTensor:
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale all gradients so that their common norm is at most `limit`; returns it as it was."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    split: list[Tensor] = [g for g in gradients if isinstance(g, DTensor)]
    if not split:
        return float(_clip(gradients, limit, nn.utils.get_total_norm(gradients)))
    rest = [g for g in gradients if not isinstance(g, DTensor)]
    sharded = nn.utils.get_total_norm(split)
    assert isinstance(sharded, DTensor)
    norm = torch.hypot(sharded.full_tensor(), nn.utils.get_total_norm(rest))
    for group in (split, rest):
        _clip(group, limit, norm)
    return float(norm)


def _clip(gradients: list[Tensor], limit: float, norm: Tensor) -> Tensor:
    if math.isfinite(limit):
        factor = float((limit / (norm + 1e-6)).clamp(max=1.0))
        for gradient in gradients:
            gradient.mul_(factor)
    return norm
