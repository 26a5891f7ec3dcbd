"""A recipe for somebody's own labels: a released model, fine-tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tubelet.checkpoints import read_header
from tubelet.config import decode
from tubelet.data.prepare import PreparedSet
from tubelet.data.sources import VideoSource
from tubelet.data.untrusted.reading import find_video
from tubelet.media.transforms import Augment
from tubelet.media.video import probe
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.releases.table import weights_path
from tubelet.testing.config import Test
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage, Start
from tubelet.types import CheckpointError

DEFAULT_START = "playground_small"
_MOST_BYTES = 2 << 30
_AUGMENT = Augment(scale=(0.9, 1.15), flip=0.5, brightness=0.2, box_jitter=0.05)


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

    Everything of the model is taken over but the last layer, which learns the new classes; a model
    that classified whole videos gets the linear head. `exclusive`: whether a person does exactly
    one of the classes at a time. Films are kept in memory at the model's size where all of them
    fit in 2 GiB.
    """
    weights = weights_path(start)
    model = _model_for(prepared, start, weights, exclusive=exclusive)
    side = round(model.input.short_side * _AUGMENT.scale[1])
    kept = side if _bytes_of(prepared, side) <= _MOST_BYTES else None
    # Releases keep their name; a file is found from wherever the recipe is run.
    named = str(weights.resolve()) if Path(start).exists() else start
    return Recipe(
        name=name,
        summary=f"{start} fine-tuned on {len(prepared.train_videos)} videos, "
        f"{len(model.labels)} classes",
        model=model,
        stages=(
            Stage(
                name="finetune",
                data=_source(prepared, prepared.train, name, kept, exclusive=exclusive),
                steps=steps,
                batch=batch,
                start=Start(weights=named, required=("backbone.*",)),
                optimizer=Optimizer(rate=1e-3, weight_decay=0.02),
                schedule=CosineSchedule(warmup=0.05),
                augment=_AUGMENT,
                ema=0.99,
                save_every=50,
            ),
        ),
        tests=(Test(data=_source(prepared, prepared.val, name, None, exclusive=exclusive)),),
    )


def _model_for(
    prepared: PreparedSet, start: str, weights: Path, *, exclusive: bool
) -> ActionModelConfig:
    header = read_header(weights)
    if "model" not in header:
        raise CheckpointError("this weights file holds no action model", where=start)
    config = decode(ActionModelConfig, header["model"], where=start)
    if config.head.task == "classification":
        config = replace(
            config, head=LinearHeadConfig(), input=replace(config.input, crop=None, multiple=1)
        )
    return replace(config, labels=replace(prepared.space, exclusive=exclusive))


def _bytes_of(prepared: PreparedSet, side: int) -> int:
    """What the films for training take as decoded frames of that short side."""
    total = 0
    for name in prepared.train_videos:
        path = find_video(prepared.videos, name)
        if path is not None:
            info = probe(path)
            frames = (info.duration_ms or 0) / 1000 * info.fps
            total += round(frames * 3 * side * side * max(info.hw) / min(info.hw))
    return total


def _source(
    prepared: PreparedSet, annotations: Path, name: str, kept: int | None, *, exclusive: bool
) -> VideoSource:
    return VideoSource(
        name=f"{name}_{annotations.stem}",
        videos=str(prepared.videos.resolve()),
        annotations=str(annotations.resolve()),
        labels=str(prepared.labels.resolve()),
        exclusive=exclusive,
        cache_short_side=kept,
    )
