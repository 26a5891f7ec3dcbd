"""What every network behind `person_small` answers: a score and a box for each cell of a pyramid.

Shape legend: B images, (h, w) cells of one level, A cells of all levels together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

STRIDES = (8, 16, 32)
LOG_SIDE_MAX = 5.0  # exp(5) = 148 cells: larger than any input, small enough never to overflow
PRIOR = 0.01  # of a person in a cell, before training: else background fills the first steps' loss


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseBoxes:
    """The network's output for every cell: `logits (B, A)`, `boxes_px (B, A, 4)` xyxy,
    `centres_px (A, 2)`; all float32 whatever the precision of the convolutions."""

    logits: Tensor
    boxes_px: Tensor
    centres_px: Tensor


def decode_levels(levels: Iterable[Tensor]) -> DenseBoxes:
    """Raw cells `(B, 5, h, w)` of strides 8, 16 and 32 → DenseBoxes.

    Channel 0 is the logit; 1…4 are logs of the distances, in cells, from the cell's centre to the
    left, upper, right and lower side (FCOS, Tian et al., ICCV 2019, §3.1).
    """
    parts = [_decode(cells.float(), stride) for cells, stride in zip(levels, STRIDES, strict=True)]
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
