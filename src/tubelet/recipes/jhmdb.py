"""Recipes on JHMDB-21: one person per clip does one of 21 actions (Jhuang et al. 2013)."""

from __future__ import annotations

from tubelet.data.sources import VideoSource
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.models.backbones.descriptors import DescriptorsConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.testing.config import Test
from tubelet.testing.views import Views
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage
from tubelet.types import InputSpec

LABELS = LabelSpace.of(
    (
        "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour",
        "pullup", "push", "run", "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand",
        "swing_baseball", "throw", "walk", "wave",
    ),
    exclusive=True,
)  # fmt: skip


def _source(split: str, annotations: str, cache_short_side: int) -> VideoSource:
    return VideoSource(
        name=f"jhmdb21_{split}_split1",
        videos="jhmdb21/videos",
        annotations=f"jhmdb21/annotations/{annotations}",
        labels="jhmdb21/annotations/label_map.pbtxt",
        exclusive=True,
        cache_short_side=cache_short_side,
    )


def jhmdb21_small() -> Recipe:
    """Descriptors under the person's box and of the scene, two layers: split 1, train only.

    With 660 clips a network from scratch overfits; fixed gradients and flow do not. What they are,
    the length of the clip and the hidden layer were chosen by cross-validation over the sources of
    the training clips (see `docs/experiments.md`). A clip is tested as it is and mirrored.
    """
    return Recipe(
        name="jhmdb21_small",
        summary="gradient, flow and colour descriptors, person and scene grids, JHMDB-21 split 1",
        model=ActionModelConfig(
            backbone=DescriptorsConfig(extended=True, root=True, scale=False),
            head=GridHeadConfig(
                resolution=4, scene=2, hidden=256, standardise=True, dropout=0.6
            ),
            input=InputSpec(
                frames=20,
                stride=2,
                fps=30.0,
                short_side=96,
                mean=(0.0, 0.0, 0.0),
                std=(1.0, 1.0, 1.0),
            ),
            labels=LABELS,
        ),
        stages=(
            Stage(
                name="train",
                data=_source("train", "jhmdb21_train_split1.csv", 120),
                steps=250,
                batch=32,
                optimizer=Optimizer(rate=2e-3, weight_decay=0.1),
                schedule=CosineSchedule(warmup=0.05),
                loss=ActionLoss(label_smoothing=0.1),
                augment=Augment(
                    scale=(0.9, 1.2), flip=0.5, aspect=0.1, speed=0.3, box_jitter=0.1,
                    brightness=0.2, contrast=0.2, saturation=0.3,
                ),
                ema=0.99,
                save_every=50,
            ),
        ),
        tests=(
            Test(
                data=_source("val", "jhmdb21_keyframes_val_split1.csv", 96),
                views=Views(flip=True),
            ),
        ),
    )  # fmt: skip
