"""The second network of `person_small`: a pretrained EfficientNet-Lite0 under a light pyramid.

The backbone is EfficientNet-Lite0: the mobile inverted bottlenecks of EfficientNet-B0 (Tan and Le,
ICML 2019, table 1) without squeeze-and-excitation, with ReLU6, the stem and the last stage of fixed
width. Its batch norms are folded into the convolutions: a small batch cannot estimate them again,
and without them training and inference are half as long on a processor. A path-aggregation
pyramid (Liu et al., CVPR 2018) and decoupled-by-channel heads of depthwise 5×5 and pointwise
convolutions read strides 8, 16 and 32.

Strided convolutions pad evenly, where TensorFlow's padding is (0, 1): the features are the same,
of a picture moved by a few pixels, and the boxes are taught with that in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import ConfigError
from tubelet.people.detectors.dense import PRIOR, DenseBoxes, decode_levels

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0

# (expansion, kernel, stride) of the seven stages; the stem before them has stride 2.
STAGES = ((1, 3, 1), (6, 3, 2), (6, 5, 2), (6, 3, 2), (6, 5, 1), (6, 5, 2), (6, 3, 1))
READ_FROM = (2, 4, 6)  # the last stages of strides 8, 16 and 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientPersonConfig:
    """The shape of the network; `build()` makes it with fresh weights.

    `widths` are the channels of the seven stages, `depths` their blocks, `neck` the width of the
    pyramid and the heads. The default is EfficientNet-Lite0.
    """

    stem: int = 32
    widths: tuple[int, int, int, int, int, int, int] = (16, 24, 40, 80, 112, 192, 320)
    depths: tuple[int, int, int, int, int, int, int] = (1, 2, 2, 3, 3, 4, 1)
    neck: int = 96

    def __post_init__(self) -> None:
        if min(self.stem, self.neck, *self.widths, *self.depths) < 1:
            raise ConfigError("a person detector needs at least one channel and block", got=self)

    def build(self) -> EfficientPersonNet:
        return EfficientPersonNet(self)


def _folded(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class _Bottleneck(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _folded(inputs, inner, 1) if expansion > 1 else None
        self.filter = _folded(inner, inner, kernel, stride, groups=inner)
        self.project = _folded(inner, outputs, 1)
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.filter(y), inplace=True))
        answer: Tensor = x + y if self.added else y
        return answer


class EfficientLite(nn.Module):
    """Pixels (B, 3, H, W) → maps of strides 8, 16 and 32."""

    def __init__(self, config: EfficientPersonConfig) -> None:
        super().__init__()
        self.stem = _folded(3, config.stem, 3, 2)
        inputs, stages = config.stem, []
        for (expansion, kernel, stride), width, depth in zip(
            STAGES, config.widths, config.depths, strict=True
        ):
            first = _Bottleneck(inputs, width, kernel, stride, expansion)
            rest = (_Bottleneck(width, width, kernel, 1, expansion) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *rest))
            inputs = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(x), inplace=True)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[index] for index in READ_FROM]


def _normed(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        _normed(channels, channels, 5, groups=channels), _normed(channels, channels)
    )


def _halved(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 5, 2, 2, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
    )


class _LightHead(nn.Module):
    """Cells of one level → 1 logit and 4 log distances, in cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(_separable(channels), _separable(channels))
        self.answer = nn.Conv2d(channels, 5, 1)
        with torch.no_grad():
            bias = [math.log(PRIOR / (1 - PRIOR)), *[math.log(2.5)] * 4]
            self.answer.bias.copy_(torch.tensor(bias))  # type: ignore[union-attr]
            self.answer.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.answer(self.tower(x))
        return answer


class EfficientPersonNet(nn.Module):
    """Images u8 or float in 0…255, `(B, 3, H, W)` RGB, sides multiples of 32 → DenseBoxes."""

    def __init__(self, config: EfficientPersonConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = EfficientLite(config)
        neck = config.neck
        self.laterals = nn.ModuleList(_normed(config.widths[i], neck) for i in READ_FROM)
        self.down = nn.ModuleList(_separable(neck) for _ in range(2))
        self.halved = nn.ModuleList(_halved(neck) for _ in range(2))
        self.up = nn.ModuleList(_separable(neck) for _ in range(2))
        self.heads = nn.ModuleList(_LightHead(neck) for _ in READ_FROM)

    def forward(self, images: Tensor) -> DenseBoxes:
        x = (images.float() - PIXEL_MEAN) / PIXEL_STD
        maps = self.backbone(x.contiguous(memory_format=torch.channels_last))
        fine, middle, coarse = (f(m) for f, m in zip(self.laterals, maps, strict=True))
        middle = self.down[0](middle + F.interpolate(coarse, scale_factor=2.0))
        fine = self.down[1](fine + F.interpolate(middle, scale_factor=2.0))
        middle = self.up[0](middle + self.halved[0](fine))
        coarse = self.up[1](coarse + self.halved[1](middle))
        levels = (fine, middle, coarse)
        return decode_levels(head(x) for head, x in zip(self.heads, levels, strict=True))
