"""R(2+1)D networks (Tran et al. 2018): every 3×3×3 split into 1×3×3 and 3×1×1.

Four published forms, told apart by fields: torchvision's R18/R34 of basic blocks, VMZ's deeper
bottlenecks with the same "middle planes" that keep the parameters of the unsplit kernel,
PyTorchVideo's R50/R101/R152, whose split kernel keeps the block's own width and goes through time
first, and MMAction2's R34, which splits stem and shortcuts as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
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
from tubelet.models.backbones.csn import VMZ_MEAN, VMZ_STD
from tubelet.models.layers.resnet3d import (
    Blocks,
    ConvNorm,
    ResidualStage,
    Stem,
    init_residual,
    shortcut,
    stage_blocks,
)
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class R2Plus1dConfig(BackboneConfig):
    """Arguments of `R2Plus1d`.

    `split_stem`: the stem is 1×7×7 (45 channels) then 3×1×1 (torchvision, VMZ), else 1×7×7 alone
    (PyTorchVideo). `stem_planes`: middle planes of a split stem, None for 45 at width 64; MMAction2
    has 83, by eq. 1. `stem_pool`: spatial max-pool after it (VMZ's R50 and deeper, MMAction2).
    `split_shortcut`: basic blocks' shortcuts are split too (MMAction2). `matched`: middle planes
    chosen to keep the parameters of 3×3×3 (torchvision, VMZ), else the block's width.
    `own_planes`: the second kernel of a basic block has middle planes of its own (VMZ's R34), else
    those of the first (torchvision). `time_first`: a bottleneck's 3×1×1 comes before its 1×3×3
    (PyTorchVideo), else after it. `stage_strides`: (time, space) of res2…res5. `norm_eps`: 1e-3 in
    VMZ and MMAction2 (their weights do not say so); `middle_eps`: of the norm on the middle planes
    where it differs (1e-5 in MMAction2). `detection` keeps the spatial stride at 16 or below: where
    res5 would pass it, res5 has stride 1 and dilation `res5_dilation`.
    """

    summary: ClassVar[str] = "3D ResNet whose kernels are split into space and time"

    depth: int = 50
    blocks: tuple[int, int, int, int] | None = None
    width: int = 64
    split_stem: bool = False
    stem_planes: int | None = None
    stem_pool: bool = False
    split_shortcut: bool = False
    matched: bool = False
    own_planes: bool = False
    time_first: bool = False
    stage_strides: tuple[tuple[int, int], ...] = ((1, 2), (1, 2), (2, 2), (2, 2))
    detection: bool = True
    res5_dilation: int = 1
    norm_eps: float = 1e-5
    middle_eps: float | None = None

    def build(self) -> R2Plus1d:
        return R2Plus1d(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(self, blocks=(1, 1, 1, 1), width=4)

    @classmethod
    def variants(cls) -> Mapping[str, Variant[R2Plus1dConfig]]:
        return VARIANTS

    @property
    def basic(self) -> bool:
        """R18 and R34 are built of basic blocks, the deeper ones of bottlenecks."""
        return self.depth < 50

    def stage_blocks(self) -> Blocks:
        """Blocks of res2…res5. Raises ConfigError for an unknown depth."""
        return stage_blocks(self.depth, self.blocks, (18, 34, 50, 101, 152))

    def planes(self, inputs: int, outputs: int) -> tuple[int, int]:
        """Middle planes of the two split kernels of a basic block."""
        if not self.matched:
            return outputs, outputs
        first = matched_planes(inputs, outputs)
        return first, matched_planes(outputs, outputs) if self.own_planes else first


def matched_planes(inputs: int, outputs: int, side: int = 3) -> int:
    """Middle planes that give the split kernel the parameters of a 3×side×side (Tran et al. 2018,
    eq. 1); MMAction2 takes them of 1×1×1 shortcuts too, as if their kernel had three frames."""
    area = side * side
    return 3 * inputs * outputs * area // (inputs * area + 3 * outputs)


class Split(nn.Module):
    """1×k×k → norm → ReLU → t×1×1 → norm → optional ReLU, each with its own stride; or the two in
    the other order, `time_first`. `kernel`: (t, k). `middle_eps`: of the first norm."""

    def __init__(
        self,
        *,
        inputs: int,
        planes: int,
        outputs: int,
        stride: tuple[int, int],
        kernel: tuple[int, int] = (3, 3),
        dilation: int = 1,
        time_first: bool = False,
        relu: bool = True,
        norm_eps: float,
        middle_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.time_first = time_first
        middle_eps = norm_eps if middle_eps is None else middle_eps
        self.space = ConvNorm(
            inputs=planes if time_first else inputs,
            outputs=outputs if time_first else planes,
            kernel=(1, kernel[1], kernel[1]),
            stride=(1, stride[1], stride[1]),
            dilation=dilation,
            relu=relu or not time_first,
            norm_eps=norm_eps if time_first else middle_eps,
        )
        self.time = ConvNorm(
            inputs=inputs if time_first else planes,
            outputs=planes if time_first else outputs,
            kernel=(kernel[0], 1, 1),
            stride=(stride[0], 1, 1),
            relu=relu or time_first,
            norm_eps=middle_eps if time_first else norm_eps,
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = (self.time, self.space) if self.time_first else (self.space, self.time)
        out: Tensor = second(first(x))
        return out


def _split_middle(
    channels: int,
    stride: tuple[int, int],
    dilation: int,
    norm_eps: float,
    *,
    matched: bool,
    time_first: bool,
) -> nn.Module:
    return Split(
        inputs=channels,
        planes=matched_planes(channels, channels) if matched else channels,
        outputs=channels,
        stride=stride,
        dilation=dilation,
        time_first=time_first,
        norm_eps=norm_eps,
    )


class BasicBlock(nn.Module):
    """Two split kernels with a residual."""

    def __init__(
        self,
        config: R2Plus1dConfig,
        *,
        inputs: int,
        outputs: int,
        stride: tuple[int, int],
        dilation: int,
    ) -> None:
        super().__init__()
        eps, middle = config.norm_eps, config.middle_eps
        planes = config.planes(inputs, outputs)
        self.a = Split(
            inputs=inputs,
            planes=planes[0],
            outputs=outputs,
            stride=stride,
            dilation=dilation,
            norm_eps=eps,
            middle_eps=middle,
        )
        self.b = Split(
            inputs=outputs,
            planes=planes[1],
            outputs=outputs,
            stride=(1, 1),
            dilation=dilation,
            relu=False,
            norm_eps=eps,
            middle_eps=middle,
        )
        self.shortcut = shortcut(inputs, outputs, stride, eps)
        if config.split_shortcut and (inputs != outputs or stride != (1, 1)):
            self.shortcut = Split(
                inputs=inputs,
                planes=matched_planes(inputs, outputs, side=1),
                outputs=outputs,
                stride=stride,
                kernel=(1, 1),
                relu=False,
                norm_eps=eps,
                middle_eps=middle,
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.b(self.a(x)) + self.shortcut(x))
        return out


class SplitStem(nn.Module):
    """1×7×7 (stride 2) → 3×1×1, each with norm and ReLU; 45 planes between at width 64."""

    def __init__(self, config: R2Plus1dConfig) -> None:
        super().__init__()
        outputs, eps = config.width, config.norm_eps
        planes = config.stem_planes or max(1, outputs * 45 // 64)
        self.space = ConvNorm(
            inputs=3,
            outputs=planes,
            kernel=(1, 7, 7),
            stride=(1, 2, 2),
            norm_eps=eps if config.middle_eps is None else config.middle_eps,
        )
        self.time = ConvNorm(inputs=planes, outputs=outputs, kernel=(3, 1, 1), norm_eps=eps)
        self.pool: nn.Module = nn.Identity()
        if config.stem_pool:
            self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.time(self.space(x)))
        return out


class R2Plus1d(Backbone):
    """Residual network of split kernels. Returns the map of res5."""

    def __init__(self, config: R2Plus1dConfig) -> None:
        super().__init__()
        self.config = config
        self.stem: nn.Module
        if config.split_stem:
            self.stem = SplitStem(config)
        else:
            self.stem = Stem(
                outputs=config.width, temporal=1, pool=config.stem_pool, norm_eps=config.norm_eps
            )
        self.stages = nn.ModuleList()
        inputs, time_stride, space_stride = config.width, 1, 4 if config.stem_pool else 2
        for index, (time, space) in enumerate(config.stage_strides):
            dense = config.detection and space_stride * space > 16
            space = 1 if dense else space
            dilation = config.res5_dilation if dense else 1
            self.stages.append(self._stage(index, inputs, (time, space), dilation))
            time_stride, space_stride = time_stride * time, space_stride * space
            inputs = config.width * (1 if config.basic else 4) * 2**index
        self.outputs = (
            FeatureSpec(channels=inputs, time_stride=time_stride, space_stride=space_stride),
        )
        init_residual(self)

    def _stage(
        self, index: int, inputs: int, stride: tuple[int, int], dilation: int
    ) -> nn.Sequential:
        config = self.config
        count, width = config.stage_blocks()[index], config.width * 2**index
        if config.basic:
            return nn.Sequential(
                *(
                    BasicBlock(
                        config,
                        inputs=width if block else inputs,
                        outputs=width,
                        stride=(1, 1) if block else stride,
                        dilation=dilation,
                    )
                    for block in range(count)
                )
            )
        return ResidualStage(
            inputs=inputs,
            inner=width,
            outputs=width * 4,
            temporal=[1] * count,
            stride=stride,
            dilation=dilation,
            middle=partial(_split_middle, matched=config.matched, time_first=config.time_first),
            norm_eps=config.norm_eps,
        )

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → one map `(B, C, T', h, w)`."""
        x = self.stem(clip)
        for stage in self.stages:
            x = stage(x)
        return as_maps((x,), self.outputs)


def _variant(
    frames: int,
    stride: int,
    backbone: R2Plus1dConfig,
    *published: Published,
    weights: str = "",
    size: int = 256,
) -> Variant[R2Plus1dConfig]:
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(frames=frames, stride=stride, mean=VMZ_MEAN, std=VMZ_STD)
        if backbone.matched
        else InputSpec(frames=frames, stride=stride),
        cost_size=size,
        weights=weights,
        published=published,
    )


_HALVING = ((1, 1), (2, 2), (2, 2), (2, 2))
_PYTORCHVIDEO = R2Plus1dConfig(time_first=True)
_TORCHVISION = R2Plus1dConfig(
    depth=18, split_stem=True, matched=True, stage_strides=_HALVING, norm_eps=1e-5
)


VARIANTS: dict[str, Variant[R2Plus1dConfig]] = {
    "r2plus1d_r18_16x2": _variant(16, 2, _TORCHVISION, weights="torchvision", size=112),
    "r2plus1d_r34_32x2": _variant(
        32,
        2,
        replace(_TORCHVISION, depth=34, own_planes=True, norm_eps=1e-3),
        weights="VMZ",
        size=112,
    ),
    "r2plus1d_r152_32x2": _variant(
        32,
        2,
        replace(_TORCHVISION, depth=152, stem_pool=True, norm_eps=1e-3),
        weights="VMZ",
        size=112,
    ),
    "r2plus1d_r50_16x4": _variant(16, 4, _PYTORCHVIDEO, weights="PyTorchVideo"),
    "r2plus1d_r50_16x2": _variant(
        16,
        2,
        _PYTORCHVIDEO,
        Published(
            source="arXiv:2104.01198 Table 1",
            dataset="K400",
            metric="top-1",
            score=75.7,
            views=30,
        ),
    ),
    "r2plus1d_r101_32x2": _variant(32, 2, replace(_PYTORCHVIDEO, depth=101)),
}
