"""SlowFast networks (Feichtenhofer et al. 2019; the AVA 2019 entry's Table 1).

A Slow pathway sees every α-th frame with full width, a Fast pathway sees every frame with β of
the width, and lateral convolutions carry Fast into Slow before each residual stage.

Shape legend: clip (B, 3, T, H, W) float, normalised; Slow runs on T/α frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.errors import ShapeError
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    Published,
    Variant,
    as_maps,
)
from tubelet.models.layers.conv import Conv3d
from tubelet.models.layers.resnet3d import (
    Blocks,
    ConvNorm,
    NonLocalConfig,
    ResidualStage,
    Stem,
    init_residual,
    stage_blocks,
)
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowFastConfig(BackboneConfig):
    """Arguments of `SlowFast`.

    `blocks`: residual blocks of res2…res5, or None for those of `depth`. `width`: Slow channels of
    the stem (64 in the paper). `beta_inv`: 1/β. `fusion_kernel`/`fusion_ratio`: the lateral
    convolution's temporal kernel, and its output channels over the Fast channels (2 in the paper).
    `slow_temporal`, `fast_temporal`: how many blocks of a pathway's res4 have a temporal kernel
    (the published R101 has 6 and 6, written "101_50_50", or all 23, "101_101_101"); None means all.
    `nonlocal_res3`, `nonlocal_res4`: block indices of Slow followed by a non-local block (the
    papers have them in res4 only, PySlowFast's R50 configs in both). `detection` keeps res5 at
    stride 16 with dilation `res5_dilation` (2 in PySlowFast, 1 in MMAction2). `slow_select`:
    "linspace" takes first and last frame (PySlowFast), "stride" a plain stride (MMAction2).
    `lateral_norm`: norm and ReLU after the lateral convolution (in MMAction2 only where its config
    says so). `fast_depth`: of the Fast pathway where it is not `depth` (MMAction2's "r101-r50").
    """

    summary: ClassVar[str] = "3D ResNet of two pathways, one slow and wide, one fast and narrow"

    depth: int = 50
    blocks: tuple[int, int, int, int] | None = None
    width: int = 64
    alpha: int = 4
    beta_inv: int = 8
    fusion_kernel: int = 7
    fusion_ratio: int = 2
    slow_temporal: int | None = None
    fast_temporal: int | None = None
    nonlocal_res3: tuple[int, ...] = ()
    nonlocal_res4: tuple[int, ...] = ()
    nonlocal_pool: tuple[int, int, int] = (1, 2, 2)
    nonlocal_kind: str = "dot_product"
    detection: bool = True
    res5_dilation: int = 2
    slow_select: str = "linspace"
    lateral_norm: bool = True
    fast_depth: int | None = None
    norm_eps: float = 1e-5

    def build(self) -> SlowFast:
        return SlowFast(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(
            self,
            blocks=(1, 1, 1, 1),
            fast_depth=None,
            width=4,
            beta_inv=2,  # a Fast pathway of one channel may be dead from the start
            nonlocal_res3=self.nonlocal_res3 and (0,),
            nonlocal_res4=self.nonlocal_res4 and (0,),
        )

    @classmethod
    def variants(cls) -> Mapping[str, Variant[SlowFastConfig]]:
        return VARIANTS

    def stage_blocks(self) -> Blocks:
        """Blocks of res2…res5 of Slow. Raises ConfigError for an unknown depth."""
        return stage_blocks(self.depth, self.blocks)

    def fast_blocks(self) -> Blocks:
        """Blocks of res2…res5 of Fast. Raises ConfigError for an unknown depth."""
        return stage_blocks(self.fast_depth or self.depth, self.blocks)


class Lateral(nn.Module):
    """Time-strided convolution that carries Fast features into the Slow pathway."""

    def __init__(self, *, channels: int, config: SlowFastConfig) -> None:
        super().__init__()
        outputs = channels * config.fusion_ratio
        kernel, stride = (config.fusion_kernel, 1, 1), (config.alpha, 1, 1)
        self.body: nn.Module
        if config.lateral_norm:
            self.body = ConvNorm(
                inputs=channels,
                outputs=outputs,
                kernel=kernel,
                stride=stride,
                norm_eps=config.norm_eps,
            )
        else:
            padding = (config.fusion_kernel // 2, 0, 0)
            self.body = Conv3d(channels, outputs, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


class SlowFast(Backbone):
    """Two-pathway 3D ResNet. Returns the Slow and the Fast map of res5, in that order."""

    def __init__(self, config: SlowFastConfig) -> None:
        super().__init__()
        self.config = config
        blocks = zip(config.stage_blocks(), config.fast_blocks(), strict=True)
        slow, fast = config.width, max(1, config.width // config.beta_inv)
        self.slow_stem = Stem(outputs=slow, temporal=1, norm_eps=config.norm_eps)
        self.fast_stem = Stem(outputs=fast, temporal=5, norm_eps=config.norm_eps)
        self.laterals = nn.ModuleList()
        self.slow_stages, self.fast_stages = nn.ModuleList(), nn.ModuleList()
        slow_in, fast_in = slow, fast
        for index, (slow_count, fast_count) in enumerate(blocks):
            self.laterals.append(Lateral(channels=fast_in, config=config))
            slow_in += fast_in * config.fusion_ratio
            self.slow_stages.append(self._stage(index, slow_count, slow_in, slow, is_slow=True))
            self.fast_stages.append(self._stage(index, fast_count, fast_in, fast, is_slow=False))
            slow_in, fast_in = slow * 4 * 2**index, fast * 4 * 2**index
        stride = 16 if config.detection else 32
        self.outputs = (
            FeatureSpec(channels=slow_in, time_stride=config.alpha, space_stride=stride),
            FeatureSpec(channels=fast_in, time_stride=1, space_stride=stride),
        )
        init_residual(self)

    def _stage(
        self, index: int, count: int, inputs: int, base: int, *, is_slow: bool
    ) -> ResidualStage:
        """Stage res{index + 2} of one pathway; temporal kernels as in the paper's Table 1."""
        config = self.config
        limit = config.slow_temporal if is_slow else config.fast_temporal
        if index != 2 or limit is None:
            limit = count
        if is_slow and index < 2:
            limit = 0
        last = index == 3 and config.detection
        after = {1: config.nonlocal_res3, 2: config.nonlocal_res4}.get(index, ())
        attention = NonLocalConfig(pool=config.nonlocal_pool, kind=config.nonlocal_kind)
        return ResidualStage(
            inputs=inputs,
            inner=base * 2**index,
            outputs=base * 4 * 2**index,
            temporal=[3 if i < limit else 1 for i in range(count)],
            stride=(1, 1 if index == 0 or last else 2),
            dilation=config.res5_dilation if last else 1,
            nonlocal_after=dict.fromkeys(after, attention) if is_slow else None,
            norm_eps=config.norm_eps,
        )

    def slow_frames(self, clip: Tensor) -> Tensor:
        """The Slow pathway's frames of `clip (B, 3, T, H, W)`: T/α of them."""
        total, alpha = clip.shape[2], self.config.alpha
        if total % alpha:
            raise ShapeError(
                "SlowFast cannot share out the frames of this clip",
                expected=f"a multiple of α = {alpha} frames",
                got=f"{total} frames",
            )
        if self.config.slow_select == "stride":
            return clip[:, :, ::alpha]
        index = evenly_spread(total, total // alpha)
        return clip.index_select(2, torch.tensor(index, device=clip.device))

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → (Slow `(B, C, T/α, h, w)`, Fast `(B, βC, T, h, w)`)."""
        slow, fast = self.slow_stem(self.slow_frames(clip)), self.fast_stem(clip)
        steps = zip(self.laterals, self.slow_stages, self.fast_stages, strict=True)
        for lateral, slow_stage, fast_stage in steps:
            slow = slow_stage(torch.cat([slow, lateral(fast)], dim=1))
            fast = fast_stage(fast)
        return as_maps((slow, fast), self.outputs)


def evenly_spread(total: int, count: int) -> list[int]:
    """`torch.linspace(0, total - 1, count).long()` of the CPU, fp32 rounding included, as numbers.

    Other engines round elsewhere (OpenVINO ends 8 of 32 at frame 30), so that a graph gets these.
    """
    if count == 1:
        return [0]
    step = _fp32((total - 1) / (count - 1))
    return [
        int(_fp32(step * i if i < count // 2 else total - 1 - _fp32(step * (count - 1 - i))))
        for i in range(count)
    ]


def _fp32(value: float) -> float:
    """A double rounded to the 24 bits of fp32, by Veltkamp's splitting."""
    scaled = value * ((1 << 29) + 1)
    return scaled - (scaled - value)


def _variant(
    frames: int,
    stride: int,
    backbone: SlowFastConfig,
    *published: Published,
    weights: str = "",
) -> Variant[SlowFastConfig]:
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(frames=frames, stride=stride),
        weights=weights,
        published=published,
    )


def _paper(
    source: str, dataset: str, score: float, gflops: float | None = None, metric: str = "top-1"
) -> Published:
    views = None if dataset.startswith("AVA") else 30
    return Published(
        source=source, dataset=dataset, metric=metric, score=score, gflops=gflops, views=views
    )


_SF, _CM = "arXiv:1812.03982 Table 2", "arXiv:2104.01198 Table"
_ENTRY, _WINNER = "AVA 2019 entry Table", "AVA-Kinetics 2021 winner Table 1"
_AVA_PART = "AVA part of AVA-Kinetics v1.0"
_R50_4X16 = SlowFastConfig(alpha=8, fusion_kernel=5)
_R50_NL = SlowFastConfig(nonlocal_res3=(1, 3), nonlocal_res4=(1, 3, 5), nonlocal_kind="softmax")
_R101 = SlowFastConfig(depth=101, slow_temporal=6, fast_temporal=6, fusion_kernel=5)
_R101_NL = replace(_R101, nonlocal_res4=(6, 13, 20), nonlocal_pool=(2, 2, 2))
_R101_101 = SlowFastConfig(depth=101, fusion_kernel=5)
_R101_101_NL = replace(_R101_101, nonlocal_res4=(6, 13, 20), nonlocal_pool=(2, 2, 2))
_R152 = SlowFastConfig(depth=152, fusion_kernel=5)

VARIANTS: dict[str, Variant[SlowFastConfig]] = {
    "slowfast_r50_4x16": _variant(
        32,
        2,
        _R50_4X16,
        _paper(_SF, "K400", 75.6, 36.1),
        _paper(f"{_CM} 7b", "AVA v2.2", 26.9, metric="mAP"),
        weights="PySlowFast, PyTorchVideo, MMAction2 (K400, AVA)",
    ),
    "slowfast_r50_8x8": _variant(
        32,
        2,
        SlowFastConfig(),
        _paper(_SF, "K400", 77.0, 65.7),
        weights="PySlowFast, PyTorchVideo (K400, AVA), MMAction2 (K400, AVA)",
    ),
    "slowfast_r50_16x8": _variant(
        64,
        2,
        SlowFastConfig(),
        _paper(f"{_CM} 5", "Charades", 39.4, 131, "mAP"),
        weights="PySlowFast (Charades, SSv2)",
    ),
    "slowfast_r50_nl_4x16": _variant(32, 2, replace(_R50_NL, alpha=8, fusion_kernel=5)),
    "slowfast_r50_nl_8x8": _variant(32, 2, replace(_R50_NL, fusion_kernel=5)),
    "slowfast_r101_8x8": _variant(32, 2, _R101, _paper(_SF, "K400", 77.9, 106)),
    "slowfast_r101_16x8": _variant(
        64, 2, _R101, _paper(_SF, "K400", 78.9, 213), weights="PyTorchVideo"
    ),
    "slowfast_r101_nl_8x8": _variant(
        32,
        2,
        _R101_NL,
        _paper(f"{_ENTRY} 3", "K700", 70.6, 115),
        _paper(f"{_ENTRY} 2", "AVA v2.2", 29.0, metric="mAP"),
        weights="PySlowFast (K600, AVA)",
    ),
    "slowfast_r101_nl_16x8": _variant(
        64,
        2,
        _R101_NL,
        _paper(f"{_ENTRY} 3", "K700", 71.0, 234),
        _paper(_SF, "K400", 79.8, 234),
        _paper(f"{_ENTRY} 2, with context branch", "AVA v2.2", 29.8, metric="mAP"),
        weights="PySlowFast (K600, AVA)",
    ),
    "slowfast_r101_101_8x8": _variant(
        32,
        2,
        _R101_101,
        _paper(f"{_CM} 4", "K700", 69.2, 126),
        _paper(f"{_CM} 7b", "AVA v2.2", 29.0, metric="mAP"),
        weights="PyTorchVideo",
    ),
    "slowfast_r101_101_nl_8x8": _variant(
        32, 2, _R101_101_NL, _paper(f"{_CM} 4", "K700", 70.2, 135)
    ),
    "slowfast_r101_101_nl_16x8": _variant(
        64,
        2,
        _R101_101_NL,
        _paper(f"{_CM} 5", "Charades", 41.3, 273, "mAP"),
    ),
    "slowfast_r152_8x8": _variant(
        32, 2, _R152, _paper(f"{_WINNER}, linear head", _AVA_PART, 35.29, metric="mAP")
    ),
    "slowfast_r152_16x4": _variant(
        64, 1, _R152, _paper(f"{_WINNER}, T-only head, memory", _AVA_PART, 37.68, metric="mAP")
    ),
}
