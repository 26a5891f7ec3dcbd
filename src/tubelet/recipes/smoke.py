"""Any recipe in seconds: the same stages, parts, memory, views and tests on tiny rendered data.

What a recipe does stays; how much of it shrinks: one block per stage and a few channels, two
steps, clips of a few frames at 32 pixels, and the playground instead of films. A weights file to
start from is left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tubelet.data.sources import JoinedSource, SourceConfig
from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModelConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.playground.sources import (
    PlaygroundClipSource,
    PlaygroundSource,
    UnlabelledPlaygroundSource,
)
from tubelet.playground.world import PlaygroundConfig, label_space
from tubelet.recipes import recipe_named
from tubelet.testing.config import Test
from tubelet.testing.ensembles import run_ensemble
from tubelet.testing.outcome import Tested
from tubelet.train.data.mixture import Mixture
from tubelet.train.loop.schedules import Schedule, StepSchedule
from tubelet.train.recipe import Experiment, Recipe, Stage
from tubelet.train.reporters import Reporter, Silent
from tubelet.train.run import run
from tubelet.types import InputSpec

SIDE = 32
_STEPS, _CLIPS, _TEST_CLIPS = 2, 4, 1
_MOST_STEPS, _FRAMES = 64, 8


def run_smoke(
    experiment: Experiment, *, out: Path, reporter: Reporter | None = None
) -> tuple[Tested, ...]:
    """Train and test `experiment` shrunk, under `out`; of an ensemble its members first."""
    small = shrink(experiment)
    if isinstance(small, Recipe):
        return _run(small, out, reporter)
    for name in small.members:
        member = recipe_named(name)
        if isinstance(member, Recipe):
            _run(shrink_recipe(member), out / name, reporter)
    return run_ensemble(small, runs=out, out=out / small.name, root=out)


def _run(recipe: Recipe, out: Path, reporter: Reporter | None) -> tuple[Tested, ...]:
    cpu = torch.device("cpu")
    done = run(recipe, out=out, root=out, device=cpu, resume=False, reporter=reporter or Silent())
    return done.tests


def shrink(experiment: Experiment) -> Experiment:
    """The same recipe, tiny; of an ensemble, its first and last member."""
    if isinstance(experiment, Recipe):
        return shrink_recipe(experiment)
    two = slice(None, None, max(1, len(experiment.members) - 1))
    return replace(
        experiment,
        members=experiment.members[two],
        weights=experiment.weights[two],
        tests=tuple(_small_test(test, _seconds(1)) for test in experiment.tests),
    )


def shrink_recipe(recipe: Recipe) -> Recipe:
    """`recipe` with tiny models, data and stages."""
    clips = max(_clips_of(recipe.model_at(i)) for i in range(len(recipe.stages)))
    seconds = _seconds(clips)
    return replace(
        recipe,
        model=_small_model(recipe.model),
        stages=tuple(_small_stage(s, recipe, i, seconds) for i, s in enumerate(recipe.stages)),
        tests=tuple(_small_test(test, seconds) for test in recipe.tests),
    )


def _clips_of(config: ActionModelConfig) -> int:
    memory = config.memory
    return memory.clips if isinstance(memory, CollaborativeMemoryConfig) else 1


def _seconds(clips: int) -> float:
    """Of a rendered film, which is labelled each second: as many as collaborate, three at least."""
    return max(3, clips) + 0.5


def _small_stage(stage: Stage, recipe: Recipe, index: int, seconds: float) -> Stage:
    model = recipe.model_at(index)
    data: SourceConfig | Mixture
    steps = _STEPS
    if isinstance(stage.data, Mixture):
        data = _small_mixture(stage.data, seconds)
        steps = _steps_of_all(data, recipe.seed * 1000 + index)
    else:
        data = _small_source(stage.data, seconds, "train")
    clips = max(_clips_of(model), stage.collaborative.clips)
    return replace(
        stage,
        data=data,
        model=None if stage.model is None else _small_model(stage.model),
        start=replace(stage.start, weights=None) if stage.start.weights else stage.start,
        steps=steps,
        epochs=None,
        batch=2 * clips * stage.accumulate,
        schedule=_small_schedule(stage.schedule, stage.steps, steps),
        norms=replace(stage.norms, clips=2) if stage.norms.clips else stage.norms,
        input=None if stage.input is None else _small_input(stage.input, stage.input.frames),
        augment=_small_augment(stage.augment, model.input),
        bank_data=None
        if stage.bank_data is None
        else _small_source(stage.bank_data, seconds, "train"),
        precision="fp32",
        compile=False,
        workers=0,
    )


def _small_mixture(mixture: Mixture, seconds: float) -> Mixture:
    parts = tuple(
        replace(
            part,
            data=_small_source(part.data, seconds, "train"),
            model=None if part.model is None else _small_model(part.model),
            augment=None if part.augment is None else _small_augment(part.augment, None),
        )
        for part in mixture.parts
    )
    return replace(mixture, parts=parts)


def _steps_of_all(mixture: Mixture, seed: int) -> int:
    """As few steps as draw from every part."""

    sizes = np.array([len(part.data.build(Path())) for part in mixture.parts], np.int64)
    for steps in range(len(sizes), _MOST_STEPS):
        if len(np.unique(mixture.order(sizes, steps, seed=seed))) == len(sizes):
            return steps
    raise ConfigError("a part of the mixture is hardly ever drawn", got=str(sizes))


def _small_schedule(schedule: Schedule, steps: int | None, to: int) -> Schedule:
    """Milestones at the same shares of the training."""
    if not isinstance(schedule, StepSchedule) or schedule.shares or steps is None:
        return schedule
    shares = tuple(at / steps for at in schedule.milestones)
    return replace(
        schedule, milestones=tuple(s * to for s in shares), warmup=schedule.warmup / steps * to
    )


def _small_test(test: Test, seconds: float) -> Test:
    views = test.views
    smallest = min(views.scales, default=SIDE)
    return replace(
        test,
        data=_small_source(test.data, seconds, "test"),
        bank_data=None
        if test.bank_data is None
        else _small_source(test.bank_data, seconds, "test"),
        training=None if test.training is None else _small_source(test.training, seconds, "train"),
        views=replace(views, scales=tuple(_scaled(s, smallest) for s in views.scales)),
    )


def _scaled(pixels: int, of: int) -> int:
    return max(1, round(pixels * SIDE / of))


def _small_source(source: SourceConfig, seconds: float, split: str) -> SourceConfig:
    """Rendered clips under the same name; the parts of a joined set have clips of their own."""
    clips = _CLIPS if split == "train" else _TEST_CLIPS
    small = source.tiny(clips=clips, seconds=seconds)
    if small is not None:
        return small
    if source.joins():
        own = (split, "val")
        parts = [
            _rendered_people(part, clips, seconds, own[number])
            for number, part in enumerate(source.joins()[:2])
        ]
        return JoinedSource(name=source.name, parts=tuple(parts))
    if source.labelled == "people":
        return _rendered_people(source, clips, seconds, split)
    exclusive = source.labelled == "video"
    return PlaygroundClipSource(
        name=source.name,
        world=PlaygroundConfig(task="scene" if exclusive else "event").tiny(seconds),
        clips=max(2, clips) if exclusive else clips,  # a clip of one class is one sample only
        split=split,
        exclusive=exclusive,
        unlabelled=source.hidden,
    )


def _rendered_people(
    source: SourceConfig, clips: int, seconds: float, split: str
) -> PlaygroundSource | UnlabelledPlaygroundSource:
    """With a detector's people where the source has those, without labels where they are hidden."""
    world, name = PlaygroundConfig(task="scene").tiny(seconds), source.name
    if source.hidden:
        return UnlabelledPlaygroundSource(name=name, world=world, clips=clips, split=split)
    return PlaygroundSource(
        name=name,
        world=world,
        clips=clips,
        split=split,
        hold=True,
        boxes="detected" if source.detected else "truth",
    )


def _small_augment(augment: Augment | None, spec: InputSpec | None) -> Augment | None:
    """The crop in proportion to the picture."""
    if augment is None or augment.crop is None:
        return augment
    side = augment.crop if isinstance(augment.crop, int) else augment.crop[0]
    return replace(augment, crop=_scaled(side, spec.short_side if spec else side))


def _small_model(config: ActionModelConfig) -> ActionModelConfig:
    return replace(
        config,
        backbone=config.backbone.tiny(),
        head=config.head.tiny(),
        input=_small_input(config.input, min(_FRAMES, config.input.frames)),
        labels=_labels(config),
    )


def _labels(config: ActionModelConfig) -> LabelSpace:
    """Two classes that people share with their clip, or for Charades four that come and go; the
    playground's own stay, as its sources do."""
    if config.labels == label_space("atomic"):
        return config.labels
    if config.head.task == "detection":
        return label_space("scene")
    if config.labels.exclusive:
        return replace(label_space("scene"), exclusive=True)
    return label_space("event")


def _small_input(spec: InputSpec, frames: int) -> InputSpec:
    """32 pixels on the short side, the rest in proportion."""
    of = spec.short_side
    crop = spec.crop
    return replace(
        spec,
        frames=frames,
        stride=1,
        short_side=SIDE,
        long_side=None if spec.long_side is None else _scaled(spec.long_side, of),
        crop=None if crop is None else _scaled(crop if isinstance(crop, int) else crop[0], of),
    )
