"""`person_small`: our own anchor-free person detector, small enough to ship inside the package.

A plain residual network, a top-down pyramid and one convolutional head per level, in the manner of
FCOS (Tian et al., ICCV 2019): every cell of strides 8, 16 and 32 says whether a person is there
and how far the four sides of the box lie from the cell's centre.

Shape legend: B images, (H, W) pixels, A cells of all levels together, N people of one image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tubelet.boxes import clip_unit, nms, short_side_hw
from tubelet.checkpoints import read_checkpoint
from tubelet.config import decode, encode
from tubelet.errors import CheckpointError, ConfigError, ShapeError
from tubelet.numerics.choices import PrecisionChoice
from tubelet.numerics.layers import LayerCall, layer_calls
from tubelet.numerics.prepare import TriedAutocast
from tubelet.people.detectors.base import Image, NamedDetector, check_image
from tubelet.types import Floats, People

KIND = "person_small"
PIXEL_MEAN, PIXEL_STD = 114.0, 58.0
STRIDES = (8, 16, 32)
LOG_SIDE_MAX = 5.0  # exp(5) = 148 cells: larger than any input, small enough never to overflow
WEIGHTS = Path(__file__).parents[2] / "weights" / "person_small.safetensors"


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
        nn.init.constant_(self.score.bias, -math.log(99))  # type: ignore[arg-type]
        nn.init.constant_(self.sides.bias, math.log(2.5))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.tower(x)
        return torch.cat([self.score(x), self.sides(x)], 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseBoxes:
    """The network's output for every cell: `logits (B, A)`, `boxes_px (B, A, 4)` xyxy,
    `centres_px (A, 2)`; all float32 whatever the precision of the convolutions."""

    logits: Tensor
    boxes_px: Tensor
    centres_px: Tensor


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
        parts = [
            _decode(head(smooth(p)).float(), stride)
            for head, smooth, p, stride in zip(
                self.heads, self.smooth, pyramid, STRIDES, strict=True
            )
        ]
        logits, boxes, centres = zip(*parts, strict=True)
        return DenseBoxes(
            logits=torch.cat(logits, 1), boxes_px=torch.cat(boxes, 1), centres_px=torch.cat(centres)
        )


def _decode(cells: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 5, h, w) of one level → logits (B, h·w), boxes (B, h·w, 4), centres (h·w, 2)."""
    height, width = cells.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=cells.device),
        torch.arange(width, device=cells.device),
        indexing="ij",
    )
    centres = (torch.stack([x, y], -1).reshape(-1, 2).float() + 0.5) * stride
    flat = cells.flatten(2).transpose(1, 2)
    sides = flat[..., 1:].clamp(max=LOG_SIDE_MAX).exp() * stride
    boxes = torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], -1)
    return flat[..., 0], boxes, centres


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDetectorConfig:
    """How `SmallPersonDetector` reads a frame and what it keeps.

    The frame is scaled to `short_side` pixels, its long side to `long_side` at most. Boxes that
    score under `threshold` or overlap a better one by more than `nms_iou` are dropped, and at
    most `max_people` are kept.
    """

    short_side: int = 192
    long_side: int = 384
    threshold: float = 0.3
    nms_iou: float = 0.6
    max_people: int = 100

    def __post_init__(self) -> None:
        if not (0 <= self.threshold <= 1 and 0 <= self.nms_iou <= 1):
            raise ConfigError("thresholds of a person detector lie in [0, 1]", got=self)
        if min(self.short_side, self.max_people) < 1 or self.long_side < self.short_side:
            raise ConfigError(
                "a person detector needs short_side <= long_side and one person at least", got=self
            )


class SmallPersonDetector(NamedDetector):
    """A PersonDetector around a SmallPersonNet; also takes several frames of one size at once.

    `precision`: of the convolutions; "auto" is the fastest that is right on the device.

    `SmallPersonDetector.load()` reads the weights that ship in the package.
    """

    spelling: ClassVar[str] = f"{KIND}, or a .safetensors file of a small detector"
    summary: ClassVar[str] = "our own: in the package, or trained by yourself"

    def __init__(
        self,
        net: SmallPersonNet,
        *,
        config: SmallDetectorConfig | None = None,
        device: torch.device | str = "cpu",
        precision: PrecisionChoice = "auto",
    ) -> None:
        self.config = config or SmallDetectorConfig()
        self.device = torch.device(device)
        self._net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._autocast = TriedAutocast(
            self._net, partial(calls_of, self._net), device=self.device, precision=precision
        )

    @classmethod
    def claims(cls, name: str) -> bool:
        return name == KIND or name.endswith(".safetensors")

    @classmethod
    def named(cls, name: str, *, threshold: float | None, device: torch.device | str) -> Self:
        config = SmallDetectorConfig()
        if threshold is not None:
            config = replace(config, threshold=threshold)
        return cls.load(WEIGHTS if name == KIND else name, config=config, device=device)

    @classmethod
    def load(
        cls,
        path: Path | str = WEIGHTS,
        *,
        config: SmallDetectorConfig | None = None,
        device: torch.device | str = "cpu",
        precision: PrecisionChoice = "auto",
    ) -> Self:
        """A detector from a checkpoint. Raises CheckpointError if it holds something else."""
        header, state = read_checkpoint(Path(path))
        net = config_from_header(header, Path(path)).build()
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                "the weights do not fit their person detector's configuration",
                where=path,
                got=str(error).splitlines()[-1].strip(),
            ) from error
        return cls(net, config=config, device=device, precision=precision)

    def __call__(self, image: Image) -> People:
        return self.batch([image])[0]

    @torch.inference_mode()
    def batch(self, images: Sequence[Image]) -> list[People]:
        """People of each frame; frames `(H, W, 3)` u8 must share one size."""
        if not images:
            return []
        for image in images:
            check_image(image)
        if len({image.shape for image in images}) > 1:
            raise ShapeError(
                "frames of a batch differ in size", got=sorted({i.shape for i in images})
            )
        resized_hw = short_side_hw(
            images[0].shape[:2], self.config.short_side, self.config.long_side
        )
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        dense = self._forward(_fit(pixels, resized_hw).to(self.device))
        scores = dense.logits.sigmoid().cpu().numpy()
        height, width = resized_hw
        boxes = dense.boxes_px.cpu().numpy() / np.array([width, height] * 2, np.float32)
        return [self._keep(b, s) for b, s in zip(boxes, scores, strict=True)]

    def _forward(self, pixels: Tensor) -> DenseBoxes:
        with self._autocast(pixels):
            out: DenseBoxes = self._net(pixels)
        return out

    def _keep(self, boxes: Floats, scores: Floats) -> People:
        likely = np.flatnonzero(scores >= self.config.threshold)
        # NMS is quadratic: a thousand candidates bound it, far more than people ever need.
        likely = likely[np.argsort(-scores[likely], kind="stable")][:1000]
        boxes, scores = clip_unit(boxes[likely]), scores[likely]
        kept = nms(boxes, scores, self.config.nms_iou)[: self.config.max_people]
        return People.of(boxes[kept], scores[kept])


def calls_of(net: SmallPersonNet, pictures_shape: tuple[int, ...]) -> dict[str, LayerCall]:
    """The layers that `net` calls on pictures u8 of `pictures_shape` (B, 3, H, W)."""
    twin = copy.deepcopy(net).to("meta")
    pictures = torch.zeros(pictures_shape, dtype=torch.uint8, device="meta")
    return layer_calls(twin, lambda: twin(pictures))


def config_from_header(header: Mapping[str, Any], path: Path) -> SmallPersonConfig:
    """The network's shape out of a checkpoint header; raises CheckpointError if it is missing."""
    if header.get("kind") != KIND or "model" not in header:
        raise CheckpointError(
            "not a small person detector's weights file",
            where=path,
            expected=f"kind {KIND!r} and its model",
            got=header.get("kind", "no kind"),
        )
    return decode(SmallPersonConfig, header["model"], where=str(path))


def header_of(config: SmallPersonConfig) -> dict[str, Any]:
    """The part of a checkpoint header that `load` needs; `config_from_header` reads it back."""
    return {"kind": KIND, "model": encode(config)}


def _fit(pixels: Tensor, resized_hw: tuple[int, int]) -> Tensor:
    """Scale `(B, 3, H, W)` u8 and pad right and below, in the mean grey, to whole coarse cells."""
    if tuple(pixels.shape[2:]) != resized_hw:
        pixels = F.interpolate(pixels, resized_hw, mode="bilinear", antialias=True)
    bottom, right = (-side % STRIDES[-1] for side in resized_hw)
    return F.pad(pixels, (0, right, 0, bottom), value=int(PIXEL_MEAN))
