"""A model for running only: its batch norms are part of the convolutions before them."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import TypeVar

from torch import nn

from tubelet.models.layers.resnet3d import ConvNorm

Model = TypeVar("Model", bound=nn.Module)


def folded(model: Model) -> Model:
    """`model` in eval mode with its batch norms folded into their convolutions.

    The copy shares every other parameter and buffer with `model`, which stays as it is. Results
    are those of `model.eval()` up to the rounding of a product (1e-6 of their size); the names of
    the layers are the same, so that what was found about them holds for both.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = deepcopy(model, shared).eval()
    for layer in twin.modules():
        if isinstance(layer, ConvNorm):
            layer.fold()
    return twin
