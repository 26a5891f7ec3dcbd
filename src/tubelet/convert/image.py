"""A video transformer that starts from an image model (Arnab et al. 2021, §3.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.convert.families.vivit import TIMM, central_frame, joint_positions
from tubelet.convert.rules import account, rename
from tubelet.errors import CheckpointError
from tubelet.models.backbones.vivit import ViViT, resize_positions


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStart:
    """`filled`: tensors that came from the image model; `left`: those that kept their own
    initialisation (the temporal encoder has no counterpart); `dropped`: source name → reason."""

    filled: tuple[str, ...]
    left: tuple[str, ...]
    dropped: dict[str, str]


def start_from_image(backbone: ViViT, state: Mapping[str, Tensor]) -> ImageStart:
    """Fill `backbone` from a 2-D vision transformer in timm's naming, in place.

    Patch filters go to the central frame of each tubelet, so that a static clip embeds as its
    image does; position embeddings are resized to the backbone's grid. Raises CheckpointError
    unless every other tensor fits. timm's models use the exact GELU: `ViViTConfig(gelu="none")`.
    """
    if "patch_embed.proj.weight" not in state or "pos_embed" not in state:
        raise CheckpointError(
            "not a vision transformer in timm's naming",
            expected="patch_embed.proj.weight, pos_embed, blocks.0.norm1.weight, …",
            got=", ".join(list(state)[:5]),
        )
    config = backbone.config
    renamed = rename(state, TIMM)
    tensors = renamed.state
    tensors["embed.weight"] = central_frame(tensors["embed.weight"], config.tubelet[0])
    side = math.isqrt(tensors["position"].shape[1] - 1)
    steps, *grid = config.positions
    position = resize_positions(tensors["position"], (side, side), tuple(grid))
    tensors["position"] = joint_positions(position, steps) if backbone.joint else position
    own = backbone.state_dict()
    left = tuple(name for name in own if name.startswith("time_"))
    account(renamed, {n: tuple(t.shape) for n, t in own.items() if n not in left})
    with torch.no_grad():
        backbone.load_state_dict(tensors, strict=False)
    return ImageStart(filled=tuple(tensors), left=left, dropped=renamed.dropped)
