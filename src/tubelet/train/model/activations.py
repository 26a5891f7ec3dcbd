"""Activation checkpointing: blocks recompute what they did instead of remembering it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from tubelet.train.model.norms import unchanged_statistics


@contextmanager
def recomputed(backbone: nn.Module, *, on: bool = True) -> Iterator[None]:
    """Inside the block, and if `on`, each part of the backbone keeps only its input.

    A part is an element of an `nn.Sequential` or `nn.ModuleList` that holds parameters and lies in
    no other part. Names of parameters do not change.
    """
    parts = list(parts_of(backbone)) if on else []
    for part in parts:
        part.forward = partial(_recomputed, part)
    try:
        yield
    finally:
        for part in parts:
            del part.__dict__["forward"]


def parts_of(module: nn.Module) -> Iterator[nn.Module]:
    """The elements with parameters of the outermost lists of a backbone: its stages, or blocks."""
    for child in module.children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from (m for m in child if next(m.parameters(), None) is not None)
        else:
            yield from parts_of(child)


def _recomputed(block: nn.Module, *args: Any, **options: Any) -> Any:
    if not block.training:
        return type(block).forward(block, *args, **options)
    return checkpoint(
        partial(type(block).forward, block),
        *args,
        use_reentrant=False,
        context_fn=partial(_contexts, block),
        **options,
    )


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), unchanged_statistics(block)
