"""High-order relations between people: ACAR-Net's head (Pan et al. 2021, §3.2, §3.3).

Each person's feature is laid over every cell of the scene, and two convolutions make a map of what
this person has to do with each place: a first-order relation. The high-order operator (HR²O) then
compares these maps between the people of a clip, place by place: an attention whose queries, keys
and values are convolutions of the maps, normed and mixed, and added to each map. The mean over the
map, beside the person's own feature, is classified.

Read off the released code: the 1×1 reduction before RoIAlign; the second convolution without
padding; the 3×3 maximum with stride 2 before the operator; no biases.

Shape legend: R people, n people of one clip, C channels of all pathways, D width, h×w cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.errors import ConfigError
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.layers.conv import Conv3d
from tubelet.models.roi import roi_align


@dataclass(frozen=True, slots=True, kw_only=True)
class HR2OHeadConfig(HeadConfig):
    """`width` D of the relation maps, `reduced` of the scene, `depth`: operators one after another,
    `mix_kernel` of the convolution that ends each (3 or 1). `stretched`: boxes are placed by their
    share of the clip, as ACAR does, not by pixels per cell; the two differ where the clip's sides
    are no multiples of the stride, so that the map's last cells are not whole. `dropout` of what
    an operator adds."""

    summary: ClassVar[str] = "relations between people's relations with each place (ACAR)"

    width: int = 512
    reduced: int = 1024
    depth: int = 2
    mix_kernel: int = 3
    resolution: int = 7
    aligned: bool = False
    stretched: bool = False
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.mix_kernel % 2 == 0 or self.depth < 1:
            raise ConfigError(
                "invalid high-order head",
                expected="an odd mix_kernel, a depth of at least 1",
                got=f"mix_kernel {self.mix_kernel}, depth {self.depth}",
            )

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> HR2OHead:
        return HR2OHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return replace(self, width=8, reduced=16, depth=1, resolution=3)


class HR2OHead(PersonHead):
    """One logit per class for each person from that person and the relations of all with the
    scene."""

    def __init__(
        self, config: HR2OHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.config = config
        channels, width = sum(o.channels for o in outputs), config.width
        self.reduce = _convolution(channels, config.reduced, 1)
        self.relate = _convolution(2 * config.reduced, width, 1)
        self.gather = Conv3d(width, width, (1, 3, 3), bias=False)
        self.hr2o = nn.ModuleList(HighOrder(config) for _ in range(config.depth))
        self.person = nn.Linear(config.reduced, width, bias=False)
        self.classifier = nn.Linear(2 * width, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        """`(R, 2·D)`: each person's own feature, then their high-order relations. Raises
        ConfigError for maps of different sizes."""
        scene, (step_x, step_y) = self._scene(maps), self._pixels_per_cell(maps, rois)
        if len(rois) == 0:
            return scene.new_zeros(0, 2 * self.config.width)
        stride = maps[0].space_stride
        scale = rois.boxes_px.new_tensor([stride / step_x, stride / step_y] * 2)
        people = roi_align(
            scene[:, :, 0],
            rois.boxes_px * scale,
            rois.clip,
            size=self.config.resolution,
            stride=stride,
            aligned=self.config.aligned,
        ).amax(dim=(2, 3))
        height, width = scene.shape[3:]
        related = people.new_zeros(len(rois), self.config.width)
        for (right, bottom), rows in _by_picture(rois).items():
            high = math.ceil(min(height, bottom / step_y))
            wide = math.ceil(min(width, right / step_x))
            seen = scene[rois.clip[rows], :, :, :high, :wide]  # what lies beyond is padding
            relations = self._relations(people[rows], seen, rois.clip[rows])
            related = related.index_copy(0, rows, relations)
        return torch.cat([F.relu(self.person(people)), related], dim=1)

    def _scene(self, maps: Sequence[FeatureMap]) -> Tensor:
        """The reduced scene `(B, reduced, 1, h, w)`: the mean over time of all pathways."""
        if len({(m.space_stride, m.values.shape[3:]) for m in maps}) > 1:
            raise ConfigError(
                "the high-order head needs maps of one size",
                got=", ".join(f"stride {m.space_stride}" for m in maps),
            )
        frames = torch.cat([m.values.mean(dim=2, keepdim=True) for m in maps], dim=1)
        scene: Tensor = self.reduce(frames)
        return scene

    def _pixels_per_cell(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[float, float]:
        """(x, y). The clip is as large as its largest picture, or as its cells where none is
        given."""
        stride = float(maps[0].space_stride)
        if not self.config.stretched or rois.picture_px is None or len(rois) == 0:
            return stride, stride
        height, width = maps[0].values.shape[3:]
        largest = rois.picture_px.amax(dim=0).tolist()
        return largest[0] / width, largest[1] / height

    def _relations(self, people: Tensor, scene: Tensor, clip: Tensor) -> Tensor:
        """People `(R, reduced)` of clips `clip (R,)` and their scenes `(R, reduced, 1, h, w)`
        → `(R, D)`."""
        height, width = scene.shape[3:]
        first = torch.cat([scene, people[:, :, None, None, None].expand_as(scene)], dim=1)
        first = F.relu(self.relate(first))
        # The next convolution has no padding; the originals never see fewer than three cells.
        first = F.pad(first, (0, max(0, 3 - width), 0, max(0, 3 - height)))
        first = F.relu(self.gather(first))
        maps = F.max_pool3d(first, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for operator in self.hr2o:
            maps = operator(maps, clip)
        return maps.mean(dim=(2, 3, 4))

    def forward(self, people: Tensor) -> Tensor:
        """What `pool_people` gave, `(R, 2·D)` → logits `(R, K)`."""
        logits: Tensor = self.classifier(people)
        return logits


class HighOrder(nn.Module):
    """The operator: attention between the maps of a clip's people, at each place by itself."""

    def __init__(self, config: HR2OHeadConfig) -> None:
        super().__init__()
        width = config.width
        self.q = _convolution(width, width, 3)
        self.k = _convolution(width, width, 3)
        self.v = _convolution(width, width, 3)
        self.norm = nn.GroupNorm(1, width)
        self.mix = _convolution(width, width, config.mix_kernel)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, maps: Tensor, clip: Tensor) -> Tensor:
        """`(R, D, 1, h, w)` of people of clips `clip (R,)` → the same; people see those of their
        own clip."""
        query, key, value = self.q(maps), self.k(maps), self.v(maps)
        alike = torch.einsum("ictyx,jctyx->ijtyx", query, key) / math.sqrt(maps.shape[1])
        apart = (clip[:, None] != clip[None])[..., None, None, None]
        weights = alike.masked_fill(apart, float("-inf")).softmax(dim=1)
        others = torch.einsum("ijtyx,jctyx->ictyx", weights, value)
        out: Tensor = maps + self.dropout(self.mix(F.relu(self.norm(others))))
        return out


def _by_picture(rois: Rois) -> dict[tuple[float, float], Tensor]:
    """(x, y) where pictures end → the rows of their people; one entry where nothing is padding."""
    if rois.picture_px is None:
        return {(math.inf, math.inf): torch.arange(len(rois), device=rois.clip.device)}
    rows: dict[tuple[float, float], list[int]] = {}
    for row, (right, bottom) in enumerate(rois.picture_px.tolist()):
        rows.setdefault((right, bottom), []).append(row)
    return {end: torch.tensor(few, device=rois.clip.device) for end, few in rows.items()}


def _convolution(inputs: int, outputs: int, kernel: int) -> Conv3d:
    """Over the cells of a single frame, "same" padding, without bias."""
    padding = (0, kernel // 2, kernel // 2)
    return Conv3d(inputs, outputs, (1, kernel, kernel), padding=padding, bias=False)
