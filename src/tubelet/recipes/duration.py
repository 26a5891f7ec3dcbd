"""How long a recipe will take to train here: timed on one clip, before anything is trained."""

from __future__ import annotations

from time import perf_counter

import torch

from tubelet.batch import Rois
from tubelet.errors import ConfigError
from tubelet.train.recipe import Recipe


def training_seconds(recipe: Recipe, *, device: torch.device) -> float:
    """Seconds that the steps of the recipe's first stage take on `device`, reading and decoding
    left out: one clip with one person forwards and backwards, the quickest of three, times the
    batch, times the steps. Of a batch it is an upper bound where clips together cost less. Raises
    ConfigError for a stage that counts epochs."""
    stage = recipe.stages[0]
    if stage.steps is None:
        raise ConfigError("a stage that counts epochs has no number of steps", where=stage.name)
    model = recipe.model.build().to(device).train()
    spec = stage.input or recipe.model.input
    clip = torch.zeros((1, 3, spec.frames, *stage.clip_hw(recipe.model)), dtype=torch.uint8)
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    scale = torch.tensor([clip.shape[4], clip.shape[3]] * 2)
    rois = Rois(boxes_px=box * scale, boxes_norm=box, clip=torch.zeros(1, dtype=torch.int64))
    frames, person = clip.to(device), rois.to(device)
    took = float("inf")
    for _ in range(3):
        begun = perf_counter()
        model(frames, person).float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = min(took, perf_counter() - begun)
    return took * stage.batch * stage.steps


def in_words(seconds: float) -> str:
    """Such as "under a minute", "about 12 minutes", "about 3.5 hours"."""
    if seconds < 60:
        return "under a minute"
    if seconds < 90 * 60:
        return f"about {max(1, round(seconds / 60))} minutes"
    return f"about {seconds / 3600:.1f} hours"
