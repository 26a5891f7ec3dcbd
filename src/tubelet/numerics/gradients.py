"""Gradients in a lower precision beside those in fp32, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FAR = 0.9
"""A layer whose gradients' cosine is below this, or whose norms differ by more than 1.5×, is far
off: rounding to bf16 leaves cosines above 0.99 in all but the layers next to the loss's noise."""
_RATIO = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One parameter: the norm of its gradient over the norm in fp32, and their cosine. Both are
    NaN where the gradient is not finite, and 1 where both are zero."""

    name: str
    ratio: float
    cosine: float

    @property
    def far(self) -> bool:
        close = self.cosine >= FAR and 1 / _RATIO <= self.ratio <= _RATIO
        return not close  # NaN too

    def __str__(self) -> str:
        return f"{self.name} (norm × {self.ratio:.3g}, cosine {self.cosine:.3g})"


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the gradients that `model` holds; of sharded parameters, this process's part."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            local = getattr(parameter.grad, "to_local", lambda grad=parameter.grad: grad)()
            found[name] = local.detach().float().clone()
    return found


def agreements(exact: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[Agreement, ...]:
    """Each parameter that has a gradient in both, by name."""
    return tuple(_agreement(name, exact[name], found[name]) for name in exact if name in found)


def _agreement(name: str, exact: Tensor, found: Tensor) -> Agreement:
    norms = float(exact.norm()), float(found.norm())
    if not all(map(math.isfinite, norms)):
        return Agreement(name=name, ratio=math.nan, cosine=math.nan)
    if max(norms) == 0:
        return Agreement(name=name, ratio=1.0, cosine=1.0)
    cosine = float(torch.dot(exact.flatten(), found.flatten())) / max(norms[0] * norms[1], 1e-38)
    return Agreement(name=name, ratio=norms[1] / max(norms[0], 1e-38), cosine=cosine)
