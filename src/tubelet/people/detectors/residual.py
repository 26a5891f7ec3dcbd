"""The first network of `person_small`: plain residual blocks, trained from scratch.

A residual network, a top-down pyramid and one convolutional head per level, in the manner of FCOS
(Tian et al., ICCV 2019). Weights files that name no architecture hold this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.errors import ConfigError
from tubelet.people.detectors.dense import PRIOR, STRIDES, DenseBoxes, decode_levels

PIXEL_MEAN, PIXEL_STD = 114.0, 58.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallPersonConfig:
    """The shape of the network; `build()` makes it with fresh weights.

    `widths` are the channels at strides 4, 8, 16 and 32, `depths` the residual blocks there;
    `neck` is the width of the pyramid and the heads.
    """

    stem: int = 32
    widths: tuple[int, int, int, int] = (48, 96, 128, 160)
    depths: tuple[int, int, int, int] = (1, 2, 2, 2)
    neck: int = 64

    def __post_init__(self) -> None:
        if min(self.stem, self.neck, *self.widths, *self.depths) < 1:
            raise ConfigError("a person detector needs at least one channel and block", got=self)

    def build(self) -> SmallPersonNet:
        return SmallPersonNet(self)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3×3 convolutions around an identity, the second with zero-initialised gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


class _Head(nn.Module):
    """Cells of one level → 1 logit and 4 log distances, in cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3))
        self.score = nn.Conv2d(channels, 1, 1)
        self.sides = nn.Conv2d(channels, 4, 1)
        # A prior of 1 % keeps the first steps' loss from being all background (RetinaNet, §3.3).
        nn.init.constant_(self.score.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]
        nn.init.constant_(self.sides.bias, math.log(2.5))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.tower(x)
        return torch.cat([self.score(x), self.sides(x)], 1)


class SmallPersonNet(nn.Module):
    """Images u8 or float in 0…255, `(B, 3, H, W)` RGB, sides multiples of 32 → DenseBoxes."""

    def __init__(self, config: SmallPersonConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = _conv(3, config.stem, 3, 2)
        inputs = (config.stem, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(i, o, 3, 2), *(_Residual(o) for _ in range(depth)))
            for i, o, depth in zip(inputs, widths, config.depths, strict=True)
        )
        levels = len(STRIDES)
        self.laterals = nn.ModuleList(_conv(w, config.neck, 1) for w in widths[-levels:])
        self.smooth = nn.ModuleList(_conv(config.neck, config.neck, 3) for _ in range(levels))
        self.heads = nn.ModuleList(_Head(config.neck) for _ in range(levels))

    def forward(self, images: Tensor) -> DenseBoxes:
        x = (images.float() - PIXEL_MEAN) / PIXEL_STD
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        pyramid = [lat(m) for lat, m in zip(self.laterals, maps[1:], strict=True)]
        for level in range(len(pyramid) - 1, 0, -1):
            pyramid[level - 1] = pyramid[level - 1] + F.interpolate(pyramid[level], scale_factor=2)
        return decode_levels(
            head(smooth(p))
            for head, smooth, p in zip(self.heads, self.smooth, pyramid, strict=True)
        )
