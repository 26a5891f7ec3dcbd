"""ActionModel: a backbone, a head, and what they need to know about their input and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.answers import Answers
from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.errors import ConfigError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.heads.base import HeadConfig, Task
from tubelet.models.memory.collaborative import CollaborativeMemory, CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.types import InputSpec

MemoryConfig = CollaborativeMemoryConfig | MemoryBankConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionModelConfig:
    """A complete model as data; it travels in the header of its weights file.

    Raises ConfigError if the memory does not fit the head: of our own only
    `temporal_relation` has tokens that a memory bank's could join (000 §3.1 leaves it out of S-only
    because its tokens' number changes with the RoI grid). Collaborative memory fits all.
    """

    backbone: BackboneConfig
    head: HeadConfig
    input: InputSpec
    labels: LabelSpace
    memory: MemoryConfig | None = None

    def __post_init__(self) -> None:
        if isinstance(self.memory, MemoryBankConfig) and not self.head.remembers:
            raise ConfigError(
                "a memory bank needs a head whose tokens it can join",
                expected="TemporalRelationHeadConfig",
                got=type(self.head).__name__,
                hint="take the temporal_relation head, or collaborative memory",
            )

    def build(self) -> ActionModel:
        return ActionModel(self)


class ActionModel(nn.Module):
    """frames u8 `(B, 3, T, H, W)` + RoIs → one logit per class for each person.

    `answers`: how they are to be read, by `scores` and by whoever shows them.

    With a classification head there are no RoIs, and "person" below reads "clip". A model with
    collaborative memory shares it among the clips of a `group`; one with a memory bank takes the
    bank's tokens as `memory`. Both also work without, each clip by itself.
    """

    mean: Tensor
    std: Tensor
    answers: Answers = Answers()

    def __init__(self, config: ActionModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = config.backbone.build()
        self.head = config.head.build(self.backbone.outputs, len(config.labels))
        self.memory: CollaborativeMemory | None = None
        if isinstance(config.memory, CollaborativeMemoryConfig):
            self.memory = config.memory.build(self.backbone.outputs)
        for name in ("mean", "std"):
            value = torch.tensor(getattr(config.input, name)) * 255
            self.register_buffer(name, value.view(1, 3, 1, 1, 1), persistent=False)

    @property
    def task(self) -> Task:
        """ "detection" or "classification"."""
        return self.config.head.task

    @property
    def input(self) -> InputSpec:
        return self.config.input

    @property
    def labels(self) -> LabelSpace:
        return self.config.labels

    def normalise(self, frames: Tensor) -> Tensor:
        """RGB `(B, 3, T, H, W)`, uint8 or float32 grey levels → normalised, on the model's own
        device and type."""
        levels = frames.dtype in (torch.uint8, torch.float32)
        if not levels or frames.ndim != 5 or frames.shape[1] != 3:
            raise ShapeError(
                "the model takes raw RGB clips in grey levels",
                expected="uint8 or float32 (B, 3, T, H, W)",
                got=f"{frames.dtype} {tuple(frames.shape)}",
            )
        return (frames.to(self.mean.dtype) - self.mean) / self.std

    def features(self, frames: Tensor) -> tuple[FeatureMap, ...]:
        """Backbone maps of uint8 clips, before any memory."""
        maps: tuple[FeatureMap, ...] = self.backbone(self.normalise(frames))
        return maps

    def pool(self, maps: Sequence[FeatureMap], rois: Rois | None = None) -> Tensor:
        """Person features under `rois`, in the form the head wants."""
        return self.head.pool(maps, rois)

    def classify(
        self, people: Tensor, rois: Rois | None = None, memory: Memory | None = None
    ) -> Tensor:
        """Person features → logits `(R, K)`; the sigmoid of those of an exclusive group is the
        softmax within it.

        Relation heads also need the `rois` that the features were pooled under.
        """
        labels = self.labels
        logits = self.head.classify(people, rois, memory, exclusive=labels.exclusive)
        for name in labels.exclusive_groups:
            columns = [labels.ids.index(i) for i in labels.groups[name]]
            logits = against_the_others(logits, columns)
        return logits

    def forward(
        self,
        frames: Tensor,
        rois: Rois | None = None,
        *,
        group: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Logits `(R, K)`; an empty batch of people gives `(0, K)`. Classification: `(B, K)`.

        `group (B,)`: clips with one number share their collaborative memory. `memory`: the memory
        bank's tokens for these clips.
        """
        maps = self.features(frames)
        if self.memory is not None:
            maps = self.memory(maps, group)
        return self.classify(self.pool(maps, rois), rois, memory)

    def scores(self, logits: Tensor, *, abstain: bool = False) -> Tensor:
        """Probabilities in fp32, calibrated where `answers` say how: softmax where classes exclude
        one another, else sigmoid.

        With `abstain`, "none of these" is beside exclusive classes that have it. Without, the
        question is which of the classes it is, as a data set asks where everybody does one of
        them; their calibration, fitted for the other question, is then not used.
        """
        logits = logits.float()
        if not self.labels.exclusive:
            return calibrated(logits, self.answers).sigmoid()
        if not self.answers.none:
            return calibrated(logits, self.answers).softmax(-1)
        if not abstain:
            return logits.softmax(-1)
        return F.pad(calibrated(logits, self.answers), (0, 1)).softmax(-1)[..., :-1]


def calibrated(logits: Tensor, answers: Answers) -> Tensor:
    """Logits `(…, K)` as the answers' calibration moves them; as they are without one."""
    if answers.calibration is None:
        return logits
    slopes, offsets = (
        logits.new_tensor(numbers)
        for numbers in (answers.calibration.slopes, answers.calibration.offsets)
    )
    return logits * slopes + offsets


def against_the_others(logits: Tensor, columns: Sequence[int]) -> Tensor:
    """Logits `(R, K)` of which the classes of `columns` exclude one another: each becomes
    z − log Σ exp of the others, whose sigmoid is the softmax. A column alone stays as it is."""
    if len(columns) < 2:
        return logits
    index = torch.tensor(columns, device=logits.device)
    own = logits.index_select(1, index).float()
    itself = torch.eye(len(columns), dtype=torch.bool, device=logits.device)
    others = own[:, None].masked_fill(itself, float("-inf")).logsumexp(-1)
    return logits.index_copy(1, index, (own - others).to(logits.dtype))
