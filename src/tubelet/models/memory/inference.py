"""Classification of a whole video with collaborative memory (004 §4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from tubelet.errors import ConfigError, ShapeError
from tubelet.models.detector import ActionModel
from tubelet.models.memory.collaborative import CollaborativeMemory


@torch.inference_mode()
def video_memory(model: ActionModel, clips: Iterable[Tensor]) -> Tensor:
    """The memory `(1, D, D)` (average pooling: `(1, 1, D)`) of a video, from its clips.

    `clips`: batches u8 `(b, 3, T, H, W)`; one batch is held at a time, whatever their number. The
    paper takes the ten spatially central crops. Raises ConfigError for a model without
    collaborative memory, ShapeError for no clip.
    """
    memory = _memory_of(model)
    total: Tensor | None = None
    count = 0
    for frames in clips:
        pushed = memory.push(model.features(frames))
        total = pushed.sum(0, keepdim=True) + (0 if total is None else total)
        count += len(pushed)
    if total is None:
        raise ShapeError("a video's memory needs at least one clip")
    return total / count


@torch.inference_mode()
def video_scores(
    model: ActionModel,
    views: Iterable[Tensor],
    memory: Tensor,
    *,
    join: Literal["mean", "max"] = "mean",
) -> Tensor:
    """Mean (or greatest) probabilities `(K,)` of a video's views (batches u8 `(b, 3, T, H, W)`),
    all infused with one `memory` as `video_memory` makes it: the ten centre crops' serves all
    thirty views."""
    module = _memory_of(model)
    found = []
    for frames in views:
        maps = module.infuse(model.features(frames), memory.expand(len(frames), -1, -1))
        found.append(model.scores(model.classify(model.pool(maps))))
    if not found:
        raise ShapeError("a video needs at least one view")
    scores = torch.cat(found)
    return scores.amax(dim=0) if join == "max" else scores.mean(dim=0)


def _memory_of(model: ActionModel) -> CollaborativeMemory:
    if model.memory is None:
        raise ConfigError(
            "this model has no collaborative memory", expected="memory=CollaborativeMemoryConfig(…)"
        )
    return model.memory
