"""The upstream projects' reference networks: their deterministic fill, and ours beside them."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from tubelet.batch import Rois
from tubelet.convert import Converted
from tubelet.models.backbones.vit import ViT, sinusoid
from tubelet.models.detector import ActionModel

TOLERANCE = 1e-4


def fill(name: str, shape: list[int]) -> Tensor:
    """The reference's own recipe ("gs"): every draw depends on the original name alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if "num_batches_tracked" in name:
        return torch.zeros((), dtype=torch.int64)
    if "running_var" in name:
        return 0.5 + torch.rand(shape, generator=generator)
    if "running_mean" in name or name.endswith("bias"):
        return 0.1 * torch.randn(shape, generator=generator)
    if len(shape) == 1 and name.endswith(".weight"):
        return 0.5 * (0.5 + torch.rand(shape, generator=generator))
    fan_in = math.prod(shape[1:])
    return torch.randn(shape, generator=generator) * math.sqrt(1 / fan_in)


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: fill(name, shape) for name, shape in shapes.items()}


def build(converted: Converted) -> ActionModel:
    """The converted model, whose own weights are never drawn: that would take longer than a run."""
    with torch.device("meta"):
        model = converted.config.build()
    model.load_state_dict(converted.state, assign=True)
    if isinstance(model.backbone, ViT) and model.backbone.position.is_meta:
        model.backbone.position = sinusoid(*model.backbone.position.shape[1:])
    return model.eval()


def logits_of(model: ActionModel, clip: Tensor, boxes: list[list[float]] | None) -> Tensor:
    """Logits from the normalised clip, position by position for classifiers."""
    with torch.inference_mode():
        maps = model.backbone(clip)
        if boxes is None:
            return model.head(model.pool(maps))  # type: ignore[no-any-return]
        rows = torch.tensor(boxes)
        rois = Rois(
            boxes_px=rows[:, 1:], boxes_norm=torch.zeros(len(rows), 4), clip=rows[:, 0].long()
        )
        return model.head(model.pool(maps, rois))  # type: ignore[no-any-return]


def relative_error(ours: Tensor, truth: npt.NDArray[Any]) -> float:
    ours_flat, true_flat = ours.double().flatten(), torch.from_numpy(truth).flatten()
    assert ours_flat.shape == true_flat.shape
    return float((ours_flat - true_flat).norm() / true_flat.norm())
