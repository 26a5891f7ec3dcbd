"""Several processes as one: each takes its minibatches of a step, and gradients are summed.

Gradients are reduced after the backward pass instead of by a wrapper around the model, because a
learner calls the model's parts (features, pool, classify) rather than `forward`, some of them twice
(multi-iteration), and because accumulated minibatches and processes are then one and the same sum.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tubelet.errors import ConfigError

T = TypeVar("T")
_BUCKET = 32 << 20  # bytes reduced at once: large enough to fill a network, small beside a model


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes that train together, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Each value summed over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return [float(v) for v in total.tolist()]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum every gradient over all processes. A parameter that has one anywhere gets one
        everywhere; one that nobody used keeps none."""
        if self.size == 1:
            return
        # FSDP has summed the gradients of the parameters that it split already.
        trained = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
        if not trained:
            return
        used = torch.tensor([p.grad is not None for p in trained], dtype=torch.uint8)
        used = used.to(trained[0].device)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        gradients = []
        for parameter, flag in zip(trained, used.tolist(), strict=True):
            if flag:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        _sum_in_buckets(gradients)

    def average_buffers(self, model: nn.Module, names: Sequence[str]) -> None:
        """The named buffers become their mean over processes."""
        if self.size > 1:
            buffers = dict(model.named_buffers())
            chosen = [buffers[name] for name in names]
            _sum_in_buckets(chosen)
            for buffer in chosen:
                buffer.div_(self.size)

    def copy_from_first(self, model: nn.Module) -> None:
        """Every process takes over the first one's parameters and buffers."""
        if self.size > 1:
            for tensor in [*model.parameters(), *model.buffers()]:
                if isinstance(tensor, DTensor):
                    continue  # split from parameters that were copied before
                dist.broadcast(tensor.detach(), src=0)

    def gather(self, value: T) -> list[T]:
        """The value of every process in order, in the first one; elsewhere nothing."""
        if self.size == 1:
            return [value]
        found: list[T | None] | None = [None] * self.size if self.first else None
        dist.gather_object(value, found)
        return [] if found is None else [v for v in found if v is not None]

    def wait(self) -> None:
        """Wait for every process."""
        if self.size > 1:
            dist.barrier()


def _sum_in_buckets(tensors: Sequence[Tensor]) -> None:
    """All-reduce tensors in place, many at a time."""
    for bucket in _buckets(tensors):
        flat = torch.cat([t.reshape(-1) for t in bucket])
        dist.all_reduce(flat)
        parts = torch.split(flat, [t.numel() for t in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and (held > _BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket


@contextmanager
def joined_world(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """The world that `torchrun` describes in the environment, and this process's device in it.

    Without `torchrun` it is one process. NCCL connects CUDA devices, gloo everything else.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), device
        return
    cuda = device.type == "cuda"
    if cuda:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ConfigError(
                "more processes than CUDA devices on this machine",
                expected=f"at most {torch.cuda.device_count()}",
                got=f"local rank {local}",
                hint="start fewer processes per machine",
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=size), device
    finally:
        dist.destroy_process_group()
