"""A model on the meta device: the shapes of what it would compute, without computing."""

from __future__ import annotations

from dataclasses import replace

import torch

from tubelet.batch import Rois
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.numerics.layers import LayerCall, layer_calls


def meta_twin(config: ActionModelConfig) -> ActionModel:
    """The model of `config` without values, in eval mode; its modules have the model's names."""
    with torch.device("meta"):
        return config.build().eval()


def one_person() -> Rois:
    """One box in one clip, on the meta device."""
    with torch.device("meta"):
        return Rois(
            boxes_px=torch.zeros(1, 4),
            boxes_norm=torch.zeros(1, 4),
            clip=torch.zeros(1, dtype=torch.int64),
        )


def calls_of(config: ActionModelConfig, clips_shape: tuple[int, ...]) -> dict[str, LayerCall]:
    """The layers that the model calls on clips u8 of `clips_shape` (B, 3, T, H, W), one person in
    each."""
    twin = meta_twin(config)
    clip = torch.zeros((1, *clips_shape[1:]), dtype=torch.uint8, device="meta")
    calls = layer_calls(twin, lambda: twin(clip, one_person()))
    # Which people are in which of several clips cannot be known on the meta device; every layer
    # has the clips, or what they were folded into, on its first axis.
    batch = clips_shape[0]
    return {
        name: replace(call, input_shape=(call.input_shape[0] * batch, *call.input_shape[1:]))
        for name, call in calls.items()
    }
