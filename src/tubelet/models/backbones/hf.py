"""Any video encoder of Hugging Face `transformers` as a backbone, by id (extra `tubelet[hf]`).

`create_model("hf:facebook/vjepa2-vitl-fpc64-256")` reads the encoder's configuration from the hub
or a folder and its weights beside it; a saved model carries the configuration, so that it loads
without the hub. Four facts about a class of transformers are needed, one function each way: its
input's name and normalisation, its tubelet, the tokens that are no place, and how its positions
follow the size of the video.

Shape legend: B clips, D width, t×h×w tokens, N = t·h·w.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap
from tubelet.errors import ConfigError, InputError, ShapeError
from tubelet.models.backbones.base import (
    Backbone,
    BackboneConfig,
    FeatureSpec,
    Layers,
    as_maps,
)
from tubelet.models.backbones.vit import IMAGENET_MEAN, IMAGENET_STD, resize_grid, sinusoid
from tubelet.models.backbones.vivit import resize_positions

Grid = tuple[int, int, int]
Triple = tuple[float, float, float]
HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig(BackboneConfig):
    """Arguments of `HubBackbone`.

    `id`: where the weights came from, for the reader. `settings`: the encoder's own configuration
    as JSON, with its `model_type`. `frozen`: the encoder is never trained and stays in eval mode.
    `detection`: the map of all tokens; else one cell per clip, pooled as the class itself
    classifies.
    """

    summary: ClassVar[str] = "any video encoder of transformers, by its id on the hub"
    made_of: ClassVar[Layers] = "attention"

    id: str = "facebook/vjepa2-vitl-fpc64-256"
    settings: str = '{"model_type": "vjepa2"}'
    frozen: bool = False
    detection: bool = True

    def build(self) -> HubBackbone:
        return HubBackbone(self)

    def dense(self) -> Self:
        return replace(self, detection=True)

    def tiny(self) -> Self:
        data = json.loads(self.settings)
        data |= encoder_class(data["model_type"]).tiny
        return replace(self, settings=json.dumps(data, sort_keys=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderClass:
    """The facts about one `model_type`.

    `model`, `classifier`: the classes' names; `base`: the classifier's attribute that holds the
    encoder. `mean`, `std`: what its processor takes where no preprocessor file says otherwise.
    `frames`, `tubelet`: read from the configuration. `stride`: source frames from one to the next
    in its own recipe. `tokens(encoder, clip, grid)`: the class token `(B, 1, D)` if there is one,
    and the place tokens `(B, N, D)` in the order t, h, w. `part`: the attribute of the model that
    is the encoder, "" for all of it. `pooler(settings)`: the layers that its classifier pools with.
    `options`: what its constructor is told. `tiny`: settings of a small one, for tests.
    """

    model: str
    classifier: str | None
    base: str
    mean: Triple
    std: Triple
    stride: int
    tiny: Mapping[str, Any]
    frames: Callable[[Any], int]
    tubelet: Callable[[Any], Grid]
    tokens: Callable[[Any, Tensor, Grid], tuple[Tensor | None, Tensor]]
    part: str = ""
    pooler: Callable[[Any], nn.Module | None] = lambda _: None
    options: Mapping[str, Any] = field(default_factory=dict)


def _square(settings: Any) -> Grid:
    return (int(settings.tubelet_size), int(settings.patch_size), int(settings.patch_size))


def _videomae(encoder: Any, clip: Tensor, grid: Grid) -> tuple[None, Tensor]:
    """Its embedding refuses other sizes than its own: the sinusoid is resized as `vit` does."""
    settings = encoder.config
    step, side, _ = _square(settings)
    own = (settings.num_frames // step, settings.image_size // side, settings.image_size // side)
    table = sinusoid(own[0] * own[1] * own[2], settings.hidden_size).to(clip.device)
    projection = encoder.embeddings.patch_embeddings.projection
    tokens = projection(clip).flatten(2).transpose(1, 2)
    tokens = tokens + resize_grid(table, own, grid).to(tokens.dtype)
    tokens = encoder.encoder(tokens).last_hidden_state
    return None, tokens if encoder.layernorm is None else encoder.layernorm(tokens)


def _vivit(encoder: Any, clip: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Its own resizing takes the joint table for a square picture: ours knows its three axes."""
    settings, embeddings = encoder.config, encoder.embeddings
    step, high, wide = settings.tubelet_size
    side = settings.image_size
    own = (settings.num_frames // step, side // high, side // wide)
    position = resize_positions(embeddings.position_embeddings, own, grid)
    tokens = embeddings.patch_embeddings.projection(clip).flatten(2).transpose(1, 2)
    first = embeddings.cls_token.expand(clip.shape[0], -1, -1).to(tokens.dtype)
    tokens = torch.cat([first, tokens], dim=1) + position.to(tokens.dtype)
    for layer in encoder.layers:
        tokens = layer(tokens)
    tokens = encoder.layernorm(tokens)
    return tokens[:, :1], tokens[:, 1:]


def _timesformer(encoder: Any, clip: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Its layers take the grid's width and number of frames from the configuration, whatever the
    clip: both are set to the clip's. Its positions go to the nearest cell, its own way."""
    settings = encoder.config
    settings.num_frames, settings.image_size = grid[0], grid[2] * settings.patch_size
    tokens = encoder(pixel_values=clip.transpose(1, 2)).last_hidden_state
    places = tokens[:, 1:].unflatten(1, (grid[1] * grid[2], grid[0]))
    return tokens[:, :1], places.transpose(1, 2).flatten(1, 2)


def _videoprism(encoder: Any, clip: Tensor, grid: Grid) -> tuple[None, Tensor]:
    """It resizes the positions of space and of time itself."""
    found = encoder(pixel_values_videos=clip.transpose(1, 2), interpolate_pos_encoding=True)
    return None, found.last_hidden_state


def _vjepa2(encoder: Any, clip: Tensor, grid: Grid) -> tuple[None, Tensor]:
    """Its rotations count rows and columns of its configured square, which moves every token of a
    film of another shape: each layer is given the true grid."""
    for layer in encoder.layer:
        layer.attention.get_position_ids = functools.partial(places, grid)
    return None, encoder(pixel_values_videos=clip.transpose(1, 2)).last_hidden_state


def places(grid: Grid, tokens: Tensor, masks: Tensor | None = None) -> tuple[Tensor, ...]:
    """Step, row and column of each token of a `grid`; masked input is not supported."""
    if masks is not None:
        raise ConfigError("masked clips are not supported")
    index = torch.arange(tokens.shape[1], device=tokens.device)
    area = grid[1] * grid[2]
    return index // area, index % area // grid[2], index % grid[2]


def _mean_norm(settings: Any) -> nn.Module | None:
    return nn.LayerNorm(settings.hidden_size) if settings.use_mean_pooling else None


def _attentive(settings: Any) -> nn.Module:
    module = importlib.import_module("transformers.models.vjepa2.modeling_vjepa2")
    pooler: nn.Module = module.VJEPA2AttentivePooler(settings)
    return pooler


_TINY = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}
_TINY_VIT = {**_TINY, "num_hidden_layers": 1, "image_size": 64, "num_frames": 4}
CLASSES: dict[str, EncoderClass] = {
    "vjepa2": EncoderClass(
        model="VJEPA2Model",
        classifier="VJEPA2ForVideoClassification",
        base="vjepa2",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stride=4,
        tiny={
            "hidden_size": 24,
            "num_attention_heads": 2,
            "mlp_ratio": 2.0,
            "num_hidden_layers": 1,
            "num_pooler_layers": 1,
            "crop_size": 64,
            "frames_per_clip": 4,
            "pred_hidden_size": 12,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
        frames=lambda s: int(s.frames_per_clip),
        tubelet=_square,
        tokens=_vjepa2,
        part="encoder",
        pooler=_attentive,
    ),
    "videoprism_vision_model": EncoderClass(
        model="VideoPrismVisionModel",
        classifier=None,
        base="",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        stride=4,
        tiny={
            **_TINY,
            "num_spatial_layers": 1,
            "num_temporal_layers": 1,
            "image_size": 64,
            "num_frames": 4,
            "tubelet_size": [1, 16, 16],
        },
        frames=lambda s: int(s.num_frames),
        tubelet=lambda s: tuple(s.tubelet_size),
        tokens=_videoprism,
    ),
    "videomae": EncoderClass(
        model="VideoMAEModel",
        classifier="VideoMAEForVideoClassification",
        base="videomae",
        mean=HALF,
        std=HALF,
        stride=4,
        tiny=_TINY_VIT,
        frames=lambda s: int(s.num_frames),
        tubelet=_square,
        tokens=_videomae,
        pooler=_mean_norm,
    ),
    "vivit": EncoderClass(
        model="VivitModel",
        classifier="VivitForVideoClassification",
        base="vivit",
        mean=HALF,
        std=HALF,
        stride=2,
        tiny={**_TINY_VIT, "tubelet_size": [2, 16, 16]},
        frames=lambda s: int(s.num_frames),
        tubelet=lambda s: tuple(s.tubelet_size),
        tokens=_vivit,
        options={"add_pooling_layer": False},
    ),
    "timesformer": EncoderClass(
        model="TimesformerModel",
        classifier="TimesformerForVideoClassification",
        base="timesformer",
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        stride=32,
        tiny=_TINY_VIT,
        frames=lambda s: int(s.num_frames),
        tubelet=lambda s: (1, int(s.patch_size), int(s.patch_size)),
        tokens=_timesformer,
    ),
}
"""`model_type` of transformers → what is to know of it."""


class HubBackbone(Backbone):
    """One map: every token at its place, or the clip as a single cell.

    Raises InputError without `transformers`, ConfigError for a class that is not in `CLASSES`.
    """

    def __init__(self, config: HubConfig) -> None:
        super().__init__()
        self.config = config
        transformers = transformers_or_refuse()
        settings = _settings(transformers, config.settings)
        self.facts = encoder_class(settings.model_type)
        model = getattr(transformers, self.facts.model)
        whole = model(settings, **self.facts.options)
        self.encoder: nn.Module = getattr(whole, self.facts.part) if self.facts.part else whole
        self.pooler = None if config.detection else self.facts.pooler(settings)
        step, side, _ = self.facts.tubelet(settings)
        width = int(settings.hidden_size)
        self.outputs = (
            FeatureSpec(
                channels=width, time_stride=step, space_stride=side, whole=not config.detection
            ),
        )
        if config.frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> HubBackbone:
        """Frozen encoders stay in eval mode: no dropout, no stochastic depth."""
        super().train(mode and not self.config.frozen)
        return self

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        """`clip (B, 3, T, H, W)` float → `(B, D, t, h, w)`, or `(B, D, 1, 1, 1)` pooled; sides are
        zero-padded to whole tubelets. Raises ShapeError unless the frames fill whole tubelets."""
        spec = self.outputs[0]
        frames, height, width = clip.shape[2:]
        if frames % spec.time_stride:
            raise ShapeError(
                "the clip does not fill whole tubelets",
                expected=f"a multiple of {spec.time_stride} frames",
                got=f"{frames} frames",
            )
        side = spec.space_stride
        clip = F.pad(clip, (0, -width % side, 0, -height % side))
        grid = (frames // spec.time_stride, clip.shape[3] // side, clip.shape[4] // side)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            first, places = self.facts.tokens(self.encoder, clip, grid)
            if self.config.detection:
                cells = places.transpose(1, 2).unflatten(2, grid)
            else:
                cells = self._pooled(first, places)[:, :, None, None, None]
        return as_maps((cells,), self.outputs)

    def _pooled(self, first: Tensor | None, places: Tensor) -> Tensor:
        if first is not None:
            return first[:, 0]
        if isinstance(self.pooler, nn.LayerNorm):
            pooled: Tensor = self.pooler(places.mean(dim=1))
        elif self.pooler is not None:
            pooled = self.pooler(places)
        else:
            pooled = places.mean(dim=1)
        return pooled


def transformers_or_refuse() -> Any:
    """The package. Raises InputError that says how to get it."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            "encoders from Hugging Face need an optional extra",
            expected="the package transformers",
            got=error,
            hint='pip install "tubelet[hf]"',
        ) from error


def encoder_class(model_type: str) -> EncoderClass:
    """The facts of that `model_type`. Raises ConfigError naming those that are known."""
    if model_type not in CLASSES:
        raise ConfigError(
            "unknown class of encoders",
            expected=", ".join(CLASSES),
            got=model_type,
            hint="write its four facts into tubelet/models/backbones/hf.py",
        )
    return CLASSES[model_type]


def _settings(transformers: Any, text: str) -> Any:
    data = json.loads(text)
    encoder_class(data["model_type"])
    return transformers.AutoConfig.for_model(data.pop("model_type"), **data)
