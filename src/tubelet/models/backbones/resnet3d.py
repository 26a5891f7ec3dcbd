"""Single-pathway 3D residual networks: Slow-only, Fast-only with β = 1, inflated I3D, and C2D.

They differ in where the temporal kernels are, so one module serves the three.
Sources: Feichtenhofer et al. 2019 §4 (Slow-only), the AVA 2019 entry §2 (Fast, β = 1),
Carreira & Zisserman 2017 in Wang et al.'s residual form 2018 Table 1 (I3D).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    NonLocalConfig,
    ResidualStage,
    Stem,
    init_residual,
    stage_blocks,
)
from tubelet.types import InputSpec

Pattern = tuple[int, ...]
Patterns = tuple[Pattern, Pattern, Pattern, Pattern]
NonLocals = tuple[Pattern, Pattern, Pattern, Pattern]

SLOW: Patterns = ((1,), (1,), (3,), (3,))
FAST: Patterns = ((3,), (3,), (3,), (3,))
I3D: Patterns = ((3,), (3, 1), (3, 1), (1, 3))
C2D: Patterns = ((1,), (1,), (1,), (1,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNet3dConfig(BackboneConfig):
    """Arguments of `ResNet3d`.

    `temporal`: for res2…res5, the temporal kernels of the blocks, repeated as often as needed;
    from block `temporal_blocks` of res4 on they are 1 (None: no such limit). `stem_temporal`: the
    first convolution's. `stem_time_strides`: of the first convolution and its pool ((2, 2) in
    MMAction2's I3D). `stem_padding`: of that pool, 0 in MMAction2's C2D. `pool_time` halves the
    frames between res2 and res3 (I3D).
    `nonlocal_after`: block indices of res2…res5 followed by a block as `attention` says.
    `detection` keeps res5 at stride 16 with dilation `res5_dilation` (2 in PySlowFast and
    PyTorchVideo, 1 in MMAction2).
    """

    summary: ClassVar[str] = "3D ResNet of one pathway: Slow-only, Fast-only, I3D"

    depth: int = 50
    blocks: tuple[int, int, int, int] | None = None
    width: int = 64
    temporal: Patterns = SLOW
    temporal_blocks: int | None = None
    stem_temporal: int = 1
    stem_time_strides: tuple[int, int] = (1, 1)
    stem_padding: int = 1
    pool_time: bool = False
    nonlocal_after: NonLocals = ((), (), (), ())
    attention: NonLocalConfig = field(default_factory=NonLocalConfig)
    detection: bool = True
    res5_dilation: int = 2
    norm_eps: float = 1e-5

    def build(self) -> ResNet3d:
        return ResNet3d(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        res2, res3, res4, res5 = (((0,) if after else ()) for after in self.nonlocal_after)
        attention = (res2, res3, res4, res5)
        return replace(self, blocks=(1, 1, 1, 1), width=4, nonlocal_after=attention)

    @classmethod
    def variants(cls) -> Mapping[str, Variant[ResNet3dConfig]]:
        return VARIANTS

    def stage_blocks(self) -> Blocks:
        """Blocks of res2…res5. Raises ConfigError for an unknown depth."""
        return stage_blocks(self.depth, self.blocks)

    def kernels(self, index: int) -> list[int]:
        """Temporal kernels of the blocks of stage res{index + 2}."""
        count, pattern = self.stage_blocks()[index], self.temporal[index]
        limit = count
        if index == 2 and self.temporal_blocks is not None:
            limit = self.temporal_blocks
        return [pattern[i % len(pattern)] if i < limit else 1 for i in range(count)]


class ResNet3d(Backbone):
    """3D ResNet of one pathway. Returns the map of res5."""

    def __init__(self, config: ResNet3dConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(
            outputs=config.width,
            temporal=config.stem_temporal,
            time_strides=config.stem_time_strides,
            padding=config.stem_padding,
            norm_eps=config.norm_eps,
        )
        self.time_pool = nn.MaxPool3d((2, 1, 1)) if config.pool_time else nn.Identity()
        self.stages = nn.ModuleList()
        inputs = config.width
        for index in range(4):
            last = index == 3 and config.detection
            outputs = config.width * 4 * 2**index
            self.stages.append(
                ResidualStage(
                    inputs=inputs,
                    inner=config.width * 2**index,
                    outputs=outputs,
                    temporal=config.kernels(index),
                    stride=(1, 1 if index == 0 or last else 2),
                    dilation=config.res5_dilation if last else 1,
                    nonlocal_after=dict.fromkeys(config.nonlocal_after[index], config.attention),
                    norm_eps=config.norm_eps,
                )
            )
            inputs = outputs
        self.outputs = (
            FeatureSpec(
                channels=inputs,
                time_stride=math.prod(config.stem_time_strides) * (2 if config.pool_time else 1),
                space_stride=16 if config.detection else 32,
            ),
        )
        init_residual(self)

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → one map `(B, C, T', h, w)`."""
        x = self.stem(clip)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == 0:
                x = self.time_pool(x)
        return as_maps((x,), self.outputs)


def _variant(
    frames: int,
    stride: int,
    backbone: ResNet3dConfig,
    *published: Published,
    weights: str = "",
) -> Variant[ResNet3dConfig]:
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(frames=frames, stride=stride),
        weights=weights,
        published=published,
    )


_CM, _PYSLOWFAST = "arXiv:2104.01198 Table 1", "PySlowFast model zoo"
_RES3_RES4: NonLocals = ((), (1, 3), (1, 3, 5), ())
_RES3_RES4_R101: NonLocals = ((), (1, 3), (6, 13, 20), ())
_SOFTMAX = NonLocalConfig(kind="softmax")
_I3D = ResNet3dConfig(temporal=I3D, stem_temporal=5, pool_time=True)


def _k400(score: float, source: str = _CM) -> Published:
    return Published(source=source, dataset="K400", metric="top-1", score=score, views=30)


VARIANTS: dict[str, Variant[ResNet3dConfig]] = {
    "slow_r50_4x16": _variant(
        4, 16, ResNet3dConfig(), weights="PySlowFast, PyTorchVideo, MMAction2 (K400, AVA)"
    ),
    "slow_r50_8x8": _variant(
        8,
        8,
        ResNet3dConfig(),
        _k400(74.4),
        _k400(74.8, source=_PYSLOWFAST),
        weights="PySlowFast, PyTorchVideo, MMAction2 (K400, AVA)",
    ),
    "slow_r101_8x8": _variant(8, 8, ResNet3dConfig(depth=101), weights="MMAction2 (K400, AVA)"),
    "slow_r50_nl_8x8": _variant(
        8, 8, ResNet3dConfig(nonlocal_after=_RES3_RES4, attention=_SOFTMAX)
    ),
    "fast_r101_nl_32x2": _variant(
        32,
        2,
        ResNet3dConfig(
            depth=101,
            temporal=FAST,
            stem_temporal=5,
            nonlocal_after=((), (), (6, 13, 20), ()),
            attention=NonLocalConfig(pool=(2, 2, 2)),
        ),
        Published(
            source="AVA 2019 entry Table 3",
            dataset="K700",
            metric="top-1",
            score=70.6,
            gflops=552,
            views=30,
        ),
    ),
    "i3d_r50_8x8": _variant(
        8, 8, _I3D, _k400(73.5, source=_PYSLOWFAST), weights="PySlowFast, PyTorchVideo"
    ),
    "i3d_r101_8x8": _variant(8, 8, replace(_I3D, depth=101)),
    "i3d_r50_nl_8x8": _variant(
        8,
        8,
        replace(_I3D, nonlocal_after=_RES3_RES4, attention=_SOFTMAX),
        _k400(74.0, source=_PYSLOWFAST),
        weights="PySlowFast",
    ),
    "i3d_r101_nl_8x8": _variant(
        8,
        8,
        replace(_I3D, depth=101, nonlocal_after=_RES3_RES4_R101, attention=_SOFTMAX),
    ),
    "i3d_r50_nl_32x2": _variant(
        32, 2, replace(_I3D, nonlocal_after=_RES3_RES4, attention=_SOFTMAX), _k400(74.9)
    ),
}
