"""ActionModel: a backbone, a head, and what they need to know about their input and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.labels import LabelSpace
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.descriptors import DescriptorsConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.clip import ClipHead, ClipHeadConfig, join_positions
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.mlp import MlpHeadConfig
from tubelet.models.heads.none import NoHeadConfig
from tubelet.models.heads.relation import (
    RelationHead,
    SpatialRelationHeadConfig,
    TemporalRelationHeadConfig,
)
from tubelet.models.memory.collaborative import CollaborativeMemory, CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.types import ConfigError, InputSpec, ShapeError

PublishedBackboneConfig = (
    SlowFastConfig | ResNet3dConfig | R2Plus1dConfig | CSNConfig | ViViTConfig | ViTConfig
)
BackboneConfig = PublishedBackboneConfig | DescriptorsConfig
HeadConfig = (
    LinearHeadConfig
    | GridHeadConfig
    | MlpHeadConfig
    | NonlocalContextHeadConfig
    | SpatialRelationHeadConfig
    | TemporalRelationHeadConfig
    | ACRNHeadConfig
    | NoHeadConfig
    | ClipHeadConfig
)
MemoryConfig = CollaborativeMemoryConfig | MemoryBankConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionModelConfig:
    """A complete model as data; it travels in the header of its weights file.

    Raises ConfigError where the memory does not go with the head: only `temporal_relation` has
    tokens that a memory bank's could join (000 §3.1 leaves it out of S-only because its tokens'
    number changes with the RoI grid). Collaborative memory goes with everything.
    """

    backbone: BackboneConfig
    head: HeadConfig
    input: InputSpec
    labels: LabelSpace
    memory: MemoryConfig | None = None

    def __post_init__(self) -> None:
        banked = isinstance(self.memory, MemoryBankConfig)
        if banked and not isinstance(self.head, TemporalRelationHeadConfig):
            raise ConfigError(
                "a memory bank needs a head whose tokens it can join",
                expected="TemporalRelationHeadConfig",
                got=type(self.head).__name__,
                hint="take the temporal_relation head, or collaborative memory",
            )

    def build(self) -> ActionModel:
        return ActionModel(self)


class ActionModel(nn.Module):
    """frames u8 `(B, 3, T, H, W)` + RoIs → one logit a class for each person.

    With a classification head there are no RoIs, and "person" below reads "clip". A model with
    collaborative memory shares it among the clips of a `group`; one with a memory bank takes the
    bank's tokens as `memory`. Both also work without, each clip by itself.
    """

    mean: Tensor
    std: Tensor

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
    def task(self) -> str:
        """ "detection" or "classification"."""
        return self.head.task

    @property
    def input(self) -> InputSpec:
        return self.config.input

    @property
    def labels(self) -> LabelSpace:
        return self.config.labels

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB `(B, 3, T, H, W)` → float, on the model's own device and type."""
        if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[1] != 3:
            raise ShapeError(
                "the model takes raw RGB clips",
                expected="uint8 (B, 3, T, H, W)",
                got=f"{frames.dtype} {tuple(frames.shape)}",
            )
        return (frames.to(self.mean.dtype) - self.mean) / self.std

    def features(self, frames: Tensor) -> tuple[FeatureMap, ...]:
        """Backbone maps of uint8 clips, before any memory."""
        maps: tuple[FeatureMap, ...] = self.backbone(self.normalise(frames))
        return maps

    def pool(self, maps: Sequence[FeatureMap], rois: Rois | None = None) -> Tensor:
        """Person features under `rois`, in the form the head wants."""
        if isinstance(self.head, ClipHead):
            return self.head.pool(maps)
        if rois is None:
            raise ShapeError(
                "a detection model needs the people's boxes", expected="Rois", got=None
            )
        return self.head.pool(maps, rois)

    def classify(
        self, people: Tensor, rois: Rois | None = None, memory: Memory | None = None
    ) -> Tensor:
        """Person features → logits `(R, K)`; positions of a clip are joined by probability.

        Relation heads also need the `rois` that the features were pooled under.
        """
        if isinstance(self.head, RelationHead):
            if rois is None:
                raise ShapeError(
                    "relations need to know who is in which clip", expected="Rois", got=None
                )
            related: Tensor = self.head(people, rois.clip, memory)
            return related
        logits: Tensor = self.head(people)
        if logits.ndim == 3:
            return join_positions(logits, exclusive=self.labels.exclusive)
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

    def scores(self, logits: Tensor) -> Tensor:
        """Probabilities in fp32: softmax where classes exclude one another, else sigmoid."""
        logits = logits.float()
        return logits.softmax(-1) if self.labels.exclusive else logits.sigmoid()
