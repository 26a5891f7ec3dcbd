"""X3D (Feichtenhofer 2020): a small image network expanded along time, width, depth and resolution.

Bottlenecks are inverted (their middle is wider), depthwise, with squeeze-and-excitation in every
second block; each stage halves space and none halves time. After res5 one more 1×1×1 layer widens
the features; the classifier's hidden layer is the head's.

Shape legend: clip (B, 3, T, H, W) float, normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    Published,
    Variant,
    as_maps,
)
from tubelet.models.layers.resnet3d import Blocks, Bottleneck, ConvNorm, init_residual
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class X3DConfig(BackboneConfig):
    """Arguments of `X3D`.

    `blocks`: of res2…res5. `widths`: channels of res2…res5; the stem's are those of res2.
    `bottleneck`: a block's middle over its output. `detection` keeps res5 at spatial stride 16.
    """

    summary: ClassVar[str] = "X3D: an expanded small network of depthwise inverted bottlenecks"

    blocks: Blocks = (3, 5, 11, 7)
    widths: tuple[int, int, int, int] = (24, 48, 96, 192)
    bottleneck: float = 2.25
    detection: bool = True
    norm_eps: float = 1e-5

    def build(self) -> X3D:
        return X3D(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(self, blocks=(1, 1, 1, 1), widths=(4, 4, 8, 8))

    @classmethod
    def variants(cls) -> Mapping[str, Variant[X3DConfig]]:
        return VARIANTS

    def inner(self, index: int) -> int:
        """Channels of the middle of a block of res{index + 2}."""
        return int(self.bottleneck * self.widths[index])


def squeezed(channels: int) -> int:
    """Channels between the two layers of squeeze-and-excitation: a sixteenth, in steps of eight and
    never a tenth less, the upstream project's rounding."""
    wanted = channels / 16
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class Squeeze(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): each channel scaled by what the whole clip shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(channels, squeezed(channels), 1)
        self.fc2 = nn.Conv3d(squeezed(channels), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.relu(self.fc1(x.mean(dim=(2, 3, 4), keepdim=True)))
        return x * torch.sigmoid(self.fc2(scale))


class _Middle(nn.Module):
    """Depthwise 3×3×3 and norm, squeeze-and-excitation if `squeezes`, then Swish."""

    def __init__(self, channels: int, *, stride: int, squeezes: bool, norm_eps: float) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            inputs=channels,
            outputs=channels,
            kernel=(3, 3, 3),
            stride=(1, stride, stride),
            groups=channels,
            relu=False,
            norm_eps=norm_eps,
        )
        self.squeeze = Squeeze(channels) if squeezes else nn.Identity()
        self.swish = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.swish(self.squeeze(self.depthwise(x)))
        return out


class _Stem(nn.Module):
    """1×3×3 (stride 2) → depthwise 5×1×1 → norm → ReLU."""

    def __init__(self, *, outputs: int, norm_eps: float) -> None:
        super().__init__()
        self.space = nn.Conv3d(3, outputs, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.time = ConvNorm(
            inputs=outputs,
            outputs=outputs,
            kernel=(5, 1, 1),
            groups=outputs,
            norm_eps=norm_eps,
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.time(self.space(x))
        return out


class X3D(Backbone):
    """Returns one map, of the layer after res5."""

    def __init__(self, config: X3DConfig) -> None:
        super().__init__()
        self.config = config
        eps, inputs = config.norm_eps, config.widths[0]
        self.stem = _Stem(outputs=inputs, norm_eps=eps)
        self.stages = nn.ModuleList()
        for index, (count, outputs) in enumerate(zip(config.blocks, config.widths, strict=True)):
            stride = 1 if index == 3 and config.detection else 2
            self.stages.append(
                nn.Sequential(
                    *(
                        self._block(index, block, outputs if block else inputs, stride)
                        for block in range(count)
                    )
                )
            )
            inputs = outputs
        channels = config.inner(3)
        self.last = ConvNorm(inputs=inputs, outputs=channels, kernel=(1, 1, 1), norm_eps=eps)
        space = 16 if config.detection else 32
        self.outputs = (FeatureSpec(channels=channels, time_stride=1, space_stride=space),)
        init_residual(self)

    def _block(self, index: int, block: int, inputs: int, stride: int) -> Bottleneck:
        """Block `block` of res{index + 2}; the even ones squeeze, the first one strides."""

        def middle(channels: int, strides: tuple[int, int], _: int, norm_eps: float) -> nn.Module:
            return _Middle(channels, stride=strides[1], squeezes=block % 2 == 0, norm_eps=norm_eps)

        return Bottleneck(
            inputs=inputs,
            inner=self.config.inner(index),
            outputs=self.config.widths[index],
            stride=(1, 1 if block else stride),
            middle=middle,
            norm_eps=self.config.norm_eps,
        )

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → one map `(B, C, T, h, w)`."""
        x = self.stem(clip)
        for stage in self.stages:
            x = stage(x)
        return as_maps((self.last(x),), self.outputs)


def _variant(
    backbone: X3DConfig, *, frames: int, stride: int, size: int, score: float
) -> Variant[X3DConfig]:
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(frames=frames, stride=stride, short_side=size),
        cost_size=size,
        weights="PySlowFast (K400)",
        published=(
            Published(
                source="PySlowFast model zoo",
                dataset="K400",
                metric="top-1",
                score=score,
                size=size,
                views=30,
            ),
        ),
    )


_LARGE = X3DConfig(blocks=(5, 10, 25, 15))

VARIANTS: dict[str, Variant[X3DConfig]] = {
    "x3d_xs": _variant(X3DConfig(), frames=4, stride=12, size=182, score=69.5),
    "x3d_s": _variant(X3DConfig(), frames=13, stride=6, size=182, score=73.5),
    "x3d_m": _variant(X3DConfig(), frames=16, stride=5, size=256, score=76.2),
    "x3d_l": _variant(_LARGE, frames=16, stride=5, size=356, score=77.5),
}
