"""Recipes on the rendered world."""

from __future__ import annotations

from dataclasses import replace

from tubelet.media.transforms import Augment
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.playground.actions import LABELS
from tubelet.playground.sources import PlaygroundSource
from tubelet.playground.world import PlaygroundConfig
from tubelet.testing.config import Test
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage
from tubelet.types import InputSpec

_ARMS = ("hand wave", "raise hand", "hand clap", "point to (an object)")
_WORLD = PlaygroundConfig(height=128, width=170)
_INPUT = InputSpec(frames=8, stride=3, fps=25.0, short_side=128)


def playground_small() -> Recipe:
    """A small SlowFast that recognises what the playground's figures do.

    Most actions are learned on small pictures; the second stage shows larger ones, on which an
    arm is more than two pixels wide, and more of the actions that arms do.
    """
    augment = Augment(flip=0.5, scale=(0.9, 1.15), brightness=0.2, box_jitter=0.05)
    return Recipe(
        name="playground_small",
        summary="SlowFast 4×6 (+8×3), one block per stage, on endless playground clips",
        model=ActionModelConfig(
            backbone=SlowFastConfig(
                blocks=(1, 1, 1, 1), width=32, alpha=2, beta_inv=4, fusion_kernel=5
            ),
            head=LinearHeadConfig(dropout=0.2),
            input=_INPUT,
            labels=LABELS,
        ),
        stages=(
            Stage(
                name="small",
                data=PlaygroundSource(clips=100_000, vary=True),
                input=replace(_INPUT, short_side=96),
                steps=1300,
                batch=16,
                optimizer=Optimizer(rate=2e-3, weight_decay=0.02),
                schedule=CosineSchedule(warmup=0.05),
                augment=augment,
                ema=0.995,
                save_every=50,
            ),
            Stage(
                name="large",
                data=PlaygroundSource(world=_WORLD, clips=100_000, vary=True, seek=_ARMS),
                steps=500,
                batch=16,
                optimizer=Optimizer(rate=1e-3, weight_decay=0.02),
                schedule=CosineSchedule(warmup=0.05),
                augment=augment,
                ema=0.99,
                save_every=25,
            ),
        ),
        tests=(Test(data=PlaygroundSource(world=_WORLD, clips=100, split="test")),),
    )
