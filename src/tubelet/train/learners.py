"""How one batch becomes gradients: alone, with a memory bank, or together with its video's clips.

The loop knows only `backward`; which learner a stage uses is decided once, in `train.run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from tubelet.batch import Batch
from tubelet.models.detector import ActionModel
from tubelet.models.memory.bank import BankReader, memory_of
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import OnlineBank
from tubelet.train.collaborative import (
    CollaborativeTraining,
    LogitLoss,
    batch_reduction,
    multi_iteration,
    with_video_loss,
)
from tubelet.train.losses import ActionLoss
from tubelet.types import ConfigError, TrainingError

Precision = Literal["fp32", "bf16"]


class Learner(Protocol):
    """One way of learning from a batch."""

    def backward(self, batch: Batch) -> Tensor:
        """Add the gradients of this batch's loss to the parameters; returns the loss, detached.
        A loss that is not finite leaves the gradients alone."""
        ...


@dataclass(slots=True, kw_only=True)
class PlainLearner:
    """Each clip by itself."""

    model: ActionModel
    loss: ActionLoss
    precision: Precision = "fp32"

    def backward(self, batch: Batch) -> Tensor:
        with _autocast(batch, self.precision):
            logits = self.model(batch.frames, batch.rois)
        return _finish(loss_of(self.model, self.loss, batch)(logits))


@dataclass(slots=True, kw_only=True)
class CollaborativeLearner:
    """The clips of a group share their collaborative memory (004 §3.3)."""

    model: ActionModel
    loss: ActionLoss
    training: CollaborativeTraining = field(default_factory=CollaborativeTraining)
    precision: Precision = "fp32"

    def backward(self, batch: Batch) -> Tensor:
        loss = loss_of(self.model, self.loss, batch, video_weight=self.training.video_weight)
        batched = self.training.mode == "batch_reduction"
        step = batch_reduction if batched else multi_iteration
        with _autocast(batch, self.precision):
            return step(self.model, batch, loss)


@dataclass(slots=True, kw_only=True)
class BankLearner:
    """Each clip with what a memory bank knows of the rest of its video (000 §2.3).

    With an OnlineBank the people of every clip are written to it as they are seen; until a moment
    has been seen it is empty. Any other bank is only read.
    """

    model: ActionModel
    loss: ActionLoss
    bank: BankReader
    precision: Precision = "fp32"

    def backward(self, batch: Batch) -> Tensor:
        window = self.model.config.memory
        if not isinstance(window, MemoryBankConfig):
            raise ConfigError(
                "this model has no memory bank", expected="memory=MemoryBankConfig(…)", got=window
            )
        memory = memory_of(
            self.bank,
            batch.keys,
            before_ms=window.before_ms,
            after_ms=window.after_ms,
            people=window.people,
        ).to(batch.frames.device)
        with _autocast(batch, self.precision):
            people = self.model.pool(self.model.features(batch.frames), batch.rois)
            logits = self.model.classify(people, batch.rois, memory)
        if isinstance(self.bank, OnlineBank):
            self._remember(self.bank, batch, people)
        return _finish(loss_of(self.model, self.loss, batch)(logits))

    def _remember(self, bank: OnlineBank, batch: Batch, people: Tensor) -> None:
        boxes = batch.rois.boxes_norm
        for index, key in enumerate(batch.keys):
            rows = (batch.rois.clip == index).nonzero()[:, 0]
            scores = torch.ones(len(rows), device=rows.device)  # training boxes are the truth
            bank.write(key, people[rows], boxes[rows], scores)


def loss_of(
    model: ActionModel, loss: ActionLoss, batch: Batch, *, video_weight: float = 0.0
) -> LogitLoss:
    """The batch's loss as a function of its logits. Raises TrainingError without labels, and
    ConfigError for a video-level loss in detection, where a video's clips have other people."""
    if video_weight and model.task == "detection":
        raise ConfigError(
            "the video-level loss is for classification, where a video has one label",
            hint="set video_weight to 0",
        )
    if batch.targets is None:
        raise TrainingError("a training batch has no labels", where=", ".join(map(str, batch.keys)))
    exclusive = model.labels.exclusive

    def clip_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        return loss(logits, targets, known, exclusive=exclusive)

    return with_video_loss(clip_loss, batch, weight=video_weight)


def _finish(loss: Tensor) -> Tensor:
    if torch.isfinite(loss):
        loss.backward()
    return loss.detach()


@contextmanager
def _autocast(batch: Batch, precision: Precision) -> Iterator[None]:
    with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield
