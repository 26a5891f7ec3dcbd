"""One stage of a recipe, from configuration to a trained family of models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch

from tubelet.config import encode
from tubelet.data.dataset import ClipDataset
from tubelet.files import write_text
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.models.memory.bank import BankReader, MemoryBank
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.train.activations import recomputed
from tubelet.train.banks import bank_of, build_bank, online_bank, recipe_hash
from tubelet.train.distributed import World
from tubelet.train.family import Family
from tubelet.train.groups import GroupStream
from tubelet.train.learners import (
    BankLearner,
    CollaborativeLearner,
    Learner,
    MixtureLearner,
    PlainLearner,
)
from tubelet.train.loader import SampleStream, Share, Stream, steps_of
from tubelet.train.loop import Progress, Surroundings, average_of, fit
from tubelet.train.mixture import Mixture, Part
from tubelet.train.norms import freeze, set_norms
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.reporting import JsonLines, Reporter, Reporters, Silent
from tubelet.train.saving import Checkpoints, StopFlag
from tubelet.train.state import TrainState
from tubelet.train.throughput import clip_load
from tubelet.train.transfer import read_weights, transfer
from tubelet.types import ConfigError, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where and how a recipe runs; nothing here changes what it computes.

    `root`: the data folder. `out`: the run's own folder. `stop`: raised when it is to end early.
    """

    root: Path
    out: Path
    device: torch.device
    reporter: Reporter
    world: World
    stop: StopFlag


def begin(recipe: Recipe, index: int, before: ActionModel | None, running: Running) -> ActionModel:
    """The model that stage `index` starts from, filled as its `start` says; reports what was
    loaded, dropped and new."""
    stage = recipe.stages[index]
    config = stage.model or (recipe.model if before is None else before.config)
    if before is not None and config == before.config and stage.start.weights is None:
        return before
    torch.manual_seed(recipe.seed + index)
    model = config.build()
    if stage.start.weights is not None:
        state, where = read_weights(stage.start.weights, running.root)
        done = transfer(
            state, model, parts=stage.start.parts, required=stage.start.required, where=where
        )
        running.reporter.note(f"stage {stage.name!r} starts from {where}: {done}")
    elif before is not None:
        done = transfer(
            before.state_dict(),
            model,
            parts=stage.start.parts,
            required=stage.start.required,
            where=f"stage {recipe.stages[index - 1].name!r}",
        )
        running.reporter.note(f"stage {stage.name!r} starts from the stage before: {done}")
    return model


def train_stage(
    recipe: Recipe, index: int, model: ActionModel, running: Running, state: TrainState | None
) -> Family:
    """Train stage `index` from its beginning, or from `state`; the family that came out of it."""
    stage, device = recipe.stages[index], running.device
    parts = _parts(stage)
    datasets = [part.data.build(running.root) for part in parts]
    family = _family(stage, model, running)
    for part, dataset in zip(parts, datasets, strict=True):
        _check_labels(family.model_of(part.data.name), dataset)
    sizes = np.array([len(dataset) for dataset in datasets], np.int64)
    progress = Progress(
        family=family,
        optimizer=stage.optimizer.build(family, batch=stage.batch),
        scaler=torch.amp.GradScaler(device.type, enabled=stage.precision == "fp16"),
        average=average_of(family, stage.ema) if stage.ema else None,
        steps=stage.steps or ceil((stage.epochs or 0) * int(sizes.sum()) / stage.batch),
    )
    if state is not None:
        _restore(progress, state)
        running.reporter.note(f"stage {stage.name!r} continues at step {progress.step}")
    running.world.copy_from_first(family)
    seed = recipe.seed * 1000 + index
    mixture = stage.data if isinstance(stage.data, Mixture) else Mixture(parts=parts)
    streams = [
        _stream(family.model_of(part.data.name), stage, part, dataset, seed=seed + 7919 * number)
        for number, (part, dataset) in enumerate(zip(parts, datasets, strict=True))
    ]
    minibatches = steps_of(
        streams,
        mixture.order(sizes, progress.steps, seed=seed),
        batch=stage.batch,
        start=progress.step,
        share=Share(
            accumulate=stage.accumulate, rank=running.world.rank, processes=running.world.size
        ),
        workers=stage.workers,
    )
    learner = MixtureLearner(
        learners={
            dataset.name: _learner(
                family.model_of(part.data.name), stage, dataset, progress.step, recipe, running
            )
            for part, dataset in zip(parts, datasets, strict=True)
        }
    )
    with _prepared(stage, family):
        fit(
            progress,
            minibatches,
            stage,
            learner=learner,
            seed=seed,
            around=_surroundings(recipe, index, progress, running),
        )
    if progress.average is not None:
        family.load_state_dict(progress.average.module.state_dict())
    return family


def _parts(stage: Stage) -> tuple[Part, ...]:
    return stage.data.parts if isinstance(stage.data, Mixture) else (Part(data=stage.data),)


def _family(stage: Stage, model: ActionModel, running: Running) -> Family:
    family = Family.of(model, stage.data)
    trained = freeze(family.main, stage.trainable)
    for other in list(family.others.children()):
        trained += freeze(other, stage.trainable)
    total = sum(p.numel() for p in family.parameters())
    if trained < total:
        running.reporter.note(f"stage {stage.name!r} trains {trained:,} of {total:,} parameters")
    family.main = set_norms(family.main, stage.norms, running.world, running.device)  # type: ignore[assignment]
    family.to(running.device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    family.share()
    return family


@contextmanager
def _prepared(stage: Stage, family: Family) -> Iterator[None]:
    """The backbones compiled and their activations recomputed, as the stage asks."""
    with ExitStack() as stack:
        for model in family.models().values():
            stack.enter_context(recomputed(model.backbone, on=stage.checkpointing))
            if stage.compile:
                model.backbone.compile()
        yield


def _stream(
    model: ActionModel, stage: Stage, part: Part, dataset: ClipDataset, *, seed: int
) -> Stream:
    """Single clips, or N of each video where the model's memory is collaborative."""
    spec, memory = stage.input or model.input, model.config.memory
    if part.model is not None:
        spec = model.input
    augment: Augment | None = part.augment or stage.augment
    if isinstance(memory, CollaborativeMemoryConfig):
        return GroupStream(
            dataset=dataset,
            spec=spec,
            augment=augment,
            seed=seed,
            clips=memory.clips,
            stride_ms=memory.stride_ms,
            sampler=stage.sampler,
        )
    return SampleStream(
        dataset=dataset, spec=spec, augment=augment, seed=seed, sampler=stage.sampler
    )


def _learner(
    model: ActionModel,
    stage: Stage,
    dataset: ClipDataset,
    start: int,
    recipe: Recipe,
    running: Running,
) -> Learner:
    """How the dataset's batches become gradients, as the model's memory demands."""
    memory = model.config.memory
    if isinstance(memory, CollaborativeMemoryConfig):
        if stage.norms.clips is not None:
            raise ConfigError(
                f"stage {stage.name!r}: with collaborative memory, norms already take their "
                "statistics over clips of different videos only",
                hint="leave norms.clips out",
            )
        return CollaborativeLearner(
            model=model, loss=stage.loss, training=stage.collaborative, precision=stage.precision
        )
    if isinstance(memory, MemoryBankConfig) and stage.bank != "empty":
        bank = _bank(model, stage, dataset, start, recipe, running)
        return BankLearner(model=model, loss=stage.loss, bank=bank, precision=stage.precision)
    return PlainLearner(
        model=model, loss=stage.loss, precision=stage.precision, norm_clips=stage.norms.clips
    )


def _bank(
    model: ActionModel,
    stage: Stage,
    dataset: ClipDataset,
    start: int,
    recipe: Recipe,
    running: Running,
) -> BankReader:
    own, made_by = running.out / f"bank_{stage.name}", recipe_hash(recipe)
    if stage.bank is None:
        return online_bank(model, dataset, own, recipe=made_by)
    if start:  # checked when the stage began; the model has moved on since
        return MemoryBank(own if stage.bank == "build" else running.root / stage.bank)
    if stage.bank == "build":
        return build_bank(model, dataset, own, recipe=made_by, device=running.device)
    return bank_of(model, running.root / stage.bank)


def _surroundings(recipe: Recipe, index: int, progress: Progress, running: Running) -> Surroundings:
    stage, world = recipe.stages[index], running.world
    checkpoints = Checkpoints(running.out, keep=stage.keep)
    listeners: Reporter = Silent()
    if world.first:
        log = JsonLines(running.out / f"{stage.name}.jsonl", keep_steps=progress.step)
        listeners = Reporters([running.reporter, log])

    def save() -> None:
        world.average_buffers(progress.family)
        if world.first:
            checkpoints.save(_capture(recipe, index, progress))
        world.wait()

    def alarm(step: int, keys: tuple[Key, ...]) -> None:
        where = running.out / f"not_a_number_{stage.name}_{step}_{world.rank}.json"
        clips = [{"video": k.video, "time_ms": k.time_ms} for k in keys]
        write_text(where, json.dumps({"stage": stage.name, "step": step, "clips": clips}) + "\n")

    return Surroundings(
        device=running.device,
        reporter=listeners,
        save=save,
        alarm=alarm,
        world=world,
        stop=running.stop,
        clip_load=clip_load(progress.family.main, stage, running.device),
    )


def _capture(recipe: Recipe, index: int, progress: Progress) -> TrainState:
    return TrainState(
        recipe=encode(recipe),
        stage=index,
        step=progress.step,
        model=progress.family.state_dict(),
        optimizer=progress.optimizer.state_dict(),
        average=None if progress.average is None else progress.average.state_dict(),
        scaler=progress.scaler.state_dict(),
    )


def _restore(progress: Progress, state: TrainState) -> None:
    progress.family.load_state_dict(state.model)
    progress.optimizer.load_state_dict(state.optimizer)
    progress.scaler.load_state_dict(state.scaler)
    if progress.average is not None and state.average is not None:
        progress.average.load_state_dict(state.average)
    progress.step = state.step


def _check_labels(model: ActionModel, dataset: ClipDataset) -> None:
    if dataset.labels.ids != model.labels.ids or dataset.labels.names != model.labels.names:
        raise ConfigError(
            f"the classes of {dataset.name!r} are not the model's",
            expected=", ".join(model.labels.names[:6]),
            got=", ".join(dataset.labels.names[:6]),
            hint="in a mixture, give this part a model of its own",
        )


def config_at(recipe: Recipe, index: int) -> ActionModelConfig:
    """The model that stage `index` trains."""
    given = [stage.model for stage in recipe.stages[: index + 1] if stage.model is not None]
    return given[-1] if given else recipe.model
