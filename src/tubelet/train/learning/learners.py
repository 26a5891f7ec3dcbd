"""How one batch becomes gradients: alone, with a memory bank, or together with its video's clips.

The loop knows only `backward`; which learner a stage uses is decided once, in `choose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from tubelet.batch import Batch
from tubelet.errors import ConfigError
from tubelet.models.detector import ActionModel
from tubelet.models.memory.bank import BankReader, memory_of
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import OnlineBank, Seen, SharedBank
from tubelet.numerics.choices import Precision
from tubelet.numerics.precision import autocast
from tubelet.train.learning.batch_loss import loss_of
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.learning.multi_clip import (
    CollaborativeTraining,
    batch_reduction,
    multi_iteration,
)
from tubelet.train.model.norms import batch_norms, clip_groups, normalised_by


class Learner(Protocol):
    """One way of learning from a batch."""

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        """Add the gradients of `scale` times this batch's loss to the parameters; returns the loss
        itself, detached. Where that is not finite the gradients are of no use: stop there."""
        ...

    def exact(self) -> Learner:
        """The same in fp32, to compare with: it leaves no trace but gradients and the statistics
        of batch norms."""
        ...


@dataclass(slots=True, kw_only=True)
class PlainLearner:
    """Each clip by itself."""

    model: ActionModel
    loss: ActionLoss
    precision: Precision = "fp32"
    norm_clips: int | None = None

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        with _grouped(self.model, batch, self.norm_clips):
            with autocast(batch.frames.device, self.precision):
                logits = self.model(batch.frames, batch.rois)
            return _finish(loss_of(self.model, self.loss, batch)(logits), scale)

    def exact(self) -> PlainLearner:
        return replace(self, precision="fp32")


@dataclass(slots=True, kw_only=True)
class CollaborativeLearner:
    """The clips of a group share their collaborative memory (004 §3.3)."""

    model: ActionModel
    loss: ActionLoss
    training: CollaborativeTraining = field(default_factory=CollaborativeTraining)
    precision: Precision = "fp32"

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        loss = loss_of(self.model, self.loss, batch, video_weight=self.training.video_weight)
        batched = self.training.mode == "batch_reduction"
        step = batch_reduction if batched else multi_iteration
        with autocast(batch.frames.device, self.precision):
            return step(self.model, batch, replace(loss, scale=scale)) / scale

    def exact(self) -> CollaborativeLearner:
        return replace(self, precision="fp32")


@dataclass(slots=True, kw_only=True)
class BankLearner:
    """Each clip with what a memory bank knows of the rest of its video (000 §2.3).

    An OnlineBank, or a SharedBank of several processes, learns the people of every clip as they are
    seen, unless `remembers` is off; until a moment has been seen it is empty. Any other bank is
    only read.
    """

    model: ActionModel
    loss: ActionLoss
    bank: BankReader
    precision: Precision = "fp32"
    norm_clips: int | None = None
    remembers: bool = True

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
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
        with _grouped(self.model, batch, self.norm_clips):
            with autocast(batch.frames.device, self.precision):
                people = self.model.pool(self.model.features(batch.frames), batch.rois)
                logits = self.model.classify(people, batch.rois, memory)
            if self.remembers and isinstance(self.bank, OnlineBank | SharedBank):
                self.bank.remember(_seen(batch, people))
            return _finish(loss_of(self.model, self.loss, batch)(logits), scale)

    def exact(self) -> BankLearner:
        return replace(self, precision="fp32", remembers=False)


def _seen(batch: Batch, people: Tensor) -> list[Seen]:
    """The batch's moments with their people's tokens `(R, S, C)`."""
    moments = []
    for index, key in enumerate(batch.keys):
        rows = (batch.rois.clip == index).nonzero()[:, 0]
        scores = torch.ones(len(rows))  # training boxes are the truth
        moments.append(Seen(key, people[rows].detach(), batch.rois.boxes_norm[rows], scores))
    return moments


@dataclass(slots=True, kw_only=True)
class MixtureLearner:
    """Each minibatch by the learner of the dataset that it comes from (002 §3.2)."""

    learners: Mapping[str, Learner]

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        return self.learners[batch.dataset[0]].backward(batch, scale=scale)

    def exact(self) -> MixtureLearner:
        return replace(self, learners={n: learner.exact() for n, learner in self.learners.items()})


def _finish(loss: Tensor, scale: float) -> Tensor:
    # Also where it is not finite: other processes wait for this one inside their backward pass.
    (loss * scale).backward()
    return loss.detach()


def _grouped(model: ActionModel, batch: Batch, clips: int | None) -> AbstractContextManager[None]:
    """Training norms take their statistics over groups of `clips`; let the backward pass be inside,
    so that recomputed activations are the same."""
    norms = [m for m in batch_norms(model.backbone) if m.training]
    return normalised_by(norms, clip_groups(len(batch), clips, batch.frames.device))
