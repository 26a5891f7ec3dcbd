"""A recipe for somebody's own labels: a released model, fine-tuned."""

from __future__ import annotations

from dataclasses import replace

from tubelet.checkpoints import read_header
from tubelet.config import decode
from tubelet.data.prepare import PreparedSet
from tubelet.data.sources import VideoSource
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModelConfig
from tubelet.train.optim import Optimizer
from tubelet.train.recipe import Recipe, Stage, Start, Test
from tubelet.train.schedules import CosineSchedule
from tubelet.types import CheckpointError
from tubelet.zoo import weights_path

DEFAULT_START = "playground_small"


def own_labels(
    prepared: PreparedSet,
    *,
    name: str,
    start: str = DEFAULT_START,
    steps: int = 300,
    batch: int = 16,
    exclusive: bool = False,
) -> Recipe:
    """Fine-tune `start` (a release, or a weights file) on a prepared set, and test on its val part.

    Everything of the model is taken over but the last layer, which learns the new classes.
    `exclusive`: whether a person does exactly one of them at a time. Films are kept in memory at
    the model's size; for more than they fit, set `stages.0.data.cache_short_side=null`.
    """
    header = read_header(weights_path(start))
    if "model" not in header:
        raise CheckpointError("this weights file holds no action model", where=start)
    config = decode(ActionModelConfig, header["model"], where=start)
    space = replace(prepared.space, exclusive=exclusive)
    model = replace(config, labels=space)
    side = model.input.short_side
    train, val = (
        VideoSource(
            name=f"{name}_{path.stem}",
            videos=str(prepared.videos.resolve()),
            annotations=str(path.resolve()),
            labels=str(prepared.labels.resolve()),
            exclusive=exclusive,
            cache_short_side=short_side,
        )
        for path, short_side in ((prepared.train, round(side * 1.15)), (prepared.val, side))
    )
    return Recipe(
        name=name,
        summary=f"{start} fine-tuned on {len(prepared.train_videos)} videos, {len(space)} classes",
        model=model,
        stages=(
            Stage(
                name="finetune",
                data=train,
                steps=steps,
                batch=batch,
                start=Start(weights=start, required=("backbone.*",)),
                optimizer=Optimizer(rate=1e-3, weight_decay=0.02),
                schedule=CosineSchedule(warmup=0.05),
                augment=Augment(scale=(0.9, 1.15), flip=0.5, brightness=0.2, box_jitter=0.05),
                ema=0.99,
                save_every=50,
            ),
        ),
        tests=(Test(data=val),),
    )
