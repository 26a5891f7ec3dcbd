"""A recipe for custom labels: a released model, fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from tubelet.checkpoints import read_header
from tubelet.config import decode
from tubelet.data.prepare import PreparedSet
from tubelet.data.sources import VideoSource
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import CheckpointError, InputError
from tubelet.media.frames import open_film
from tubelet.media.transforms import Augment
from tubelet.models.backbones.base import Layers
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.relabel import common_classes, replace_labels
from tubelet.models.weights import load_model, save_model
from tubelet.releases.table import weights_path
from tubelet.testing.config import Test
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.model.norms import Norms
from tubelet.train.recipe import Recipe, Stage, Start

DEFAULT_START = "playground_small"
_MOST_BYTES = 2 << 30
_AUGMENT = Augment(scale=(0.9, 1.15), flip=0.5, brightness=0.2, box_jitter=0.05)


SUGGESTED_STARTS = {
    "AVA's 80 actions": "ptv-slowfast-8x8-r50-ava22",
    "Kinetics-400": "ptv-slowfast-8x8-r50-k400",
}
"""Published checkpoints to start from, small enough to try, by what they were trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a start of one kind learns new labels."""

    rate: float
    weight_decay: float
    batch: int
    norms: Norms = field(default_factory=Norms)


# Descriptors are cheap and their head learns from nothing. What was trained on hundreds of hours is
# moved gently, with the statistics it came with: a few clips would estimate worse ones.
_TUNING: Mapping[Layers, Tuning] = {
    "descriptors": Tuning(rate=1e-3, weight_decay=0.02, batch=16),
    "convolutions": Tuning(rate=2e-4, weight_decay=0.02, batch=8, norms=Norms(mode="frozen")),
    "attention": Tuning(rate=3e-5, weight_decay=0.05, batch=4),
}


def tuning(model: ActionModelConfig) -> Tuning:
    """The learning rate, weight decay, batch and norms for a start with this model."""
    return _TUNING[model.backbone.made_of]


def own_labels(
    prepared: PreparedSet,
    *,
    name: str,
    start: str = DEFAULT_START,
    steps: int = 300,
    batch: int | None = None,
    exclusive: bool = False,
) -> Recipe:
    """Fine-tune `start` (a release, or a weights file) on a prepared set, and test on its val part.

    The start gives the clip's frames and size, and chooses learning rate, batch and norms.
    All of the model but the last layer is reused, which learns the new classes; classes of the
    same name in the start begin with its rows, in a weights file beside the
    label map. A model that classified whole videos, or an encoder of the hub (`hf:ID`), gets the
    linear head. `exclusive`: whether a person does exactly one of the classes at a time. Films are
    kept in memory at the model's size where all of them fit in 2 GiB.
    """
    if exclusive and len(prepared.space) < 2:
        raise InputError(
            f"{prepared.space.names[0]!r} is the only class, and classes would exclude one another",
            where=prepared.labels,
            expected="two classes or more: of one alone the score is always 1",
            hint="let several hold, and label people without the action too, as boxes alone",
            arguments=("exclusive",),
        )
    weights = weights_path(start)
    model = _model_for(prepared, start, weights, exclusive=exclusive)
    known = _with_known_classes(prepared, weights, model)
    side = round(model.input.short_side * _AUGMENT.scale[1])
    kept = side if _bytes_of(prepared, side) <= _MOST_BYTES else None
    tuned = tuning(model)
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
                batch=batch or tuned.batch,
                start=Start(
                    weights=named if known is None else str(known.resolve()),
                    required=("backbone.*",) if known is None else ("*",),
                ),
                optimizer=Optimizer(rate=tuned.rate, weight_decay=tuned.weight_decay),
                schedule=CosineSchedule(warmup=0.05),
                norms=tuned.norms,
                augment=_AUGMENT,
                ema=0.99,
                save_every=50,
            ),
        ),
        tests=(Test(data=_source(prepared, prepared.val, name, None, exclusive=exclusive)),),
    )


def known_classes(recipe: Recipe, start: str) -> tuple[str, ...]:
    """Classes of the recipe that its start knows by the same name, and so begins with."""
    config = _config_of(weights_path(start), start)
    if config.head != recipe.model.head:
        return ()
    return common_classes(config.labels, recipe.model.labels)


def _model_for(
    prepared: PreparedSet, start: str, weights: Path, *, exclusive: bool
) -> ActionModelConfig:
    config = _config_of(weights, start)
    if not config.head.label_layers:  # an encoder of the hub knows no classes
        config = replace(config, head=LinearHeadConfig())
    if config.head.task == "classification":
        config = replace(
            config,
            backbone=config.backbone.dense(),
            head=LinearHeadConfig(),
            input=replace(config.input, crop=None, multiple=1),
        )
    return replace(config, labels=replace(prepared.space, exclusive=exclusive))


def _config_of(weights: Path, where: str) -> ActionModelConfig:
    header = read_header(weights)
    if "model" not in header:
        raise CheckpointError("not an action model's weights file", where=where)
    return decode(ActionModelConfig, header["model"], where=where)


def _with_known_classes(
    prepared: PreparedSet, weights: Path, model: ActionModelConfig
) -> Path | None:
    """A file of the start with the rows of the classes that it knows by the same name, and fresh
    ones for the others; None where it knows none, or judged whole videos."""
    start = _config_of(weights, str(weights))
    if start.head != model.head or not common_classes(start.labels, model.labels):
        return None
    torch.manual_seed(0)  # the fresh rows: the same set prepared twice is the same file
    changed, report = replace_labels(load_model(weights), model.labels, keep_known=True)
    path = prepared.labels.with_name("start.safetensors")
    facts = {"start": weights.name, "classes kept": list(report.known)}
    save_model(path, changed, provenance=facts)
    return path


def _bytes_of(prepared: PreparedSet, side: int) -> int:
    """What the films for training take as decoded frames of that short side."""
    total = 0
    for name in prepared.train_videos:
        path = find_video(prepared.videos, name)
        if path is not None:
            with open_film(path, fps=prepared.frame_rate, threads=1) as film:
                info = film.info
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
        frame_rate=prepared.frame_rate,
    )
