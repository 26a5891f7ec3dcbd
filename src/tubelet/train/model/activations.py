"""How backbones run while they train: compiled, and with activations recomputed, not kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from tubelet.numerics.layers import release
from tubelet.train.model.norms import unchanged_statistics
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Stage


@contextmanager
def running_as(stage: Stage, models: TiedModels) -> Iterator[None]:
    """Inside the block the backbones are compiled and their activations recomputed, as the stage
    asks; behind it, no layer is kept in fp32 any more."""
    with ExitStack() as stack:
        for model in models.by_dataset().values():
            stack.callback(release, model)
            stack.enter_context(recomputed(model.backbone, on=stage.checkpointing))
            if stage.compile:
                model.backbone.compile()
                stack.callback(setattr, model.backbone, "_compiled_call_impl", None)
        yield


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
