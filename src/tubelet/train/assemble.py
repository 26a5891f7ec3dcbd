"""What each dataset of a stage needs to be learnt from: its stream of clips, and its learner."""

from __future__ import annotations

from collections.abc import Iterable

from tubelet.data.dataset import ClipDataset
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.models.memory.bank import BankReader, MemoryBank
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import LearningBank, OnlineBank, SharedBank
from tubelet.train.context import Running
from tubelet.train.data.groups import GroupStream
from tubelet.train.data.loader import SampleStream, Stream
from tubelet.train.data.mixture import Mixture, Part
from tubelet.train.learning.banks import bank_of, build_bank, online_bank, recipe_hash
from tubelet.train.learning.learners import BankLearner, CollaborativeLearner, Learner, PlainLearner
from tubelet.train.recipe import Recipe, Stage


def clips_together(config: ActionModelConfig, stage: Stage) -> int:
    """How many clips of a video are drawn at once."""
    memory = config.memory
    if isinstance(memory, CollaborativeMemoryConfig):
        return memory.clips
    return stage.collaborative.clips


def stream_of(
    model: ActionModel, stage: Stage, part: Part, dataset: ClipDataset, *, seed: int
) -> Stream:
    """Single clips, or N of each video where the model's memory is collaborative."""
    spec, memory = stage.input or model.input, model.config.memory
    clips = clips_together(model.config, stage)
    if part.model is not None:
        spec = model.input
    augment: Augment | None = part.augment or stage.augment
    if clips > 1 or isinstance(memory, CollaborativeMemoryConfig):
        return GroupStream(
            dataset=dataset,
            spec=spec,
            augment=augment,
            seed=seed,
            clips=clips,
            stride_ms=getattr(memory, "stride_ms", 1000),
            sampler=stage.sampler,
        )
    return SampleStream(
        dataset=dataset, spec=spec, augment=augment, seed=seed, sampler=stage.sampler
    )


def learner_of(
    model: ActionModel,
    stage: Stage,
    dataset: ClipDataset,
    start: int,
    recipe: Recipe,
    running: Running,
) -> Learner:
    """How the dataset's batches become gradients, as the model's memory demands."""
    memory = model.config.memory
    if isinstance(memory, CollaborativeMemoryConfig) or stage.collaborative.clips > 1:
        return CollaborativeLearner(
            model=model, loss=stage.loss, training=stage.collaborative, precision=stage.precision
        )
    if isinstance(memory, MemoryBankConfig) and stage.bank != "empty":
        bank = _bank(model, stage, dataset, start, recipe, running)
        return BankLearner(
            model=model,
            loss=stage.loss,
            bank=bank,
            precision=stage.precision,
            norm_clips=stage.norms.clips,
        )
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
    several = f"_{dataset.name}" if isinstance(stage.data, Mixture) else ""
    own, made_by = running.out / f"bank_{stage.name}{several}", recipe_hash(recipe)
    if stage.bank is None:
        return online_bank(model, dataset, own, recipe=made_by)
    if start:  # checked when the stage began; the model has moved on since
        return MemoryBank(own if stage.bank == "build" else running.root / stage.bank)
    if stage.bank == "build":
        if stage.bank_data is not None:
            dataset = stage.bank_data.build(running.root)
        return build_bank(model, dataset, own, recipe=made_by, device=running.device)
    return bank_of(model, running.root / stage.bank)


def learning_banks(learners: Iterable[Learner], step: int) -> list[LearningBank]:
    """The banks that these learners fill, put back to what they were after `step`."""
    found: list[LearningBank] = [
        learner.bank
        for learner in learners
        if isinstance(learner, BankLearner) and isinstance(learner.bank, OnlineBank | SharedBank)
    ]
    for bank in found:
        bank.restore(step)
    return found
