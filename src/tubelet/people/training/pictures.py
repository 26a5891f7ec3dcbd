"""Pictures that teach a person detector: frames with boxes, recombined into canvases.

A canvas is a grid of one, four or nine cells, each a random view of another picture, so that a
source which shows one large person per frame (JHMDB) still teaches crowds and small people.
Everything is a function of the random generator handed in: no state, so a resumed run sees the
same canvases as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tubelet.boxes import area
from tubelet.errors import ShapeError
from tubelet.people.detectors.base import Image, check_image
from tubelet.types import Floats, as_boxes

GREY = 114


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """`image` u8 (H, W, 3) RGB; `boxes_px` (N, 4) xyxy of its people.

    `complete` says that every person who can be seen has a box; without it a confident detection
    elsewhere may be right, and the loss does not insist that it is wrong. `ignored_px` (I, 4) are
    crowds and people in doubt: nothing is taught there. `stretch` is how far the width may be off
    against the height, as a factor from 1 up: views are stretched or squeezed by up to as much.
    """

    image: Image
    boxes_px: Floats
    complete: bool
    ignored_px: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    stretch: float = 1.0

    def __post_init__(self) -> None:
        check_image(self.image)
        for name in ("boxes_px", "ignored_px"):
            object.__setattr__(self, name, as_boxes(getattr(self, name), f"Picture.{name}"))
        if self.stretch < 1:
            raise ShapeError("Picture.stretch is a factor from 1 up", got=self.stretch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How canvases are drawn from pictures.

    `canvases_hw`: sizes in pixels, one drawn for each batch. `grids`: probability of 1×1, 2×2 and
    3×3 cells. A view's zoom is log-uniform in `zoom` times the one at which the picture just
    covers its cell, and it shows somebody, except for a share `anywhere` of the views. A person of
    whom less than `visible` remains, or whose box is narrower than `min_side_px`, is neither taught
    nor counted as background. `colour` scales all colour jitter.
    """

    canvases_hw: tuple[tuple[int, int], ...] = ((192, 256), (256, 192), (192, 320))
    grids: tuple[float, float, float] = (0.5, 0.35, 0.15)
    zoom: tuple[float, float] = (0.7, 1.9)
    anywhere: float = 0.0
    visible: float = 0.4
    min_side_px: float = 5.0
    colour: float = 1.0

    def __post_init__(self) -> None:
        if any(side % 32 for hw in self.canvases_hw for side in hw) or not self.canvases_hw:
            raise ShapeError("canvas sides must be multiples of 32 px", got=self.canvases_hw)
        if min(self.grids) < 0 or sum(self.grids) <= 0 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ShapeError(
                "grids are probabilities and zoom is a rising positive range", got=self
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """`image` u8 (3, h, w); `people_px` (N, 4); `ignored_px` (I, 4): people cut too short to teach;
    `unsure_px` (U, 4): cells whose picture may show people without a box."""

    image: Tensor
    people_px: Tensor
    ignored_px: Tensor
    unsure_px: Tensor


def draw_batch(
    pictures: Sequence[Picture], size: int, rng: np.random.Generator, augment: Augmentation
) -> list[Canvas]:
    """`size` canvases of one size, from pictures drawn with replacement."""
    hw = augment.canvases_hw[rng.integers(len(augment.canvases_hw))]
    return [_draw(pictures, hw, rng, augment) for _ in range(size)]


def _draw(
    pictures: Sequence[Picture],
    hw: tuple[int, int],
    rng: np.random.Generator,
    augment: Augmentation,
) -> Canvas:
    odds = np.asarray(augment.grids) / sum(augment.grids)
    grid = 1 + int(rng.choice(3, p=odds))
    image = torch.full((3, *hw), GREY, dtype=torch.uint8)
    people, ignored, unsure = [], [], []
    for top, bottom in pairwise(_cuts(hw[0], grid, rng)):
        for left, right in pairwise(_cuts(hw[1], grid, rng)):
            picture = pictures[int(rng.integers(len(pictures)))]
            view, boxes, kept = _view(picture, (bottom - top, right - left), rng, augment)
            image[:, top:bottom, left:right] = view
            boxes = boxes + np.array([left, top, left, top], np.float32)
            people.append(boxes[kept])
            ignored.append(boxes[~kept])
            if not picture.complete:
                unsure.append([left, top, right, bottom])
    return Canvas(
        image=_recolour(image, rng, augment.colour),
        people_px=torch.from_numpy(np.concatenate(people)),
        ignored_px=torch.from_numpy(np.concatenate(ignored)),
        unsure_px=torch.tensor(unsure, dtype=torch.float32).reshape(-1, 4),
    )


def _cuts(length: int, parts: int, rng: np.random.Generator) -> list[int]:
    """Edges of `parts` uneven cells along one side."""
    inner = [(i + rng.uniform(-0.25, 0.25)) * length / parts for i in range(1, parts)]
    return [0, *(round(edge) for edge in inner), length]


def _view(
    picture: Picture, hw: tuple[int, int], rng: np.random.Generator, augment: Augmentation
) -> tuple[Tensor, Floats, npt.NDArray[np.bool_]]:
    """A zoomed, shifted, maybe mirrored view (3, h, w) of a picture, its boxes, which to teach."""
    source_hw = np.array(picture.image.shape[:2])
    stretch = np.exp(rng.uniform(-1, 1) * np.log(picture.stretch) / 2)
    shape = np.array([1 / stretch, stretch])  # of a pixel of the picture: (y, x)
    cover = float((np.array(hw) / (source_hw * shape)).max())
    zoom = shape * cover * float(np.exp(rng.uniform(*np.log(augment.zoom))))
    window = np.array(hw) / zoom
    targets = picture.boxes_px if rng.random() >= augment.anywhere else picture.boxes_px[:0]
    corner = _corner(targets, window, source_hw, rng)
    view = _cut_out(picture.image, corner, window, hw)
    boxes = np.concatenate([picture.boxes_px, picture.ignored_px])
    boxes = ((boxes - corner[[1, 0, 1, 0]]) * zoom[[1, 0, 1, 0]]).astype(np.float32)
    if rng.random() < 0.5:
        view = view.flip(2)
        boxes = boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        boxes += np.array([hw[1], 0, hw[1], 0], np.float32)
    limit = np.array([hw[1], hw[0], hw[1], hw[0]], np.float32)
    inside = np.clip(boxes, 0, limit)
    share = area(inside) / np.maximum(area(boxes), 1e-6)
    taught = np.arange(len(boxes)) < len(picture.boxes_px)
    narrow = (inside[:, 2:] - inside[:, :2]).min(1) < augment.min_side_px
    touched = share > 0
    return view, inside[touched], (taught & (share >= augment.visible) & ~narrow)[touched]


def _corner(
    boxes: Floats, window: npt.NDArray[np.float64], source_hw: Floats, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Top and left of a window inside the picture (or around it), on somebody if possible."""
    slack = source_hw - window
    low, high = np.minimum(slack, 0), np.maximum(slack, 0)
    if len(boxes):
        x1, y1, x2, y2 = boxes[rng.integers(len(boxes))]
        centre = np.array([y1 + y2, x1 + x2], np.float64) / 2
        centred_low = np.clip(centre - 0.85 * window, low, high)
        high = np.clip(centre - 0.15 * window, low, high)
        low = centred_low
    return rng.uniform(low, high)


def _cut_out(
    image: Image,
    corner: npt.NDArray[np.float64],
    window: npt.NDArray[np.float64],
    hw: tuple[int, int],
) -> Tensor:
    """The window of the image, resized to `hw` (3, h, w), grey where it leaves the image."""
    zoom = np.array(hw) / window
    start = np.clip(np.floor(corner), 0, None).astype(int)
    stop = np.minimum(np.ceil(corner + window).astype(int), image.shape[:2])
    part = torch.from_numpy(image[start[0] : stop[0], start[1] : stop[1]]).permute(2, 0, 1)[None]
    size = [max(1, round(float(side))) for side in (stop - start) * zoom]
    part = F.interpolate(part, size, mode="bilinear", antialias=True)[0]
    out = torch.full((3, *hw), GREY, dtype=torch.uint8)
    to = np.round((start - corner) * zoom).astype(int)
    skip, to = np.maximum(-to, 0), np.maximum(to, 0)
    part = part[:, skip[0] : skip[0] + hw[0] - to[0], skip[1] : skip[1] + hw[1] - to[1]]
    out[:, to[0] : to[0] + part.shape[1], to[1] : to[1] + part.shape[2]] = part
    return out


def _recolour(image: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Jitter of brightness, contrast, saturation and white balance, as one 3×3 matrix."""
    luma = np.tile(np.array([0.299, 0.587, 0.114]), (3, 1))
    saturation = 0.0 if rng.random() < 0.1 * strength else 1 + strength * rng.uniform(-0.5, 0.5)
    matrix = saturation * np.eye(3) + (1 - saturation) * luma
    gains = (1 + strength * rng.uniform(-0.3, 0.3)) * (1 + strength * rng.uniform(-0.1, 0.1, 3))
    matrix = np.diag(gains) @ matrix
    centre = image.float().mean((1, 2), keepdim=True)
    offset = 255 * strength * rng.uniform(-0.15, 0.15)
    # Contrast turns about the picture's own mean, so that it does not also darken.
    mixed = torch.einsum("ij,jhw->ihw", torch.from_numpy(matrix).float(), image.float() - centre)
    return (mixed + centre + offset).clamp(0, 255).to(torch.uint8)
