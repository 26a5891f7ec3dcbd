"""Protocols that several papers share: how Kinetics and AVA are trained on and tested.

Each says where it is written down (docs/papers.md names the papers by number). 001 is the AVA 2019
entry (SlowFast), 004 the collaborative memories, which train their backbones alike; what neither
prints is taken from PySlowFast's configurations of the same models, which both name as their
source, and marked as assumed (`recipes.notes`).
"""

from __future__ import annotations

from dataclasses import replace

from tubelet.data.sources import SourceConfig
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.models.create import model_config
from tubelet.models.detector import ActionModelConfig, MemoryConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.recipes import datasets
from tubelet.recipes.classes import AVA, KINETICS
from tubelet.testing.config import Test
from tubelet.testing.views import Views
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule, Schedule, StepSchedule
from tubelet.train.model.norms import Norms
from tubelet.train.recipe import Stage, Start

ONLY_BACKBONE = Start(parts=("backbone.*",))
CONSTANT = Norms(mode="constant")
EIGHT_CLIPS = Norms(clips=8)
TEN_BY_THREE = Views(moments=10, crops=3)
SCALES_AND_FLIP = Views(scales=(256, 288, 320), flip=True)


def classifier(name: str, labels: LabelSpace) -> ActionModelConfig:
    """A named model that classifies whole clips; tested on squares of 256 pixels."""
    return model_config(name, task="classification", labels=labels)


def detector(
    name: str, *, head: HeadConfig | None = None, memory: MemoryConfig | None = None
) -> ActionModelConfig:
    """A named model that detects which of AVA's 80 actions each person does."""
    return model_config(name, head=head, memory=memory, labels=AVA)


def sgd(rate: float, *, per_clips: int, weight_decay: float = 1e-4) -> Optimizer:
    """SGD with momentum 0.9; `rate` belongs to a batch of `per_clips` (linear scaling rule)."""
    return Optimizer(kind="sgd", rate=rate, per_clips=per_clips, weight_decay=weight_decay)


def jitter(low: int, high: int) -> Augment:
    """Short side between `low` and `high` pixels of a model that expects 256, a random square of
    224, mirrored half the time (001 §3)."""
    return Augment(scale=(low / 256, high / 256), crop=224, flip=0.5)


def ava_jitter(low: int, high: int) -> Augment:
    """`jitter` on AVA: "all other hyper-parameters are the same as in the Kinetics experiments"
    (001 §2), so the square lies anywhere. Whoever it shows a pixel of stays."""
    return replace(jitter(low, high), crop_at="anywhere", min_visible=0.0)


def schedule_of(epochs: float, *, warmup: float = 0.0, drops: tuple[float, ...] = ()) -> Schedule:
    """Epochs of warm-up, then a cosine; with `drops`, a tenth at each of these epochs instead."""
    if drops:
        shares = tuple(drop / epochs for drop in drops)
        return StepSchedule(milestones=shares, warmup=warmup / epochs, shares=True)
    return CosineSchedule(warmup=warmup / epochs)


def kinetics_stage(
    name: str,
    classes: datasets.Kinetics,
    *,
    model: str,
    batch: int = 64,
    long_clip: bool = False,
    start: Start | None = None,
) -> Stage:
    """Kinetics from scratch (001 §3, 004 B.1): a half-period cosine after 34 epochs of warm-up,
    statistics of 8 clips. 004's rates for a node of 64 clips are 001's for a batch of 1024,
    divided."""
    config = classifier(model, KINETICS[classes])
    deep = getattr(config.backbone, "depth", 50) > 50
    return Stage(
        name=name,
        data=datasets.kinetics(classes, "train"),
        model=config,
        start=start or Start(),
        epochs=196 if classes == 400 else 240,
        batch=batch,
        optimizer=sgd(0.1 if classes == 400 else 0.05, per_clips=64),
        schedule=schedule_of(196 if classes == 400 else 240, warmup=34),
        norms=EIGHT_CLIPS,
        augment=jitter(256, 360 if long_clip else 340 if deep else 320),
        clip_norm=None,
    )


def kinetics_test(classes: datasets.Kinetics) -> Test:
    """Ten clips of a video, three crops of each (001 §3, 004 §4.1)."""
    data = datasets.kinetics(classes, "val")
    return Test(name=f"k{classes}", data=data, metric="topk", views=TEN_BY_THREE)


def ava_test(
    *, version: str = "2.2", views: Views | None = None, data: SourceConfig | None = None
) -> Test:
    """AVA's validation films with the boxes that their detector scored 0.8 or more (001 §2)."""
    found = datasets.ava("val", version=version, boxes="proposals", threshold=0.8)
    return Test(name="ava", data=data or found, views=views or Views())
