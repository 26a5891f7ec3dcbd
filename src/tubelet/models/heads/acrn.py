"""The actor-centric relation head (Sun et al. 2018) as MMAction2 builds it.

Each person's pooled feature is laid over every cell of its clip's map, two convolutions relate it
to what is there, and the strongest response per channel is classified.

Shape legend: R people, C channels of all pathways, h×w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.layers.resnet3d import ConvNorm
from tubelet.models.roi import pool_people


@dataclass(frozen=True, slots=True, kw_only=True)
class ACRNHeadConfig(HeadConfig):
    """`resolution`, `aligned`, `dropout` as in `LinearHeadConfig`; `width` of the relation
    features, None for the backbone's own."""

    summary: ClassVar[str] = "each person related to every cell of the scene by two convolutions"

    resolution: int = 8
    aligned: bool = True
    dropout: float = 0.5
    width: int | None = None

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> ACRNHead:
        return ACRNHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, resolution=3, width=16)


class ACRNHead(PersonHead):
    """One logit per class for each person from that person and the scene around them."""

    def __init__(
        self, config: ACRNHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        channels = sum(o.channels for o in outputs)
        width = config.width or channels
        self.relate = ConvNorm(inputs=2 * channels, outputs=width, kernel=(1, 1, 1))
        self.gather = ConvNorm(inputs=width, outputs=width, kernel=(1, 3, 3))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """Relation features `(R, width)` of each person with their clip."""
        config = self.config
        people = pool_people(maps, rois, size=config.resolution, aligned=config.aligned)
        if rois.boxes_px.shape[0] == 0:  # batch norm cannot take statistics of no people
            return people.new_zeros(0, self.gather.conv.out_channels)
        scene = torch.cat([m.values.mean(dim=2) for m in maps], dim=1)[rois.clip]
        tiled = people[:, :, None, None].expand(-1, -1, *scene.shape[2:])
        related = self.gather(self.relate(torch.cat([tiled, scene], dim=1)[:, :, None]))
        strongest: Tensor = related.amax(dim=(2, 3, 4))
        return strongest

    def forward(self, people: Tensor) -> Tensor:
        """Relation features `(R, width)` → logits `(R, K)`."""
        logits: Tensor = self.classifier(self.dropout(people))
        return logits
