"""A model's convolutions and matrix products as shapes, and layers that stay in fp32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCall:
    """One layer as one forward pass calls it.

    `layer`: on the meta device, without values. `input_shape`: (B, C, …) of a convolution,
    (…, C) of a linear layer.
    """

    layer: nn.Module
    input_shape: tuple[int, ...]

    @property
    def key(self) -> str:
        """Equal for calls that run the same kernel on the same shape."""
        kind = type(self.layer)
        size = "x".join(map(str, self.input_shape))
        return f"{kind.__module__}.{kind.__qualname__}({self.layer.extra_repr()}) on {size}"

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass."""
        weight = self.layer._parameters["weight"]
        assert weight is not None  # `is_product`
        strides = math.prod(getattr(self.layer, "stride", ()))
        channels = self.input_shape[-1 if weight.ndim == 2 else 1]
        return weight.numel() * math.prod(self.input_shape) // channels // strides


def layer_calls(twin: nn.Module, run: Callable[[], object]) -> dict[str, LayerCall]:
    """The layers with a weight matrix or kernel that `run()` calls of `twin`, by module name.

    `twin` lies on the meta device, so nothing is computed; a layer that is called several times
    counts with its first call.
    """
    calls: dict[str, LayerCall] = {}
    with ExitStack() as stack, torch.no_grad():
        for name, layer in twin.named_modules():
            if is_product(layer):
                hook = partial(_note, calls, name)
                stack.callback(layer.register_forward_pre_hook(hook).remove)
        run()
    return calls


def _note(calls: dict[str, LayerCall], name: str, layer: nn.Module, inputs: Sequence[Any]) -> None:
    if inputs and isinstance(inputs[0], Tensor) and name not in calls:
        calls[name] = LayerCall(layer=layer, input_shape=tuple(inputs[0].shape))


def is_product(layer: nn.Module) -> bool:
    """Whether autocast would run this layer in a lower precision: convolutions, linear layers."""
    weight = layer._parameters.get("weight")
    return (
        not any(layer.children())
        and not isinstance(layer, nn.Embedding)
        and weight is not None
        and weight.ndim >= 2
    )


def is_channels_last(model: nn.Module) -> bool:
    """Whether the model's kernels lie channels last, so that its maps do too."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return any(
        weight.ndim in formats
        and not weight.is_contiguous()
        and weight.is_contiguous(memory_format=formats[weight.ndim])
        for weight in model.parameters()
    )


def may_crash(layer: nn.Module) -> bool:
    """Whether a layer may corrupt the heap of the process in bf16.

    torch 2.13 with AMX does so where the temporal kernel is longer than 1 and the temporal stride
    at least kernel + 2: SlowFast's res4 lateral with α = 8, kernel 5. Such a layer is never run in
    bf16, on any processor.
    """
    if not isinstance(layer, nn.Conv3d):
        return False
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    return kernel > 1 and stride >= kernel + 2


def left_by_torch(layer: nn.Conv3d, x: Tensor) -> bool:
    """Whether torch would run this convolution by its own slow kernel though oneDNN has it.

    It does so with one thread, in fp32, where the kernel is one pixel wide: a 3×1×1 convolution
    of SlowFast then takes four times as long. Only in inference: a gradient would be a private
    operation's.
    """
    return (
        not torch.compiler.is_compiling()  # first: the rest would break a graph
        and x.device.type == "cpu"
        and torch.get_num_threads() == 1
        and x.dtype == layer.weight.dtype == torch.float32
        and layer.kernel_size[1:] == (1, 1)
        and not isinstance(layer.padding, str)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
    )


def exporting() -> bool:
    """Whether `torch.export` is tracing, for another engine and any number of clips and people;
    `torch.compile` has another tracer."""
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def in_fp32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`forward(x)` outside of any autocast; the result has the type that autocast would give."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return forward(x)
    with torch.autocast(kind, enabled=False):
        return forward(x.float()).to(torch.get_autocast_dtype(kind))


def keep_in_fp32(model: nn.Module, names: Iterable[str]) -> None:
    """The layers of these names run in fp32 whatever the autocast, until `release`."""
    for name in names:
        layer = model.get_submodule(name)
        if not _is_kept(layer):
            layer.forward = partial(in_fp32, layer.forward)


def release(model: nn.Module) -> None:
    """Undo `keep_in_fp32`."""
    for layer in model.modules():
        if _is_kept(layer):
            del layer.forward  # the class's own shows again


def _is_kept(layer: nn.Module) -> bool:
    own = vars(layer).get("forward")
    return isinstance(own, partial) and own.func is in_fp32


_MOST = 20_000_000
"""Multiply-adds of a layer's forward pass that are enough to try it."""
_MOST_ELEMENTS = 250_000
"""Elements of its input, or output, that are."""


def reduced(call: LayerCall) -> LayerCall:
    """The same layer on an input small enough to try it quickly.

    The batch shrinks to one clip, then the picture and time are halved, never below twice the
    kernel: kernels go wrong at the edges of small inputs, which stay as they are.
    """
    layer, shape = call.layer, list(call.input_shape)
    if isinstance(layer, nn.Linear):
        most = min(_MOST // layer.weight.numel(), _MOST_ELEMENTS // max(layer.weight.shape))
        rows = min(math.prod(shape[:-1]), max(64, most))
        return LayerCall(layer=layer, input_shape=(rows, shape[-1]))
    if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return call
    if _is_large(layer, shape):
        shape[0] = 1
    halving = True
    while halving and _is_large(layer, shape):
        halving = False
        for axis in (*range(3, len(shape)), 2):  # the picture before time
            least = 2 * max(layer.kernel_size[axis - 2], layer.stride[axis - 2])
            if shape[axis] >= 2 * least and _is_large(layer, shape):
                shape[axis] //= 2
                halving = True
    return LayerCall(layer=layer, input_shape=tuple(shape))


def _is_large(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, shape: Sequence[int]) -> bool:
    cells = shape[0] * math.prod(shape[2:])
    outputs = cells // math.prod(layer.stride)
    elements = max(cells * layer.in_channels, outputs * layer.out_channels)
    return outputs * layer.weight.numel() > _MOST or elements > _MOST_ELEMENTS


def distinct(calls: Mapping[str, LayerCall]) -> dict[str, list[str]]:
    """Names of layers by the key of their call."""
    names: dict[str, list[str]] = {}
    for name, call in calls.items():
        names.setdefault(call.key, []).append(name)
    return names
