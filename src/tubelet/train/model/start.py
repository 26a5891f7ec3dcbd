"""The models of a stage: what they start from, and what remains of them when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tubelet.data.dataset import ClipDataset
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError
from tubelet.models.detector import ActionModel
from tubelet.train.model.norms import freeze, set_norms
from tubelet.train.model.sharding import shard, whole
from tubelet.train.model.tied import TiedModels
from tubelet.train.model.transfer import read_weights, transfer
from tubelet.train.recipe import Recipe, Stage, Start
from tubelet.train.run_context import RunContext


def start_model(
    recipe: Recipe,
    index: int,
    before: TiedModels | None,
    context: RunContext,
    *,
    resumed: bool,
) -> ActionModel:
    """The model that stage `index` starts from, filled as its `start` says; reports what was
    loaded, dropped and new. Where the stage is `resumed`, a checkpoint fills it later."""
    if resumed:
        return recipe.model_at(index).build()
    stage, previous = recipe.stages[index], None if before is None else before.main
    config = stage.model or (recipe.model if previous is None else previous.config)
    if previous is not None and config == previous.config and stage.start == Start():
        return previous
    torch.manual_seed(recipe.seed + index)
    model = config.build()
    start = stage.start
    state: Mapping[str, Tensor]
    where: object
    if start.weights is not None:
        state, where = read_weights(start.weights, context.root)
    elif previous is not None:
        state = previous.state_dict()
        where = f"the stage before, {recipe.stages[index - 1].name!r}"
    else:
        return model
    done = transfer(state, model, parts=start.parts, required=start.required, where=where)
    context.reporter.note(f"stage {stage.name!r} starts from {where}: {done}")
    return model


def prepare_models(
    stage: Stage, model: ActionModel, datasets: Sequence[ClipDataset], context: RunContext
) -> TiedModels:
    """`model` and those of datasets with other classes, tied, frozen, normalised, and on the device
    as the stage asks. `datasets`: those of the mixture's parts, whose classes the models take."""
    models = TiedModels.for_mixture(model, stage.mixture)
    freeze(list(models.by_dataset().values()), stage.trainable, stage.norms)
    total = sum(p.numel() for p in models.parameters())
    trained = sum(p.numel() for p in models.parameters() if p.requires_grad)
    if trained < total:
        context.reporter.note(f"stage {stage.name!r} trains {trained:,} of {total:,} parameters")
    models.main = set_norms(models.main, stage.norms, context.world, context.device)  # type: ignore[assignment]
    models.to(context.device)
    models.share()
    context.world.copy_from_first(models)
    if context.fsdp:
        shard(models, stage, context.world, context.device)
    else:
        models.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        models.share()
    for part, dataset in zip(stage.mixture.parts, datasets, strict=True):
        _agree(models.model_of(part.data.name), dataset)
    return models


def finished_models(stage: Stage, models: TiedModels, context: RunContext) -> TiedModels:
    """The same models as ordinary modules with whole parameters; collective where they were not."""
    if not context.fsdp and stage.norms.mode != "synced":
        return models
    state = whole(models.state_dict())
    others = {name: m.config for name, m in models.by_dataset().items() if name is not None}
    plain = TiedModels(models.main.config.build(), others).to(context.device)
    plain.share()
    plain.load_state_dict(state)
    return plain


def _agree(model: ActionModel, dataset: ClipDataset) -> None:
    """A model whose classes have no names takes the dataset's; otherwise they must be the same.
    Raises ConfigError for different classes, and for a head of another task."""
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
