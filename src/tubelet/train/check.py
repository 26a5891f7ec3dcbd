"""What can be found wrong with a recipe before it runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tubelet.errors import ConfigError, InputError
from tubelet.models.detector import ActionModelConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.releases.table import weights_path
from tubelet.testing.config import Test
from tubelet.testing.run_test import check_test
from tubelet.train.data.loader import draws_a_step
from tubelet.train.data.mixture import Part
from tubelet.train.model.norms import freeze
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.run_context import RunContext

_BANKS = (None, "build", "empty")


def check(recipe: Recipe, context: RunContext) -> None:
    """Raise ConfigError or InputError for what would stop a later stage, or the test, after hours.

    Models are built without memory for their weights; of the data only the test's is opened.
    """
    for index, stage in enumerate(recipe.stages):
        config = recipe.model_at(index)
        for reason in _wrong(stage, config, context):
            raise ConfigError(f"stage {stage.name!r} of {recipe.name!r}: {reason}")
        _check_files(stage, context)
        with torch.device("meta"):
            models = [
                c.build() for c in (config, *(p.model for p in stage.mixture.parts if p.model))
            ]
        freeze(models, stage.trainable, stage.norms)
        for test in recipe.tests_of(index):
            _check_test(test, stage, context)


def _check_test(test: Test, stage: Stage, context: RunContext) -> None:
    """Everything that a test of `stage`'s model reads is there, and fits."""
    known = [part.data.name for part in stage.mixture.parts]
    if test.part is not None and test.part not in known:
        raise ConfigError(
            f"test {test.name!r} names a dataset that stage {stage.name!r} does not train on",
            expected=f"one of {', '.join(known)}",
            got=test.part,
        )
    check_test(test, test.data.build(context.root))
    for more in (test.bank_data, test.training):
        if more is not None:
            more.build(context.root)


def _wrong(stage: Stage, config: ActionModelConfig, context: RunContext) -> Iterator[str]:
    """Each impossible setting, as a sentence."""
    memory, together = config.memory, stage.clips_of_a_video(config)
    collaborative = isinstance(memory, CollaborativeMemoryConfig)
    names = [name for part in stage.mixture.parts for name in part.dataset_names()]
    if len(set(names)) < len(names):
        yield f"duplicate dataset name: {', '.join(sorted(names))}"
    share = stage.accumulate * context.world.size
    if draws_a_step(stage.batch, together) % share:
        yield (
            f"its batch of {stage.batch} does not divide among {context.world.size} processes and "
            f"{stage.accumulate} minibatches of {together} clips per video"
        )
    if stage.norms.clips is not None and together > 1:
        yield "with several clips per video, norms already count clips of different videos only"
    if stage.collaborative.mode == "multi_iteration" and not collaborative:
        yield "multi-iteration requires a model with collaborative memory"
    if stage.collaborative.video_weight and together == 1:
        yield (
            "the video-level loss requires several clips per video: that of a single clip is its "
            "own loss, counted twice; set video_weight to 0"
        )
    yield from _wrong_norms(stage, context)
    for part in stage.mixture.parts:
        yield from _wrong_part(stage, part, part.model or config, together)


def _wrong_norms(stage: Stage, context: RunContext) -> Iterator[str]:
    if stage.norms.mode != "synced":
        return
    if context.device.type != "cuda" or context.world.size == 1:
        yield "synchronised norms need several processes on CUDA devices"
    if context.world.size % (stage.norms.processes or context.world.size):
        yield f"{context.world.size} processes do not divide into groups of {stage.norms.processes}"
    if stage.norms.clips is not None or stage.ema:
        yield "synchronised norms cannot be combined with norms.clips or a weight average"
    if any(part.model is not None for part in stage.mixture.parts):
        yield "synchronised norms cannot be shared by several models"


def _wrong_part(
    stage: Stage, part: Part, config: ActionModelConfig, together: int
) -> Iterator[str]:
    classifies = config.head.task == "classification"
    banked = isinstance(config.memory, MemoryBankConfig) and stage.bank != "empty"
    augment = part.augment or stage.augment
    whole = part.data.labelled != "people"
    if part.data.hidden:
        yield f"the labels of {part.data.name!r} are not public: nothing can be learnt from them"
    if whole and not classifies:
        yield f"{part.data.name!r} labels whole videos, but the model's head classifies people"
    if whole and banked:
        yield f"{part.data.name!r} has one moment per video: set bank to empty"
    if not classifies and stage.collaborative.video_weight:
        yield "the video-level loss requires classification, where a video has one label"
    if augment is not None and augment.mosaic and (banked or classifies or together > 1):
        yield "mosaics require detection without memory: four videos have no common past"


def _check_files(stage: Stage, context: RunContext) -> None:
    start = stage.start.weights
    if start is not None and not (context.root / start).is_file():
        weights_path(start)
    if stage.bank not in _BANKS and not (context.root / stage.bank).is_dir():
        raise InputError(
            f"missing memory bank of stage {stage.name!r}",
            where=context.root / stage.bank,
            hint='set bank to "build", or state the data folder',
            arguments=("root",),
        )
