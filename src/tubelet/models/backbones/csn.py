"""Channel-separated networks (Tran et al. 2019): 3D bottlenecks whose 3×3×3 is depthwise.

"ir" (interaction-reduced) replaces the 3×3×3 by a depthwise one; "ip" (interaction-preserved)
puts a 1×1×1 convolution before it. res3, res4 and res5 halve time as well as space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

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
from tubelet.models.layers.resnet3d import (
    Blocks,
    ConvNorm,
    ResidualStage,
    Stem,
    init_residual,
    stage_blocks,
)
from tubelet.types import InputSpec

VMZ_MEAN, VMZ_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True, slots=True, kw_only=True)
class CSNConfig(BackboneConfig):
    """Arguments of `CSN`.

    `preserved`: the ip form. `norm_eps`: 1e-3 in VMZ (its weights do not say so), 1e-5 in
    PyTorchVideo. `detection` keeps res5 at spatial stride 16 with dilation `res5_dilation`; time is
    still halved, as in the classification form.
    """

    summary: ClassVar[str] = "channel-separated 3D ResNet: depthwise 3×3×3 kernels"

    depth: int = 152
    blocks: tuple[int, int, int, int] | None = None
    width: int = 64
    preserved: bool = False
    detection: bool = True
    res5_dilation: int = 1
    norm_eps: float = 1e-3

    def build(self) -> CSN:
        return CSN(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(self, blocks=(1, 1, 1, 1), width=4)

    @classmethod
    def variants(cls) -> Mapping[str, Variant[CSNConfig]]:
        return VARIANTS

    def stage_blocks(self) -> Blocks:
        """Blocks of res2…res5. Raises ConfigError for an unknown depth."""
        return stage_blocks(self.depth, self.blocks)


def _depthwise(channels: int, stride: tuple[int, int], dilation: int, norm_eps: float) -> nn.Module:
    return ConvNorm(
        inputs=channels,
        outputs=channels,
        kernel=(3, 3, 3),
        stride=(stride[0], stride[1], stride[1]),
        dilation=dilation,
        groups=channels,
        norm_eps=norm_eps,
    )


class _Preserved(nn.Module):
    """1×1×1 and norm, without a ReLU (VMZ commented it out), then the depthwise layer."""

    def __init__(
        self, channels: int, stride: tuple[int, int], dilation: int, norm_eps: float
    ) -> None:
        super().__init__()
        self.mix = ConvNorm(
            inputs=channels, outputs=channels, kernel=(1, 1, 1), relu=False, norm_eps=norm_eps
        )
        self.depthwise = _depthwise(channels, stride, dilation, norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.depthwise(self.mix(x))
        return out


class CSN(Backbone):
    """Channel-separated residual network. Returns the map of res5."""

    def __init__(self, config: CSNConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(outputs=config.width, temporal=3, norm_eps=config.norm_eps)
        self.stages = nn.ModuleList()
        inputs = config.width
        for index, count in enumerate(config.stage_blocks()):
            last = index == 3 and config.detection
            outputs = config.width * 4 * 2**index
            self.stages.append(
                ResidualStage(
                    inputs=inputs,
                    inner=config.width * 2**index,
                    outputs=outputs,
                    temporal=[1] * count,
                    stride=(1, 1) if index == 0 else (2, 1 if last else 2),
                    dilation=config.res5_dilation if last else 1,
                    middle=_Preserved if config.preserved else _depthwise,
                    norm_eps=config.norm_eps,
                )
            )
            inputs = outputs
        stride = 16 if config.detection else 32
        self.outputs = (FeatureSpec(channels=inputs, time_stride=8, space_stride=stride),)
        init_residual(self)

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → one map `(B, C, T/8, h, w)`."""
        x = self.stem(clip)
        for stage in self.stages:
            x = stage(x)
        return as_maps((x,), self.outputs)


def _variant(
    frames: int,
    stride: int,
    backbone: CSNConfig,
    *published: Published,
    weights: str = "",
    size: int = 256,
) -> Variant[CSNConfig]:
    vmz = backbone.norm_eps == 1e-3
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(frames=frames, stride=stride, mean=VMZ_MEAN, std=VMZ_STD)
        if vmz
        else InputSpec(frames=frames, stride=stride),
        cost_size=size,
        weights=weights,
        published=published,
    )


def _zoo(score: float, gflops: float) -> Published:
    """VMZ's rows trained from scratch. They say 224 pixels; the cost is that of 256."""
    return Published(
        source="VMZ model zoo", dataset="K400", metric="top-1", score=score, gflops=gflops
    )


def _winner(variant: str, score: float) -> Published:
    return Published(
        source=f"AVA-Kinetics 2021 winner Table 1, {variant}",
        dataset="AVA part of AVA-Kinetics v1.0",
        metric="mAP",
        score=score,
    )


VARIANTS: dict[str, Variant[CSNConfig]] = {
    "csn_r101_32x2": _variant(32, 2, CSNConfig(depth=101, norm_eps=1e-5), weights="PyTorchVideo"),
    "ir_csn_r152_32x2": _variant(
        32,
        2,
        CSNConfig(),
        _zoo(76.5, 96.7),
        _winner("linear head, K400+IG65M", 35.38),
        weights="VMZ, MMAction2",
    ),
    "ir_csn_r152_64x1": _variant(
        64,
        1,
        CSNConfig(),
        _winner("T-only head, memory, K700", 37.95),
    ),
    "ip_csn_r152_32x2": _variant(
        32, 2, CSNConfig(preserved=True), _zoo(77.8, 108.8), weights="VMZ, MMAction2"
    ),
}
