"""RoIAlign in plain torch, exact to detectron2's kernel with `sampling_ratio=0`.

RoIAlign is separable: the average of bilinear samples in bin (p, q) is `Ay[p] · F · Ax[q]`, so one
matrix product of the interpolation weights with the flattened map pools every box. The weights are
built in fp32 (box arithmetic in bf16 moves samples by pixels) and cast to the map's type.

Shape legend: B clips, C channels, H×W cells, R boxes, P bins per side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tubelet.batch import FeatureMap, Rois

_LARGE = 16  # maps: boxes beyond that size are pooled from their first samples only


def _axis_weights(start: Tensor, length: Tensor, bins: int, cells: int, samples: int) -> Tensor:
    """Interpolation weights `(R, bins, cells)` along one axis, averaged over each bin's samples.

    Each box takes `ceil(length / bins)` samples per bin (`sampling_ratio=0`); `samples` is the
    largest such count of the call. A sample outside (−1, cells) counts as zero, one between the
    border and the outermost cell centre takes that cell: the kernel's rules.
    """
    count = torch.ceil(length / bins)
    step = torch.arange(samples, device=start.device, dtype=torch.float32)
    bin_index = torch.arange(bins, device=start.device, dtype=torch.float32)
    size = length / bins
    inner = (step[None] + 0.5) * (size / count.clamp(min=1))[:, None]
    at = start[:, None, None] + bin_index[None, :, None] * size[:, None, None] + inner[:, None, :]
    inside = (at >= -1) & (at <= cells) & (step < count[:, None])[:, None, :]
    at = at.clamp(0, cells - 1)
    grid = torch.arange(cells, device=start.device, dtype=torch.float32)
    # A hat function around the sample is its bilinear weight on every cell.
    hat = (1 - (grid - at[..., None]).abs()).clamp(min=0)
    weights = (hat * inside[..., None]).sum(2)
    return weights / count.clamp(min=1)[:, None, None]


def _samples_a_bin(extent: Tensor, bins: int, *, most: int) -> int:
    """Samples per bin of the largest of boxes `extent (R, 2)`, at least 1.

    Traced and meta tensors have no values to ask, so they take `most`: the surplus samples have
    weight zero and the result is the same. They are exact for boxes that stay within the map; the
    bound of `_LARGE` times as many elsewhere is for boxes that are far too large to be people's.
    """
    if torch.compiler.is_compiling() or extent.is_meta:
        return most
    if len(extent) == 0:
        return 1
    return int(torch.ceil(extent.max() / bins).clamp(1, _LARGE * most).item())


def roi_align(
    features: Tensor,
    boxes_px: Tensor,
    clip: Tensor,
    *,
    size: int,
    stride: float,
    aligned: bool = True,
) -> Tensor:
    """Pool `features (B, C, H, W)` under `boxes_px (R, 4)` of clips `clip (R,)` → `(R, C, P, P)`.

    `stride` is clip pixels per cell. `aligned=True` shifts by half a cell (detectron2's
    ROIAlignV2); `aligned=False` is the older form, which also widens every box to at least one
    cell.
    """
    _, channels, height, width = features.shape
    cells = boxes_px.float() / stride - (0.5 if aligned else 0.0)
    extent = cells[:, 2:] - cells[:, :2]
    extent = extent.clamp(min=0) if aligned else extent.clamp(min=1)
    samples = _samples_a_bin(extent, size, most=max(height, width) + 2)
    ax = _axis_weights(cells[:, 0], extent[:, 0], size, width, samples)
    ay = _axis_weights(cells[:, 1], extent[:, 1], size, height, samples)
    weights = (ay[:, :, None, :, None] * ax[:, None, :, None, :]).flatten(1, 2).flatten(2)
    weights = weights.to(features.dtype)
    flat = features.flatten(2).transpose(1, 2)
    if features.shape[0] == 1:  # len() would fix the number when a model is exported
        pooled = (weights.flatten(0, 1) @ flat[0]).view(-1, size * size, channels)
    elif torch.compiler.is_compiling() or clip.is_meta:
        pooled = torch.bmm(weights, flat[clip])
    else:
        pooled = _pool_by_clip(weights, flat, clip.tolist())
    return pooled.transpose(1, 2).reshape(-1, channels, size, size)


def _pool_by_clip(weights: Tensor, flat: Tensor, clips: list[int]) -> Tensor:
    """`weights (R, P², H·W)` times the cells `flat (B, H·W, C)` of each box's clip: `(R, P², C)`.

    One matrix product a clip, which reads its map in place: gathering a map for every box costs
    more than the products.
    """
    order = sorted(range(len(clips)), key=clips.__getitem__)
    in_order = order == list(range(len(clips)))
    by_clip = weights if in_order else weights[order]
    counts = [clips.count(clip) for clip in range(len(flat))]
    parts = zip(torch.split(by_clip, counts), flat, strict=True)
    pooled = torch.cat([w.flatten(0, 1) @ cells for w, cells in parts])
    pooled = pooled.view(len(clips), weights.shape[1], flat.shape[2])
    if in_order:
        return pooled
    return pooled[torch.tensor(order, device=pooled.device).argsort()]


def over_time(values: Tensor, how: str) -> Tensor:
    """`(B, C, T, H, W)` → `(B, C, H, W)`, by "mean" or "max" over the frames."""
    return values.amax(dim=2) if how == "max" else values.mean(dim=2)


def enlarge_boxes(boxes_px: Tensor, share: tuple[float, float], size: Tensor) -> Tensor:
    """Boxes `(R, 4)` grown by `share` of their width and height on either side, then clipped to
    pictures of `size` (width, height) pixels, `(R, 2)` or `(2,)`. AlphAction's arithmetic, which
    UMT and VideoMAE's detectors inherit: a box has one pixel more than its corners' distance, the
    last pixel is size − 1."""
    low, high = boxes_px.float().split(2, dim=1)
    grow = (high - low + 1) * boxes_px.new_tensor(share, dtype=torch.float32)
    last = size.float() - 1
    zero = torch.zeros_like(last)
    return torch.cat([(low - grow).clamp(zero, last), (high + grow).clamp(zero, last)], dim=1)


def pool_people(
    maps: Sequence[FeatureMap],
    rois: Rois,
    *,
    size: int,
    aligned: bool,
    time: str = "mean",
    enlarge: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Mean or max over `time` → RoIAlign → max over space, the maps' channels concatenated:
    `(R, C)`. `enlarge`: what each box grows by first, as in `enlarge_boxes`."""
    pooled = []
    for m in maps:
        boxes, (height, width) = rois.boxes_px, m.values.shape[3:]
        if max(enlarge) > 0:
            picture = rois.picture_px
            if picture is None:
                picture = boxes.new_tensor([width * m.space_stride, height * m.space_stride])
            boxes = enlarge_boxes(boxes, enlarge, picture)
        crops = roi_align(
            over_time(m.values, time),
            boxes,
            rois.clip,
            size=size,
            stride=m.space_stride,
            aligned=aligned,
        )
        pooled.append(crops.amax(dim=(2, 3)))
    return torch.cat(pooled, dim=1)
