"""The plain joint ViT of VideoMAE and UMT (Tong et al. 2022, Li et al. 2023).

Every token attends to every other; there is no class token. Positions are one fixed sinusoid over
the flattened tokens unless the weights bring a table of their own. For detection each token is
normed and the map goes to RoIAlign; for classification the tokens' mean is normed instead, by the
same norm, so weights of either form fit the other.

Shape legend: B clips, D width, t×h×w tokens, N = t·h·w.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    Layers,
    Published,
    Variant,
    as_maps,
)
from tubelet.models.layers.transformer import Encoder, EncoderBlock, TubeletEmbedding
from tubelet.types import InputSpec

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UMT_MEAN = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
UMT_STD = (57.375 / 255, 57.375 / 255, 57.375 / 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViTConfig(BackboneConfig):
    """Arguments of `ViT`.

    `tubelet`: (frames, height, width) of a token, 2×16×16 in VideoMAE and 1×16×16 in UMT.
    `positions`: the (t, h, w) grid of the position table; other clips resize it. `learned`: the
    table is a parameter, else the fixed sinusoid. `key_bias`, `layer_scale` as in `EncoderBlock`;
    `final_eps` of the last norm, None for `norm_eps`. `drop_path`: stochastic depth of the last
    layer. `pad`: zeros fill up the last tubelets, else what fills none is left out (MMAction2).
    `detection`: the dense form.
    """

    summary: ClassVar[str] = "plain joint video transformer (VideoMAE, UMT)"
    made_of: ClassVar[Layers] = "attention"

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    tubelet: tuple[int, int, int] = (2, 16, 16)
    positions: tuple[int, int, int] = (8, 14, 14)
    learned: bool = False
    key_bias: bool = False
    layer_scale: float | None = None
    norm_eps: float = 1e-6
    final_eps: float | None = None
    drop_path: float = 0.0
    pad: bool = True
    detection: bool = True

    def build(self) -> ViT:
        return ViT(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(self, width=16, layers=1, heads=2, mlp=32, positions=(4, 2, 2))

    def architecture(self) -> Self:
        return replace(self, drop_path=0.0)

    @classmethod
    def variants(cls) -> Mapping[str, Variant[ViTConfig]]:
        return VARIANTS


def sinusoid(tokens: int, width: int) -> Tensor:
    """The fixed table `(1, N, D)`: sin at even channels j, cos at odd ones, of the angle
    n / 10000^(2⌊j/2⌋/D) at token n. Built in float64, as the originals do, and rounded once."""
    channel = torch.arange(width)
    rate = torch.pow(10000.0, 2 * (channel // 2).double() / width)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] / rate
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()[None]


def resize_grid(table: Tensor, grid: tuple[int, ...], to: tuple[int, ...]) -> Tensor:
    """A position table `(1, N, D)` of one (t, h, w) grid for another, in fp32.

    Time is interpolated linearly and then each step bicubically in space, as UMT does; VideoMAE's
    own code resizes space alone, which is the same at its own number of frames.
    """
    if grid == to:
        return table
    maps = table.float().transpose(1, 2).reshape(table.shape[-1], *grid)
    if grid[0] != to[0]:
        flat = maps.flatten(2).transpose(1, 2)  # (D, h·w, t)
        flat = F.interpolate(flat, size=to[0], mode="linear", align_corners=False)
        maps = flat.transpose(1, 2).unflatten(2, grid[1:])
    if grid[1:] != to[1:]:
        steps = maps.transpose(0, 1)  # (t, D, h, w)
        steps = F.interpolate(steps, size=to[1:], mode="bicubic", align_corners=False)
        maps = steps.transpose(0, 1)
    return maps.flatten(1).t()[None]


class ViT(Backbone):
    """Joint video transformer. Returns one map: every token, or their mean as a single cell."""

    position: Tensor

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        width, (t, h, w), (step, side, _) = config.width, config.positions, config.tubelet
        self.embed = TubeletEmbedding(width=width, tubelet=config.tubelet, pad=config.pad)
        if config.learned:
            self.position = nn.Parameter(sinusoid(t * h * w, width))
        else:
            self.register_buffer("position", sinusoid(t * h * w, width), persistent=False)
        self.encoder = Encoder(
            width=width,
            layers=config.layers,
            heads=config.heads,
            mlp=config.mlp,
            gelu="none",
            norm_eps=config.norm_eps,
            drop_path=config.drop_path,
            key_bias=config.key_bias,
            layer_scale=config.layer_scale,
            final_eps=config.final_eps,
        )
        spec = FeatureSpec(channels=width, time_stride=step, space_stride=side)
        whole = FeatureSpec(channels=width, time_stride=t * step, space_stride=h * side, whole=True)
        self.outputs = (spec if config.detection else whole,)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier, and each layer's two output projections shrunk by √(2·depth) as BEiT does."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for depth, block in enumerate(self.encoder.blocks, 1):
                assert isinstance(block, EncoderBlock)
                for layer in (block.proj, block.fc2):
                    layer.weight.div_(math.sqrt(2 * depth))

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → `(B, D, t, h, w)` (dense) or `(B, D, 1, 1, 1)`."""
        x = self.embed(clip)
        grid = tuple(x.shape[2:])
        position = resize_grid(self.position, self.config.positions, grid)
        flat = x.flatten(2).transpose(1, 2)
        out = self.encoder(flat + position.to(flat.dtype), mean=not self.config.detection)
        shape = grid if self.config.detection else (1, 1, 1)
        return as_maps((out.transpose(1, 2).unflatten(2, shape),), self.outputs)


def _variant(
    backbone: ViTConfig,
    *published: Published,
    frames: int,
    stride: int,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    weights: str,
) -> Variant[ViTConfig]:
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(
            frames=frames, stride=stride, short_side=224, multiple=16, mean=mean, std=std
        ),
        cost_size=224,
        weights=weights,
        published=published,
    )


def _k400(source: str, score: float, gflops: float, views: int) -> Published:
    return Published(
        source=source,
        dataset="K400",
        metric="top-1",
        score=score,
        gflops=gflops,
        size=224,
        views=views,
    )


def _ava(source: str, score: float) -> Published:
    return Published(
        source=source, dataset="AVA v2.2", metric="mAP", score=score, size=224, views=1
    )


_SMALL = ViTConfig(width=384, heads=6, mlp=1536)
_LARGE = ViTConfig(width=1024, layers=24, heads=16, mlp=4096)
_HUGE = ViTConfig(width=1280, layers=32, heads=16, mlp=5120)
_UMT = ViTConfig(tubelet=(1, 16, 16))
_VIDEOMAE, _UMT_PAPER = "arXiv:2203.12602", "arXiv:2303.16058"
_MMACTION = "MMAction2 model zoo, trained on AVA-Kinetics"

VARIANTS: dict[str, Variant[ViTConfig]] = {
    "vit_s_16x4": _variant(
        _SMALL,
        _k400(_VIDEOMAE, 79.0, 57, 15),
        _ava(_VIDEOMAE, 28.4),
        frames=16,
        stride=4,
        weights="VideoMAE (non-commercial)",
    ),
    "vit_b_16x4": _variant(
        ViTConfig(),
        _k400(_VIDEOMAE, 81.5, 180, 15),
        _ava(_VIDEOMAE, 31.8),
        _ava(_MMACTION, 33.6),
        frames=16,
        stride=4,
        weights="VideoMAE (non-commercial), MMAction2 (AVA-Kinetics)",
    ),
    "vit_l_16x4": _variant(
        _LARGE,
        _k400(_VIDEOMAE, 85.2, 597, 15),
        _ava(_VIDEOMAE, 37.0),
        _ava(_MMACTION, 38.7),
        frames=16,
        stride=4,
        weights="VideoMAE (non-commercial), MMAction2 (AVA-Kinetics)",
    ),
    "vit_h_16x4": _variant(
        _HUGE,
        _k400(_VIDEOMAE, 86.6, 1192, 15),
        _ava(_VIDEOMAE, 39.5),
        frames=16,
        stride=4,
        weights="VideoMAE (non-commercial)",
    ),
    "umt_b_8x8": _variant(
        _UMT,
        _k400(_UMT_PAPER, 87.4, 180, 12),
        _ava(_UMT_PAPER, 33.5),
        frames=8,
        stride=8,
        mean=UMT_MEAN,
        std=UMT_STD,
        weights="UMT (MIT; K400, K700, SSv2, AVA)",
    ),
    "umt_l_8x8": _variant(
        replace(_LARGE, tubelet=(1, 16, 16)),
        _k400(_UMT_PAPER, 90.3, 596, 12),
        _ava(_UMT_PAPER, 39.8),
        frames=8,
        stride=8,
        mean=UMT_MEAN,
        std=UMT_STD,
        weights="UMT (MIT; K400, K700, SSv2, AVA)",
    ),
}
