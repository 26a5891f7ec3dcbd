"""The loss of a whole batch, as a function of its logits.

Shape legend: B clips of V videos, R rows (people, or clips in classification), K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tubelet.batch import Batch
from tubelet.errors import ConfigError, TrainingError
from tubelet.models.detector import ActionModel
from tubelet.models.memory.collaborative import share
from tubelet.train.learning.losses import ActionLoss

LogitLoss = Callable[[Tensor], Tensor]
"""Logits `(R, K)` → scalar."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchLoss:
    """The mean loss of the rows + `video_weight` · the loss of each video's mean prediction (Eq. 1
    of 004, for classification), times `scale`. `group (B,)`: which clips are of one video.

    A video's label is the union over its clips: in Charades each window has labels of its own, and
    the mean prediction answers for all of them.
    """

    loss: ActionLoss
    exclusive: bool
    targets: Tensor
    known: Tensor
    group: Tensor
    video_weight: float = 0.0
    scale: float = 1.0

    def __call__(self, logits: Tensor) -> Tensor:
        """`logits (R, K)` → scalar."""
        rows = self.loss(logits, self.targets, self.known, exclusive=self.exclusive)
        if not self.video_weight:
            return rows * self.scale
        known = self.known.to(self.targets.dtype)
        videos = self.loss(
            video_logits(logits, self.group),
            _union(self.targets * known, self.group),
            _union(known, self.group) > 0,
            exclusive=self.exclusive,
        )
        return (rows + self.video_weight * videos) * self.scale


def loss_of(
    model: ActionModel, loss: ActionLoss, batch: Batch, *, video_weight: float = 0.0
) -> BatchLoss:
    """The batch's loss as a function of its logits. Raises TrainingError without labels, and
    ConfigError for a video-level loss in detection, where a video's clips have other people."""
    if video_weight and model.task == "detection":
        raise ConfigError(
            "the video-level loss requires classification, where a video has one label",
            hint="set video_weight to 0",
        )
    if batch.targets is None:
        raise TrainingError(
            "missing labels in a training batch", where=", ".join(map(str, batch.keys))
        )
    return BatchLoss(
        loss=loss,
        exclusive=model.labels.exclusive,
        targets=batch.targets,
        known=batch.known,
        group=batch.group,
        video_weight=video_weight,
    )


def video_logits(logits: Tensor, group: Tensor) -> Tensor:
    """Mean prediction of each video (H of Eq. 1), by number: `(B, K)` → `(V, K)`."""
    return share(logits, group)[_first_of(group)]


def _union(marks: Tensor, group: Tensor) -> Tensor:
    """Per video and class the largest of its clips' `marks`, by number: `(B, K)` → `(V, K)`."""
    _, number, count = torch.unique(group, return_inverse=True, return_counts=True)
    rows = number[:, None].expand_as(marks)
    return marks.new_zeros(len(count), marks.shape[1]).scatter_reduce(0, rows, marks, "amax")


def _first_of(group: Tensor) -> Tensor:
    """The first clip of each video, videos in order of number."""
    numbers = group.tolist()
    return torch.tensor([numbers.index(n) for n in sorted(set(numbers))], device=group.device)
