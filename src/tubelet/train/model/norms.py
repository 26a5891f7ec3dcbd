"""What a stage trains, and how its batch norms normalise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tubelet.errors import ConfigError
from tubelet.models.detector import ActionModel
from tubelet.models.layers.norms import RowNorm
from tubelet.parallel.processes import World
from tubelet.train.model.transfer import matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """Batch norms while a stage trains.

    `mode`: "train" normalises by the batch; "frozen" by the stored statistics (scale and shift
    still learn, as in PySlowFast's fine-tuning), where a backbone brings some: norms of heads and
    memories begin without, and train; "constant" freezes scale and shift as well, so that nothing
    of those layers learns (000 §3.1); "synced" by the batch of all processes (CUDA).
    `clips`: statistics over groups of so many clips of a process's batch (001 §3: 8).
    `processes`: how many processes share statistics when "synced"; None, all.
    Norms whose own parameters do not train are frozen whatever `mode` says.
    """

    mode: Literal["train", "frozen", "constant", "synced"] = "train"
    clips: int | None = None
    processes: int | None = None

    def __post_init__(self) -> None:
        if (self.clips or 1) < 1 or (self.processes or 1) < 1:
            raise ConfigError("norm groups of at least one", got=f"{self.clips, self.processes}")


def freeze(models: Sequence[nn.Module], trainable: Sequence[str], norms: Norms) -> None:
    """Let only the parameters that match a pattern learn, by their names in their own model, and of
    these no backbone's norm where norms are to stay constant.

    Raises ConfigError for a pattern that matches nothing in any of the models.
    """
    names = [name for model in models for name, _ in model.named_parameters()]
    for pattern in trainable:
        if not any(matches(name, [pattern]) for name in names):
            raise ConfigError(
                f"no parameter matches the trainable pattern {pattern!r}",
                expected=f"for example {', '.join(names[-3:])}",
            )
    for model in models:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(matches(name, trainable))
        for norm in _of_backbones(model) if norms.mode == "constant" else ():
            norm.requires_grad_(False)


def set_norms(model: nn.Module, norms: Norms, world: World, device: torch.device) -> nn.Module:
    """Norms as a stage wants them; synchronised ones are other modules, so take what returns."""
    if norms.mode != "synced":
        return model
    if device.type != "cuda" or world.size == 1:
        raise ConfigError(
            "synchronised norms need several processes on CUDA devices",
            got=f"{world.size} process on {device.type}",
            hint="set the stage's norms.mode to train or frozen",
        )
    group = None
    if norms.processes is not None:
        group, _ = dist.new_subgroups(norms.processes)
    synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model, group)
    return synced


def train_mode(model: nn.Module, norms: Norms) -> None:
    """Train mode, with norms that must not learn statistics in eval mode."""
    model.train()
    for norm in batch_norms(model):
        parameters = list(norm.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            norm.eval()
    for norm in _of_backbones(model) if norms.mode in ("frozen", "constant") else ():
        norm.eval()


def _of_backbones(model: nn.Module) -> list[_BatchNorm]:
    """Batch norms of a model but for those of the heads and memories of action models."""
    own = {id(norm) for part in _after_backbones(model) for norm in batch_norms(part)}
    return [norm for norm in batch_norms(model) if id(norm) not in own]


def _after_backbones(model: nn.Module) -> Iterator[nn.Module]:
    """Heads and memories of the action models in `model`."""
    for part in model.modules():
        if isinstance(part, ActionModel):
            yield part.head
            if part.memory is not None:
                yield part.memory


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Every batch norm of a model."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm)]


@contextmanager
def unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """Running statistics of batch norms are put back after the block: its clips do not count."""
    norms = batch_norms(module)
    kept = [{name: b.clone() for name, b in n.named_buffers()} for n in norms]
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])


def learnt_statistics(model: nn.Module) -> list[str]:
    """Names of the running means and variances that training changes, each shared one once."""
    learning = {id(b) for n in batch_norms(model) if n.training for b in n.buffers()}
    return [
        name for name, b in model.named_buffers() if b.is_floating_point() and id(b) in learning
    ]


@contextmanager
def normalised_by(norms: Sequence[_BatchNorm], rows: Sequence[Tensor]) -> Iterator[None]:
    """Inside the block each of `norms` takes its statistics over each group of rows alone.

    A norm whose input has a different number of rows than the groups together is left alone.
    """
    with ExitStack() as undo:
        for norm in norms if len(rows) > 1 else ():
            norm.forward = partial(_norm_by_rows, norm, rows)  # type: ignore[method-assign]
            undo.callback(delattr, norm, "forward")
        yield


def _norm_by_rows(norm: _BatchNorm, rows: Sequence[Tensor], x: Tensor) -> Tensor:
    if len(x) != sum(len(r) for r in rows):
        return type(norm).forward(norm, x)
    order = torch.argsort(torch.cat(list(rows)))
    if isinstance(norm, RowNorm):  # knows what to do with a single row
        return torch.cat([RowNorm.forward(norm, x[r]) for r in rows])[order]
    momentum = norm.momentum if norm.momentum is not None else 0.1
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked += len(rows)
    parts = [
        F.batch_norm(
            x[r], norm.running_mean, norm.running_var, norm.weight, norm.bias, True, momentum,
            norm.eps,
        )
        for r in rows
    ]  # fmt: skip
    return torch.cat(parts)[order]


def clip_groups(clips: int, size: int | None, device: torch.device) -> list[Tensor]:
    """Rows 0…clips − 1 in groups of `size`, the last one smaller; one group if None."""
    return list(torch.split(torch.arange(clips, device=device), size or max(1, clips)))
