"""Residual networks of unsplit kernels: R3D and MC3 (Tran et al. 2018, §3.1, §3.2).

Basic blocks of two t×3×3 convolutions. R3D has t = 3 everywhere; MC3 sees time in its stem and its
first stage only, and looks at single frames (1×3×3) after that. Where a stage sees time, it halves
it together with space. torchvision's two published networks have depth 18.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    as_maps,
)
from tubelet.models.layers.resnet3d import (
    Blocks,
    ConvNorm,
    Stem,
    init_residual,
    shortcut,
    stage_blocks,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class R3dConfig(BackboneConfig):
    """Arguments of `R3d`. `temporal`: kernels in time of res2…res5, 3 or 1 ((3, 1, 1, 1) in MC3).
    Its space stride is 16, so people are pooled from the map that classifies (`detection` changes
    nothing)."""

    summary: ClassVar[str] = "3D ResNet of whole kernels: R3D, MC3"

    depth: int = 18
    blocks: tuple[int, int, int, int] | None = None
    width: int = 64
    temporal: tuple[int, int, int, int] = (3, 3, 3, 3)
    stem_temporal: int = 3
    detection: bool = True
    norm_eps: float = 1e-5

    def build(self) -> R3d:
        return R3d(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(self, blocks=(1, 1, 1, 1), width=4)

    def stage_blocks(self) -> Blocks:
        """Blocks of res2…res5. Raises ConfigError for an unknown depth."""
        return stage_blocks(self.depth, self.blocks, (18, 34))


class WholeBlock(nn.Module):
    """Two t×3×3 convolutions with a residual."""

    def __init__(
        self, *, inputs: int, outputs: int, temporal: int, stride: tuple[int, int], norm_eps: float
    ) -> None:
        super().__init__()
        kernel = (temporal, 3, 3)
        self.a = ConvNorm(
            inputs=inputs,
            outputs=outputs,
            kernel=kernel,
            stride=(stride[0], stride[1], stride[1]),
            norm_eps=norm_eps,
        )
        self.b = ConvNorm(
            inputs=outputs, outputs=outputs, kernel=kernel, relu=False, norm_eps=norm_eps
        )
        self.shortcut = shortcut(inputs, outputs, stride, norm_eps)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.b(self.a(x)) + self.shortcut(x))
        return out


class R3d(Backbone):
    """Residual network of whole kernels. Returns the map of res5."""

    def __init__(self, config: R3dConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(
            outputs=config.width,
            temporal=config.stem_temporal,
            pool=False,
            norm_eps=config.norm_eps,
        )
        self.stages = nn.ModuleList()
        inputs, time_strides = config.width, []
        for index, (count, temporal) in enumerate(
            zip(config.stage_blocks(), config.temporal, strict=True)
        ):
            outputs, space = config.width * 2**index, 2 if index else 1
            time_strides.append(space if temporal > 1 else 1)
            self.stages.append(
                nn.Sequential(
                    *(
                        WholeBlock(
                            inputs=outputs if block else inputs,
                            outputs=outputs,
                            temporal=temporal,
                            stride=(1, 1) if block else (time_strides[-1], space),
                            norm_eps=config.norm_eps,
                        )
                        for block in range(count)
                    )
                )
            )
            inputs = outputs
        time_stride = math.prod(time_strides)
        self.outputs = (FeatureSpec(channels=inputs, time_stride=time_stride, space_stride=16),)
        init_residual(self)

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → one map `(B, C, T', h, w)`."""
        x = self.stem(clip)
        for stage in self.stages:
            x = stage(x)
        return as_maps((x,), self.outputs)
