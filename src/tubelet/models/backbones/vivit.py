"""ViViT (Arnab et al. 2021): video transformers on tubelets of 16×16 pixels × 2 frames.

The factorised encoder (their Model 2) attends within each frame, then over time; the joint form
(Model 1) attends over every token at once. Each has two outputs: for classification one token
per clip, as published; for detection every spatial token is kept, the temporal encoder running over
time at each position, so that RoIAlign sees a map.

Shape legend: B clips, D width, t×h×w tokens. Class tokens stay in the dense form, where nothing
reads them, so that classification weights fit it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    Layers,
    Published,
    Variant,
    as_maps,
)
from tubelet.models.layers.transformer import Encoder, TubeletEmbedding
from tubelet.types import InputSpec

_POSITIONS = (16, 14, 14)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViViTConfig(BackboneConfig):
    """Arguments of `ViViT`.

    `temporal_layers`: of the second encoder; 0 is the joint form. `tubelet`: (frames, height,
    width) of a token. `positions`: the (t, h, w) grid for which position embeddings are held; other
    clips interpolate them. `gelu`: "tanh" (Scenic, Hugging Face) or "none", the exact one (timm).
    `detection`: the dense form. `drop_path`: stochastic depth of the last layer.
    """

    summary: ClassVar[str] = "video transformer over tubelets, factorised or joint"
    made_of: ClassVar[Layers] = "attention"

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    temporal_layers: int = 4
    tubelet: tuple[int, int, int] = (2, 16, 16)
    positions: tuple[int, int, int] = _POSITIONS
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    drop_path: float = 0.0
    detection: bool = True

    def build(self) -> ViViT:
        return ViViT(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        return replace(
            self,
            width=16,
            layers=1,
            heads=2,
            mlp=32,
            temporal_layers=min(1, self.temporal_layers),
            positions=(4, 2, 2),
        )

    def architecture(self) -> Self:
        return replace(self, drop_path=0.0, positions=_POSITIONS)

    @classmethod
    def variants(cls) -> Mapping[str, Variant[ViViTConfig]]:
        return VARIANTS


def resize_positions(table: Tensor, grid: tuple[int, ...], to: tuple[int, ...]) -> Tensor:
    """Position embeddings `(1, 1 + N, D)` for another token grid; the class token's row stays.

    Space (2-D grids) is interpolated bicubically, time linearly; in fp32 whatever the type.
    """
    if grid == to:
        return table
    head, body = table[:, :1], table[:, 1:].float()
    maps = body.transpose(1, 2).reshape(1, -1, *grid)
    if len(grid) == 1:
        maps = F.interpolate(maps, size=to, mode="linear", align_corners=False)
    elif len(grid) == 2:
        maps = F.interpolate(maps, size=to, mode="bicubic", align_corners=False)
    else:
        maps = F.interpolate(maps, size=to, mode="trilinear", align_corners=False)
    return torch.cat([head, maps.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


class ViViT(Backbone):
    """Video transformer. Returns one map: the clip token as a single cell, or all tokens."""

    def __init__(self, config: ViViTConfig) -> None:
        super().__init__()
        self.config = config
        width, (t, h, w) = config.width, config.positions
        self.joint = config.temporal_layers == 0
        self.embed = TubeletEmbedding(width=width, tubelet=config.tubelet)
        tokens = t * h * w if self.joint else h * w
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 1 + tokens, width))
        self.encoder = self._encoder(config.layers)
        if not self.joint:
            self.time_cls = nn.Parameter(torch.zeros(1, 1, width))
            self.time_position = nn.Parameter(torch.zeros(1, 1 + t, width))
            self.time_encoder = self._encoder(config.temporal_layers)
        step, side = config.tubelet[0], config.tubelet[1]
        spec = FeatureSpec(channels=width, time_stride=step, space_stride=side)
        whole = FeatureSpec(channels=width, time_stride=t * step, space_stride=h * side, whole=True)
        self.outputs = (spec if config.detection else whole,)
        self._initialise()

    def _encoder(self, layers: int) -> Encoder:
        config = self.config
        return Encoder(
            width=config.width,
            layers=layers,
            heads=config.heads,
            mlp=config.mlp,
            gelu=config.gelu,
            norm_eps=config.norm_eps,
            drop_path=config.drop_path,
        )

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("position"):
                nn.init.normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def refit(self, name: str, tensor: Tensor) -> Tensor | None:
        """Position embeddings of a square grid, resized to this backbone's; of the joint form only
        for as many moments."""
        steps, *grid = self.config.positions
        tokens = tensor.shape[1] - 1 if tensor.ndim == 3 else 0
        if name == "time_position" and tokens > 0:
            return resize_positions(tensor, (tokens,), (steps,))
        before = (steps,) if self.joint else ()
        side = math.isqrt(max(0, tokens) // (steps if self.joint else 1))
        if name != "position" or not side or math.prod((*before, side, side)) != tokens:
            return None
        return resize_positions(tensor, (*before, side, side), (*before, *grid))

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → `(B, D, t, h, w)` (dense) or `(B, D, 1, 1, 1)`."""
        x = self.embed(clip)
        out = self._joint(x) if self.joint else self._factorised(x)
        return as_maps((out,), self.outputs)

    def _joint(self, x: Tensor) -> Tensor:
        grid = tuple(x.shape[2:])
        position = resize_positions(self.position, self.config.positions, grid)
        tokens = self.encoder(_with_class(x.flatten(2).transpose(1, 2), self.cls, position))
        if not self.config.detection:
            return _as_cell(tokens[:, 0])
        dense: Tensor = tokens[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, *grid)
        return dense

    def _factorised(self, x: Tensor) -> Tensor:
        batch, width, steps, *grid = x.shape
        positions = self.config.positions
        position = resize_positions(self.position, positions[1:], tuple(grid))
        frames = x.permute(0, 2, 3, 4, 1).reshape(batch * steps, -1, width)
        tokens = self.encoder(_with_class(frames, self.cls, position))
        time_position = resize_positions(self.time_position, positions[:1], (steps,))
        if not self.config.detection:
            summary = tokens[:, 0].view(batch, steps, width)
            return _as_cell(self._over_time(summary, time_position)[:, 0])
        tracks = tokens[:, 1:].view(batch, steps, -1, width).transpose(1, 2)
        tracks = self._over_time(tracks.reshape(-1, steps, width), time_position)[:, 1:]
        dense: Tensor = tracks.reshape(batch, *grid, steps, width).permute(0, 4, 3, 1, 2)
        return dense

    def _over_time(self, x: Tensor, position: Tensor) -> Tensor:
        out: Tensor = self.time_encoder(_with_class(x, self.time_cls, position))
        return out


def _with_class(x: Tensor, cls: Tensor, position: Tensor) -> Tensor:
    return torch.cat([cls.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1) + position.to(x.dtype)


def _as_cell(x: Tensor) -> Tensor:
    return x[:, :, None, None, None]


def _variant(
    backbone: ViViTConfig, *published: Published, stride: int = 2, weights: str = ""
) -> Variant[ViViTConfig]:
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(
            frames=32,
            stride=stride,
            short_side=224,
            long_side=224,
            multiple=16,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        cost_size=224,
        weights=weights,
        published=published,
    )


def _table_2(score: float, gflops: float) -> Published:
    return Published(
        source="arXiv:2103.15691 Table 2",
        dataset="K400",
        metric="top-1",
        score=score,
        gflops=gflops,
        size=224,
    )


def _ava(score: float, table: int, size: int) -> Published:
    return Published(
        source=f"arXiv:2207.03807 Table {table}",
        dataset="AVA v2.2",
        metric="mAP",
        score=score,
        size=size,
        views=1,
    )


VARIANTS: dict[str, Variant[ViViTConfig]] = {
    "vivit_b_16x2": _variant(
        ViViTConfig(), _table_2(78.8, 284.4), _ava(26.3, table=2, size=224), weights="Scenic"
    ),
    "vivit_l_16x2": _variant(
        ViViTConfig(width=1024, layers=24, heads=16, mlp=4096, temporal_layers=24),
        Published(source="arXiv:2103.15691 §4.2", gflops=995.3, size=224),
        Published(
            source="Scenic model zoo",
            dataset="K400",
            metric="top-1",
            score=80.3,
            size=224,
            views=12,
        ),
        _ava(32.8, table=6, size=512),
        weights="Scenic",
    ),
    "vivit_b_16x2_joint": _variant(
        ViViTConfig(temporal_layers=0), _table_2(80.0, 455.2), weights="Scenic, Hugging Face"
    ),
}
