"""One stage of a recipe, from configuration to a trained family of models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tubelet.config import encode
from tubelet.data.dataset import ClipDataset
from tubelet.data.whole import WholeVideoDataset
from tubelet.files import write_text
from tubelet.models.detector import ActionModel
from tubelet.models.memory.online import LearningBank
from tubelet.parallel.processes import World
from tubelet.train.assemble import clips_together, learner_of, learning_banks, stream_of
from tubelet.train.check import names_in
from tubelet.train.context import Running
from tubelet.train.data.loader import Share, Step, Stream, draws_a_step, steps_of
from tubelet.train.learning.learners import Learner, MixtureLearner
from tubelet.train.loop.fit import Progress, Surroundings, average_of, fit
from tubelet.train.loop.reporters import JsonLines, Reporter, Reporters, Silent
from tubelet.train.loop.saving import Checkpoints
from tubelet.train.loop.state import TrainState
from tubelet.train.loop.throughput import clip_load
from tubelet.train.model.activations import recomputed
from tubelet.train.model.norms import freeze, learnt_statistics, set_norms, train_mode
from tubelet.train.model.sharding import load_whole, shard, whole
from tubelet.train.model.tied import Family
from tubelet.train.model.transfer import read_weights, transfer
from tubelet.train.recipe import Recipe, Stage, Start
from tubelet.types import ConfigError, Ints, Key


def begin(recipe: Recipe, index: int, before: ActionModel | None, running: Running) -> ActionModel:
    """The model that stage `index` starts from, filled as its `start` says; reports what was
    loaded, dropped and new."""
    stage = recipe.stages[index]
    config = stage.model or (recipe.model if before is None else before.config)
    if before is not None and config == before.config and stage.start == Start():
        return before
    torch.manual_seed(recipe.seed + index)
    model = config.build()
    start = stage.start
    state: Mapping[str, Tensor]
    where: object
    if start.weights is not None:
        state, where = read_weights(start.weights, running.root)
    elif before is not None:
        state = before.state_dict()
        where = f"the stage before, {recipe.stages[index - 1].name!r}"
    else:
        return model
    done = transfer(state, model, parts=start.parts, required=start.required, where=where)
    running.reporter.note(f"stage {stage.name!r} starts from {where}: {done}")
    return model


def train_stage(
    recipe: Recipe, index: int, model: ActionModel, running: Running, state: TrainState | None
) -> Family:
    """Train stage `index` from its beginning, or from `state`; the family that came out of it."""
    stage = recipe.stages[index]
    parts = stage.mixture.parts
    datasets = [part.data.build(running.root) for part in parts]
    torch.manual_seed(recipe.seed + index)  # the heads of other datasets are drawn here
    family = _family(stage, model, running)
    for part, dataset in zip(parts, datasets, strict=True):
        _agree(family.model_of(part.data.name), dataset)
    sizes = np.array([len(dataset) for dataset in datasets], np.int64)
    progress = _progress(stage, family, int(sizes.sum()), running)
    if state is not None:
        _restore(progress, state)
        running.reporter.note(f"stage {stage.name!r} continues at step {progress.step}")
    learners: list[Learner] = []
    of_dataset: dict[str, Learner] = {}
    for part, dataset in zip(parts, datasets, strict=True):
        model_of_part = family.model_of(part.data.name)
        learner = learner_of(model_of_part, stage, dataset, progress.step, recipe, running)
        learners.append(learner)
        of_dataset |= dict.fromkeys(names_in(part.data), learner)
    banks = learning_banks(learners, progress.step)
    seed = recipe.seed * 1000 + index
    streams = [
        stream_of(family.model_of(part.data.name), stage, part, dataset, seed=seed + 7919 * number)
        for number, (part, dataset) in enumerate(zip(parts, datasets, strict=True))
    ]
    train_mode(family, stage.norms)
    with _prepared(stage, family), running.stop.watched():
        fit(
            progress,
            _minibatches(stage, streams, sizes, progress, running.world, seed=seed),
            stage,
            learner=MixtureLearner(learners=of_dataset),
            seed=seed,
            around=_surroundings(recipe, index, progress, banks, running),
        )
    if progress.average is not None:
        family.load_state_dict(progress.average.module.state_dict())
    if running.fsdp or stage.norms.mode == "synced":
        return _plain(family, running.device)
    return family


def _plain(family: Family, device: torch.device) -> Family:
    """The same models of ordinary modules and whole parameters; collective."""
    state = whole(family.state_dict())
    others = {name: m.config for name, m in family.models().items() if name is not None}
    plain = Family(family.main.config.build(), others).to(device)
    plain.share()
    plain.load_state_dict(state)
    return plain


def _progress(stage: Stage, family: Family, samples: int, running: Running) -> Progress:
    draws = draws_a_step(stage.batch, clips_together(family.main.config, stage))
    return Progress(
        family=family,
        optimizer=stage.optimizer.build(family, batch=stage.batch),
        scaler=torch.amp.GradScaler(running.device.type, enabled=stage.precision == "fp16"),
        average=average_of(family, stage.ema) if stage.ema else None,
        steps=stage.steps or ceil((stage.epochs or 0) * samples / draws),
    )


def _minibatches(
    stage: Stage,
    streams: Sequence[Stream],
    sizes: Ints,
    progress: Progress,
    world: World,
    *,
    seed: int,
) -> Iterator[Step]:
    return steps_of(
        streams,
        stage.mixture.order(sizes, progress.steps, seed=seed),
        batch=stage.batch,
        start=progress.step,
        share=Share(accumulate=stage.accumulate, rank=world.rank, processes=world.size),
        workers=stage.workers,
    )


def _family(stage: Stage, model: ActionModel, running: Running) -> Family:
    family = Family.of(model, stage.mixture)
    freeze(list(family.models().values()), stage.trainable)
    total = sum(p.numel() for p in family.parameters())
    trained = sum(p.numel() for p in family.parameters() if p.requires_grad)
    if trained < total:
        running.reporter.note(f"stage {stage.name!r} trains {trained:,} of {total:,} parameters")
    family.main = set_norms(family.main, stage.norms, running.world, running.device)  # type: ignore[assignment]
    family.to(running.device)
    family.share()
    running.world.copy_from_first(family)
    if running.fsdp:
        shard(family, stage, running.world, running.device)
    else:
        family.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
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
                stack.callback(setattr, model.backbone, "_compiled_call_impl", None)
        yield


def _surroundings(
    recipe: Recipe,
    index: int,
    progress: Progress,
    banks: Sequence[LearningBank],
    running: Running,
) -> Surroundings:
    stage, world = recipe.stages[index], running.world
    checkpoints = Checkpoints(running.out, keep=stage.keep)
    listeners: Reporter = Silent()
    if world.first:
        log = JsonLines(running.out / f"{stage.name}.jsonl", keep_steps=progress.step)
        listeners = Reporters([running.reporter, log])
    statistics = learnt_statistics(progress.family)

    def save() -> None:
        world.average_buffers(progress.family, statistics)
        if progress.average is not None:
            world.average_buffers(progress.average.module, statistics)
        for bank in banks:
            bank.mark(progress.step)
        state = _capture(recipe, index, progress)
        if world.first:
            checkpoints.save(state)
        world.wait()
        for bank in banks:
            bank.settle(progress.step)

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
        model=whole(progress.family.state_dict()),
        optimizer=whole(progress.optimizer.state_dict()),
        average=None if progress.average is None else progress.average.state_dict(),
        scaler=progress.scaler.state_dict(),
    )


def _restore(progress: Progress, state: TrainState) -> None:
    load_whole(progress.family, progress.optimizer, state.model, state.optimizer)
    progress.scaler.load_state_dict(state.scaler)
    if progress.average is not None and state.average is not None:
        progress.average.load_state_dict(state.average)
    progress.step = state.step


def _agree(model: ActionModel, dataset: ClipDataset) -> None:
    """A model whose classes have no names takes the dataset's; otherwise they must be the same.
    Raises ConfigError for other classes, and for a head of another task."""
    if isinstance(dataset, WholeVideoDataset) != (model.task == "classification"):
        raise ConfigError(
            f"the model is for {model.task}, but {dataset.name!r} is not",
            hint="give the stage a model with another head",
        )
    if model.labels.is_nameless and len(model.labels) == len(dataset.labels):
        model.config = replace(model.config, labels=dataset.labels)
    if dataset.labels.ids != model.labels.ids or dataset.labels.names != model.labels.names:
        raise ConfigError(
            f"the classes of {dataset.name!r} are not the model's",
            expected=", ".join(model.labels.names[:6]),
            got=", ".join(dataset.labels.names[:6]),
            hint="in a mixture, give this part a model of its own",
        )
