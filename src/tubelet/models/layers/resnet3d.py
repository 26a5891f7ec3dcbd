"""Residual 3D blocks: the common bricks of SlowFast, Slow-only, Fast-only and I3D.

Convolution kernels are written (time, height, width); shapes are (B, C, T, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ConvNorm(nn.Module):
    """Conv3d → BatchNorm3d → optional ReLU, "same" padding, no convolution bias."""

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] = (1, 1, 1),
        dilation: int = 1,
        relu: bool = True,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        dilations = (1, dilation, dilation)
        padding = (kernel[0] // 2, dilation * (kernel[1] // 2), dilation * (kernel[2] // 2))
        self.conv = nn.Conv3d(
            inputs, outputs, kernel, stride, padding, dilation=dilations, bias=False
        )
        self.norm = nn.BatchNorm3d(outputs, eps=norm_eps)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.norm(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """T×1×1 → 1×3×3 → 1×1×1 with a residual; the spatial stride sits on the 3×3."""

    def __init__(
        self,
        *,
        inputs: int,
        inner: int,
        outputs: int,
        temporal: int,
        stride: int,
        dilation: int,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        strides = (1, stride, stride)
        self.a = ConvNorm(inputs=inputs, outputs=inner, kernel=(temporal, 1, 1), norm_eps=norm_eps)
        self.b = ConvNorm(
            inputs=inner,
            outputs=inner,
            kernel=(1, 3, 3),
            stride=strides,
            dilation=dilation,
            norm_eps=norm_eps,
        )
        self.c = ConvNorm(
            inputs=inner, outputs=outputs, kernel=(1, 1, 1), relu=False, norm_eps=norm_eps
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = ConvNorm(
                inputs=inputs,
                outputs=outputs,
                kernel=(1, 1, 1),
                stride=strides,
                relu=False,
                norm_eps=norm_eps,
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.c(self.b(self.a(x))) + self.shortcut(x))
        return out


class NonLocal(nn.Module):
    """Non-local block on a clip's cells (Wang et al. 2018), residual, norm scale starting at zero.

    `pool` shrinks keys and values by max-pooling; `instantiation` is "softmax" (scaled) or
    "dot_product" (divided by the number of keys).
    """

    def __init__(
        self,
        *,
        channels: int,
        pool: tuple[int, int, int] = (1, 2, 2),
        instantiation: str = "dot_product",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        inner = channels // 2
        self.instantiation = instantiation
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1)
        self.norm = nn.BatchNorm3d(channels, eps=norm_eps)
        nn.init.zeros_(self.norm.weight)
        self.pool = nn.MaxPool3d(pool, pool) if max(pool) > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x)
        query = self.theta(x).flatten(2).transpose(1, 2)
        key = self.phi(pooled).flatten(2)
        value = self.g(pooled).flatten(2).transpose(1, 2)
        affinity = query @ key
        if self.instantiation == "softmax":
            weights = torch.softmax(affinity * query.shape[-1] ** -0.5, dim=-1)
        else:
            weights = affinity / key.shape[-1]
        mixed = (weights @ value).transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = x + self.norm(self.out(mixed))
        return out


class Stage(nn.Sequential):
    """Bottlenecks of one resolution, each optionally followed by a non-local block."""

    def __init__(
        self,
        *,
        inputs: int,
        inner: int,
        outputs: int,
        temporal: Sequence[int],
        stride: int,
        dilation: int = 1,
        nonlocal_after: Sequence[int] = (),
        nonlocal_pool: tuple[int, int, int] = (1, 2, 2),
        nonlocal_kind: str = "dot_product",
        norm_eps: float = 1e-5,
    ) -> None:
        blocks: list[nn.Module] = []
        for index, kernel in enumerate(temporal):
            block: nn.Module = Bottleneck(
                inputs=inputs if index == 0 else outputs,
                inner=inner,
                outputs=outputs,
                temporal=kernel,
                stride=stride if index == 0 else 1,
                dilation=dilation,
                norm_eps=norm_eps,
            )
            if index in nonlocal_after:
                attention = NonLocal(
                    channels=outputs,
                    pool=nonlocal_pool,
                    instantiation=nonlocal_kind,
                    norm_eps=norm_eps,
                )
                block = nn.Sequential(block, attention)
            blocks.append(block)
        super().__init__(*blocks)


class Stem(nn.Module):
    """First convolution (spatial stride 2) and the 1×3×3 max-pool (stride 2)."""

    def __init__(
        self, *, inputs: int = 3, outputs: int, temporal: int, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(
            inputs=inputs,
            outputs=outputs,
            kernel=(temporal, 7, 7),
            stride=(1, 2, 2),
            norm_eps=norm_eps,
        )
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.conv_norm(x))
        return out


def init_residual(module: nn.Module) -> None:
    """He initialisation (fan out) of convolutions; the last norm of each residual starts at zero.

    Zero-gamma is Goyal et al. 2017, which the SlowFast recipes follow.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv3d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    for child in module.modules():
        if isinstance(child, Bottleneck):
            nn.init.zeros_(child.c.norm.weight)
