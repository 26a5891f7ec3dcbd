"""Hand-made appearance and motion descriptors as a backbone, for training sets too small for a net.

A few hundred clips do not teach a 3D network its first layers. Here those are fixed: oriented
gradients (HOG, Dalal & Triggs 2005), oriented optical flow (HOF, Laptev et al. 2008) at two
scales, motion boundaries (MBH, Dalal et al. 2006) and colour, all as maps on one grid of cells.
Flow is Lucas & Kanade's least squares in a small window, with the frame's median flow taken off
for a moving camera. `extended` adds flow found from coarse to fine (Bouguet 2000), which follows
longer movements, and finer colour; `root` takes square roots, as Arandjelović & Zisserman (2012)
do, so that a few strong gradients do not drown the others.

Shape legend: clip (B, 3, T, H, W) float RGB in [0, 1] (`InputSpec.mean` 0, `std` 1);
maps (B, C, T−1, H/cell, W/cell): a cell at step t speaks of frames t and t + 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.errors import ShapeError
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    Layers,
    Variant,
    as_maps,
)
from tubelet.types import InputSpec

_CELL = 4
_DIRECTIONS = 8
_FLOW_SCALES = (2, 4)  # pixels per flow sample; the coarser one sees twice the displacement
_WINDOW = 5
_RIDGE = 2e-4  # keeps flow at zero where the window has no texture
_LONGEST = 4.0  # flow samples; longer ones are mistakes of the least squares
_LEVELS = (4, 2, 1)  # samples of the halved picture a sample, from coarse to fine
_STEP = 1.5  # flow samples; no level of the pyramid may correct the coarser one by more
_HUES = 6
_GREYS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorsConfig(BackboneConfig):
    """Arguments of `Descriptors`.

    `colour`: whether to add the cells' mean RGB. `extended`: also boundaries of the finer flow,
    gradients of the halved picture, flow from coarse to fine and its boundaries, histograms of hue
    and grey, and how still a cell is. `root`: the square root of every channel but mean RGB.
    `scale`: whether each channel learns a scale and an offset; without, training needs no gradient
    of the maps, which is half of its time.
    """

    summary: ClassVar[str] = "hand-made gradients, optical flow and colour, for small data sets"
    made_of: ClassVar[Layers] = "descriptors"

    colour: bool = True
    extended: bool = False
    root: bool = False
    scale: bool = True

    def build(self) -> Descriptors:
        return Descriptors(self)

    def tiny(self) -> Self:
        return self

    @classmethod
    def variants(cls) -> Mapping[str, Variant[DescriptorsConfig]]:
        return VARIANTS

    @property
    def channels(self) -> int:
        """8 gradient, 2 × 8 flow and 8 boundary directions, and 3 colours; extended, 4 × 8
        directions, 10 bins of colour and stillness more."""
        more = 4 * _DIRECTIONS + _HUES + _GREYS + 1 if self.extended else 0
        return _DIRECTIONS * (2 + len(_FLOW_SCALES)) + more + (3 if self.colour else 0)


class Descriptors(Backbone):
    """Descriptor maps, each channel normalised over the training set (batch norm)."""

    directions: Tensor

    def __init__(self, config: DescriptorsConfig) -> None:
        super().__init__()
        self.config = config
        angles = torch.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
        vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
        self.register_buffer("directions", vectors, persistent=False)
        self.norm = nn.BatchNorm3d(config.channels, affine=config.scale)
        self.outputs = (FeatureSpec(channels=config.channels, time_stride=1, space_stride=_CELL),)

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` → one map `(B, C, T−1, H/4, W/4)`. Raises ShapeError for T < 2."""
        batch, _, frames, height, width = clip.shape
        if frames < 2:
            raise ShapeError("motion needs two frames", expected="T ≥ 2", got=frames)
        # Gradients and flow are differences of near-equal numbers: bf16 would drown them.
        kind = "cpu" if clip.is_meta else clip.device.type  # autocast does not know "meta"
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            clip = _whole_cells(clip.float(), height, width)
            # One clip stays in a processor's cache where a batch would not.
            few = 1 if kind == "cpu" else batch
            parts = [self._describe(some) for some in clip.split(few)]
            described = torch.cat(parts).unflatten(0, (batch, frames - 1)).transpose(1, 2)
        return as_maps([self.norm(described)], self.outputs)

    def _describe(self, clip: Tensor) -> Tensor:
        """All channels of all frame pairs `(B·(T−1), C, h, w)`."""
        grey = _smooth(clip.mean(dim=1).flatten(0, 1).unsqueeze(1), 3)
        frames = clip.shape[2]
        parts = [_starts(self._gradients(grey, _CELL), frames)]
        for scale in _FLOW_SCALES:
            flow = _flow(*_pairs(F.avg_pool2d(grey, scale), frames))
            parts.append(self._oriented(flow, _CELL // scale))
            if self.config.extended or scale == _FLOW_SCALES[-1]:
                parts.append(_boundaries(flow, _CELL // scale))
        pictures = clip.transpose(1, 2).flatten(0, 1)
        if self.config.extended:
            length = flow.square().sum(dim=1, keepdim=True).sqrt()
            parts.append(_cells(torch.exp(-5 * length), _CELL // scale))
            parts += self._more(grey, pictures, frames)
        if self.config.root:
            # A negative rounding error has no root.
            parts = [part.clamp(min=0).sqrt() for part in parts]
        if self.config.colour:
            parts.append(_starts(F.avg_pool2d(pictures, _CELL), frames) - 0.45)
        return torch.cat(parts, dim=1)

    def _more(self, grey: Tensor, pictures: Tensor, frames: int) -> list[Tensor]:
        """What `extended` adds at half the resolution, as maps of frame pairs."""
        half = F.avg_pool2d(grey, 2)
        flow = _flow_by_levels(half, frames)
        colours = F.avg_pool2d(_colours(F.avg_pool2d(pictures, 2)), _CELL // 2)
        return [
            _starts(self._gradients(half, _CELL // 2), frames),
            self._oriented(flow, _CELL // 2),
            _boundaries(flow, _CELL // 2),
            _starts(colours, frames),
        ]

    def _gradients(self, grey: Tensor, cell: int) -> Tensor:
        """Oriented gradients of cells of so many pixels, divided by the mean around them."""
        slope = _slopes(grey)
        size = F.avg_pool2d(slope.square().sum(dim=1, keepdim=True).sqrt(), cell)
        return self._oriented(slope, cell) / (_smooth(size, _WINDOW) + 0.02)

    def _oriented(self, field: Tensor, cell: int) -> Tensor:
        """The positive part of a vector field `(N, 2, h, w)` along each direction, in cells."""
        half = self.directions[: _DIRECTIONS // 2]  # the others point the opposite way
        along = torch.matmul(half, field.flatten(2)).unflatten(2, field.shape[2:])
        return _both_parts(along, cell)


def _cells(x: Tensor, cell: int) -> Tensor:
    return F.avg_pool2d(x, cell) if cell > 1 else x


def _both_parts(x: Tensor, cell: int) -> Tensor:
    """Positive parts, then negative parts, averaged over cells of so many samples."""
    # (|x| ± x) / 2, so that only half the channels are made at full size.
    size, value = _cells(x.abs(), cell), _cells(x, cell)
    return torch.cat([size + value, size - value], dim=1) / 2


def _whole_cells(clip: Tensor, height: int, width: int) -> Tensor:
    """Repeat the right and lower border up to a whole number of cells."""
    right, below = -width % _CELL, -height % _CELL
    return F.pad(clip, (0, right, 0, below, 0, 0), mode="replicate") if right or below else clip


def _smooth(x: Tensor, window: int) -> Tensor:
    """The mean of the samples in a window around each; at the border, of those that are there."""
    return _band(x, x.shape[-2], window) @ (x @ _band(x, x.shape[-1], window).T)


def _band(like: Tensor, size: int, window: int) -> Tensor:
    # On the CPU a product with this matrix takes a third of the time of avg_pool2d.
    place = torch.arange(size, device=like.device)
    near = ((place[:, None] - place).abs() <= window // 2).to(like.dtype)
    return near / near.sum(dim=1, keepdim=True)


def _slopes(x: Tensor) -> Tensor:
    """Central differences of `(N, 1, h, w)` → `(N, 2, h, w)`: along x, along y."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    along_x = (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2
    along_y = (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], dim=1)


def _pairs(x: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    clips = x.reshape(-1, frames, *x.shape[1:])
    return clips[:, :-1].flatten(0, 1), clips[:, 1:].flatten(0, 1)


def _starts(x: Tensor, frames: int) -> Tensor:
    """The first frame of every pair."""
    return _pairs(x, frames)[0]


def _least_squares(before: Tensor, after: Tensor) -> Tensor:
    """Lucas & Kanade's flow `(N, 2, h, w)` of small movements, in samples."""
    slope, change = _slopes((before + after) / 2), after - before
    gx, gy = slope[:, :1], slope[:, 1:]
    products = torch.cat([gx * gx, gy * gy, gx * gy, gx * change, gy * change], dim=1)
    xx, yy, xy, xt, yt = _smooth(products, _WINDOW).split(1, dim=1)
    xx, yy = xx + _RIDGE, yy + _RIDGE
    determinant = xx * yy - xy * xy
    flow: Tensor = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant
    return flow


def _without_camera(flow: Tensor) -> Tensor:
    """The flow less its median over the frame."""
    return flow - flow.flatten(2).median(dim=2).values[..., None, None]


def _flow(before: Tensor, after: Tensor) -> Tensor:
    """Optical flow `(N, 2, h, w)` in samples per frame, less the frame's median."""
    flow = _without_camera(_least_squares(before, after))
    return torch.clamp(flow, -_LONGEST, _LONGEST)


def _flow_by_levels(grey: Tensor, frames: int) -> Tensor:
    """Optical flow `(N, 2, h, w)` of frame pairs in samples per frame, less the frame's median.

    Each level of a pyramid corrects the one above, on the second frame warped back by it.
    """
    flow = grey.new_zeros(1, 2, 1, 1)
    for level, scale in enumerate(_LEVELS):
        first, second = _pairs(_cells(grey, scale), frames)
        size = first.shape[2:]
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * 2
        for turn in range(2 if level == 0 else 1):
            moved = _warp(second, flow) if level or turn else second
            change = _least_squares(first, moved).clamp(-_STEP, _STEP)
            flow = _smooth(flow + change, 3)
    return _without_camera(flow)


def _warp(x: Tensor, flow: Tensor) -> Tensor:
    """`x (N, 1, h, w)` looked up where `flow` leads from each sample."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    across = (columns + flow[:, 0]) * 2 / max(1, width - 1) - 1
    down = (rows + flow[:, 1]) * 2 / max(1, height - 1) - 1
    places = torch.stack([across, down], dim=-1)
    warped: Tensor = F.grid_sample(x, places, padding_mode="border", align_corners=True)
    return warped


def _boundaries(flow: Tensor, cell: int) -> Tensor:
    """Slopes of both flow components, positive and negative parts apart, in cells `(N, 8, …)`."""
    slopes = torch.cat([_slopes(flow[:, :1]), _slopes(flow[:, 1:])], dim=1)
    return _both_parts(slopes, cell)


def _colours(rgb: Tensor) -> Tensor:
    """How much of each hue and each grey level a pixel has `(N, 10, h, w)`; shares of at most 1."""
    high, low = rgb.amax(dim=1, keepdim=True), rgb.amin(dim=1, keepdim=True)
    saturation = (high - low) / (high + 0.05)
    red, green, blue = rgb.split(1, dim=1)
    across, up = red - (green + blue) / 2, (green - blue) * math.sqrt(0.75)
    hue = torch.remainder(torch.atan2(up, across) * (_HUES / (2 * math.pi)), _HUES)
    apart = (hue - torch.arange(_HUES, device=rgb.device)[:, None, None]).abs()
    hues = F.relu(1 - torch.minimum(apart, _HUES - apart)) * saturation
    levels = torch.arange(_GREYS, device=rgb.device)[:, None, None]
    brightness = rgb.mean(dim=1, keepdim=True) * (_GREYS - 1)
    greys = F.relu(1 - (brightness - levels).abs()) * (1 - saturation)
    return torch.cat([hues, greys], dim=1)


VARIANTS: Mapping[str, Variant[DescriptorsConfig]] = {
    "descriptors": Variant(
        backbone=DescriptorsConfig(),
        detection=DescriptorsConfig(),
        input=InputSpec(
            frames=12,
            stride=2,
            short_side=96,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        cost_size=96,
    )
}
