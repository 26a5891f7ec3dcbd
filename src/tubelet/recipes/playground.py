"""Recipes on the rendered world."""

from __future__ import annotations

from tubelet.data.sources import PlaygroundSource
from tubelet.media.transforms import Augment
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.playground.actions import LABELS
from tubelet.train.recipe import Optimizer, Recipe, Stage
from tubelet.train.schedules import CosineSchedule
from tubelet.types import InputSpec


def playground_small() -> Recipe:
    """A small SlowFast that names what the figures of the playground do."""
    return Recipe(
        name="playground_small",
        summary="SlowFast 4×6 (+8×3), one block a stage, on endless playground clips",
        model=ActionModelConfig(
            backbone=SlowFastConfig(
                blocks=(1, 1, 1, 1), width=32, alpha=2, beta_inv=4, fusion_kernel=5
            ),
            head=LinearHeadConfig(dropout=0.2),
            input=InputSpec(frames=8, stride=3, fps=25.0, short_side=96),
            labels=LABELS,
        ),
        stages=(
            Stage(
                name="train",
                data=PlaygroundSource(clips=100_000, vary=True),
                steps=1300,
                batch=16,
                optimizer=Optimizer(rate=2e-3, weight_decay=0.02),
                schedule=CosineSchedule(warmup=0.05),
                augment=Augment(flip=0.5, scale=(0.9, 1.15), brightness=0.2, box_jitter=0.05),
                ema=0.995,
                save_every=50,
            ),
        ),
        test=PlaygroundSource(clips=100, split="test"),
    )
