"""Residual 3D blocks: the common bricks of SlowFast, Slow-only, Fast-only, I3D, R(2+1)D and CSN.

Convolution kernels are written (time, height, width); shapes are (B, C, T, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.models.layers.conv import Conv3d

Blocks = tuple[int, int, int, int]
BLOCKS: dict[int, Blocks] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def stage_blocks(
    depth: int, blocks: Blocks | None, depths: Sequence[int] = (50, 101, 152)
) -> Blocks:
    """Blocks of res2…res5: `blocks` if given, else those of `depth`. Raises ConfigError."""
    if blocks is not None:
        return blocks
    if depth not in depths:
        raise ConfigError(
            f"no residual network of depth {depth} in this family",
            expected=f"one of {list(depths)}, or explicit `blocks`",
        )
    return BLOCKS[depth]


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
        groups: int = 1,
        relu: bool = True,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        dilations = (1, dilation, dilation)
        padding = (kernel[0] // 2, dilation * (kernel[1] // 2), dilation * (kernel[2] // 2))
        self.conv = Conv3d(
            inputs, outputs, kernel, stride, padding, dilation=dilations, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm3d(outputs, eps=norm_eps)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.norm(self.conv(x)))
        return out

    @torch.no_grad()
    def fold(self) -> None:
        """Make the norm, as it stands in eval mode, part of the convolution.

        The convolution gets parameters of its own; a norm that keeps no statistics, or that a
        training run put in the place of the usual one, is left.
        """
        norm, conv = self.norm, self.conv
        if type(norm) is not nn.BatchNorm3d or norm.running_mean is None or norm.training:
            return
        assert norm.running_var is not None
        deviation = (norm.running_var.double() + norm.eps).sqrt()
        scale = (norm.weight.double() if norm.affine else 1.0) / deviation
        weight = conv.weight * scale.to(conv.weight.dtype)[:, None, None, None, None]
        bias = -norm.running_mean.double() * scale
        if norm.affine:
            bias += norm.bias.double()
        if conv.bias is not None:
            bias += conv.bias.double() * scale
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)
        self.norm = nn.Identity()  # type: ignore[assignment]  # only for running


@dataclass(frozen=True, slots=True, kw_only=True)
class NonLocalConfig:
    """How a non-local block attends.

    `kind`: "softmax", "dot_product" (divided by the number of keys), or "gaussian", a softmax whose
    queries and keys are the input itself. `scaled`: a softmax divides by √d first (not in
    MMAction2's I3D; "gaussian" never does). `pool` shrinks keys and values by max-pooling: their
    input (PySlowFast), or with `pool_projected` the projections themselves (MMAction2).
    `output_bias`: whether the output convolution has a bias (PySlowFast).
    """

    pool: tuple[int, int, int] = (1, 2, 2)
    kind: str = "dot_product"
    pool_projected: bool = False
    output_bias: bool = True
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("softmax", "dot_product", "gaussian"):
            raise ConfigError(
                "unknown kind of non-local block",
                expected="softmax, dot_product or gaussian",
                got=self.kind,
            )


class NonLocal(nn.Module):
    """Non-local block on a clip's cells (Wang et al. 2018), residual, its norm starting at zero."""

    def __init__(self, config: NonLocalConfig, *, channels: int, norm_eps: float = 1e-5) -> None:
        super().__init__()
        inner = channels // 2
        self.config = config
        projected = config.kind != "gaussian"
        self.theta = nn.Conv3d(channels, inner, 1) if projected else nn.Identity()
        self.phi = nn.Conv3d(channels, inner, 1) if projected else nn.Identity()
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1, bias=config.output_bias)
        self.norm = nn.BatchNorm3d(channels, eps=norm_eps)
        self.pool = (
            nn.MaxPool3d(config.pool, config.pool) if max(config.pool) > 1 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.config.pool_projected:
            key, value = self.pool(self.phi(x)), self.pool(self.g(x))
        else:
            pooled = self.pool(x)
            key, value = self.phi(pooled), self.g(pooled)
        query = self.theta(x).flatten(2).transpose(1, 2)
        affinity = query @ key.flatten(2)
        if self.config.kind == "dot_product":
            weights = affinity / affinity.shape[-1]
        else:
            scaled = self.config.scaled and self.config.kind == "softmax"
            weights = torch.softmax(affinity * (query.shape[-1] ** -0.5 if scaled else 1), dim=-1)
        mixed = (weights @ value.flatten(2).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.norm(self.out(mixed.unflatten(2, x.shape[2:])))
        return out


Middle = Callable[[int, tuple[int, int], int, float], nn.Module]
"""(channels, (time stride, space stride), dilation, norm_eps) → a bottleneck's second layer."""


def spatial_middle(
    channels: int, stride: tuple[int, int], dilation: int, norm_eps: float
) -> nn.Module:
    """The plain 1×3×3 layer of a bottleneck."""
    return ConvNorm(
        inputs=channels,
        outputs=channels,
        kernel=(1, 3, 3),
        stride=(stride[0], stride[1], stride[1]),
        dilation=dilation,
        norm_eps=norm_eps,
    )


class Bottleneck(nn.Module):
    """T×1×1 → `middle` → 1×1×1 with a residual; the strides sit on the middle layer."""

    def __init__(
        self,
        *,
        inputs: int,
        inner: int,
        outputs: int,
        temporal: int = 1,
        stride: tuple[int, int] = (1, 1),
        dilation: int = 1,
        middle: Middle = spatial_middle,
        attention: nn.Module | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.a = ConvNorm(inputs=inputs, outputs=inner, kernel=(temporal, 1, 1), norm_eps=norm_eps)
        self.b = middle(inner, stride, dilation, norm_eps)
        self.c = ConvNorm(
            inputs=inner, outputs=outputs, kernel=(1, 1, 1), relu=False, norm_eps=norm_eps
        )
        self.shortcut = shortcut(inputs, outputs, stride, norm_eps)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(self.relu(self.c(self.b(self.a(x))) + self.shortcut(x)))
        return out


def shortcut(inputs: int, outputs: int, stride: tuple[int, int], norm_eps: float) -> nn.Module:
    """The residual's path around a block: nothing, or a strided 1×1×1 convolution and norm."""
    if inputs == outputs and stride == (1, 1):
        return nn.Identity()
    return ConvNorm(
        inputs=inputs,
        outputs=outputs,
        kernel=(1, 1, 1),
        stride=(stride[0], stride[1], stride[1]),
        relu=False,
        norm_eps=norm_eps,
    )


class ResidualStage(nn.Sequential):
    """Bottlenecks of one resolution; block i has temporal kernel `temporal[i]`, and is followed by
    the non-local block `nonlocal_after[i]` describes, if any. The first block takes the strides."""

    def __init__(
        self,
        *,
        inputs: int,
        inner: int,
        outputs: int,
        temporal: Sequence[int],
        stride: tuple[int, int] = (1, 1),
        dilation: int = 1,
        middle: Middle = spatial_middle,
        nonlocal_after: Mapping[int, NonLocalConfig] | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        attention = nonlocal_after or {}
        if attention and max(attention) >= len(temporal):
            raise ConfigError(
                f"no block {max(attention)} to put a non-local block after",
                expected=f"0…{len(temporal) - 1}",
            )
        super().__init__(
            *(
                Bottleneck(
                    inputs=outputs if index else inputs,
                    inner=inner,
                    outputs=outputs,
                    temporal=kernel,
                    stride=(1, 1) if index else stride,
                    dilation=dilation,
                    middle=middle,
                    attention=NonLocal(attention[index], channels=outputs, norm_eps=norm_eps)
                    if index in attention
                    else None,
                    norm_eps=norm_eps,
                )
                for index, kernel in enumerate(temporal)
            )
        )


class Stem(nn.Module):
    """First convolution (spatial stride 2) and the optional 1×3×3 max-pool (stride 2).

    `time_strides`: of the convolution and of the pool. `padding`: of the pool (0 in MMAction2's
    C2D).
    """

    def __init__(
        self,
        *,
        inputs: int = 3,
        outputs: int,
        temporal: int,
        time_strides: tuple[int, int] = (1, 1),
        pool: bool = True,
        padding: int = 1,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(
            inputs=inputs,
            outputs=outputs,
            kernel=(temporal, 7, 7),
            stride=(time_strides[0], 2, 2),
            norm_eps=norm_eps,
        )
        self.pool: nn.Module = nn.Identity()
        if pool:
            self.pool = nn.MaxPool3d((1, 3, 3), (time_strides[1], 2, 2), (0, padding, padding))

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
        if isinstance(child, NonLocal):
            nn.init.zeros_(child.norm.weight)
        elif isinstance(child, Bottleneck):
            nn.init.zeros_(child.c.norm.weight)
