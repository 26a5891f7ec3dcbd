"""How a stage learns from each of its datasets, as its models' memory requires."""

from __future__ import annotations

from collections.abc import Sequence

from tubelet.data.dataset import ClipDataset
from tubelet.models.detector import ActionModel
from tubelet.models.memory.bank import BankReader, MemoryBank
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import LearningBank, OnlineBank, SharedBank
from tubelet.numerics.choices import Precision
from tubelet.numerics.precision import resolve
from tubelet.train.data.mixture import Mixture
from tubelet.train.learning.banks import bank_of, build_bank, online_bank
from tubelet.train.learning.learners import (
    BankLearner,
    CollaborativeLearner,
    Learner,
    MixtureLearner,
    PlainLearner,
)
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Stage
from tubelet.train.run_context import RunContext


def learner_of(
    stage: Stage,
    models: TiedModels,
    datasets: Sequence[ClipDataset],
    *,
    start: int,
    made_by: str,
    context: RunContext,
) -> tuple[MixtureLearner, list[LearningBank]]:
    """How the stage's minibatches become gradients, and the memory banks that this fills, put back
    to what they were after step `start`. `made_by`: the recipe's hash, for the banks' stamps."""
    precision = resolve(stage.precision, context.device)
    learners: dict[str, Learner] = {}
    banks: list[LearningBank] = []
    for part, dataset in zip(stage.mixture.parts, datasets, strict=True):
        model = models.model_of(part.data.name)
        bank = None
        if isinstance(model.config.memory, MemoryBankConfig) and _reads_bank(stage):
            bank = _bank(stage, model, dataset, start, made_by, context)
        if isinstance(bank, OnlineBank | SharedBank):
            bank.restore(start)
            banks.append(bank)
        learners |= dict.fromkeys(part.dataset_names(), _learner(stage, model, bank, precision))
    return MixtureLearner(learners=learners), banks


def _reads_bank(stage: Stage) -> bool:
    return stage.bank != "empty" and stage.collaborative.clips == 1


def _learner(
    stage: Stage, model: ActionModel, bank: BankReader | None, precision: Precision
) -> Learner:
    if stage.clips_of_a_video(model.config) > 1:
        return CollaborativeLearner(
            model=model, loss=stage.loss, training=stage.collaborative, precision=precision
        )
    if bank is not None:
        return BankLearner(
            model=model,
            loss=stage.loss,
            bank=bank,
            precision=precision,
            norm_clips=stage.norms.clips,
        )
    return PlainLearner(
        model=model, loss=stage.loss, precision=precision, norm_clips=stage.norms.clips
    )


def _bank(
    stage: Stage,
    model: ActionModel,
    dataset: ClipDataset,
    start: int,
    made_by: str,
    context: RunContext,
) -> BankReader:
    several = f"_{dataset.name}" if isinstance(stage.data, Mixture) else ""
    own = context.out / f"bank_{stage.name}{several}"
    if stage.bank is None:
        return online_bank(model, dataset, own, recipe=made_by)
    if start:  # checked when the stage began; the model has moved on since
        return MemoryBank(own if stage.bank == "build" else context.root / stage.bank)
    if stage.bank == "build":
        if stage.bank_data is not None:
            dataset = stage.bank_data.build(context.root)
        return build_bank(
            model,
            dataset,
            own,
            recipe=made_by,
            device=context.device,
            precision=stage.precision,
            note=context.reporter.note,
        )
    return bank_of(model, context.root / stage.bank)
