"""Plain joint ViTs: VideoMAE (its own code, MMAction2, Hugging Face) and UMT, both with detectors.

Positions are a fixed sinusoid that our backbone computes: a file that brings that very table loses
nothing without it, one that brings another table keeps it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tubelet.convert.facts import Facts
from tubelet.convert.family import Family, linear
from tubelet.convert.rules import Drop, Rule, Table
from tubelet.models.backbones.vit import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    UMT_MEAN,
    UMT_STD,
    ViTConfig,
    sinusoid,
)
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.types import InputSpec

_TARGET = "backbone.encoder.blocks.{block}"


def _is_sinusoid(table: Tensor) -> bool:
    """Whether a position table `(1, N, D)` is the one that `vit` computes."""
    if table.is_meta or table.ndim != 3:
        return False
    return torch.allclose(table.float(), sinusoid(*table.shape[1:]), rtol=0, atol=1e-5)


_COMPUTED = {"backbone.position": (_is_sinusoid, "the fixed sinusoid, which is computed")}


def _blocks(at: str, fc1: str, fc2: str) -> tuple[Rule, ...]:
    """The rules of one block under `at`, which names the group `block`."""
    return (
        *linear(at + r"(?P<norm>norm[12])", _TARGET + ".{norm}"),
        Rule(source=at + r"attn\.qkv\.weight", target=_TARGET + ".qkv.weight"),
        Rule(source=at + r"attn\.(?P<part>[qv]_bias)", target=_TARGET + ".{part}"),
        *linear(at + r"attn\.proj", _TARGET + ".proj"),
        *linear(at + fc1, _TARGET + ".fc1"),
        *linear(at + fc2, _TARGET + ".fc2"),
        Rule(source=at + r"gamma_(?P<scale>[12])", target=_TARGET + ".scale{scale}"),
    )


def _spec(frames: int, stride: int, multiple: int = 16) -> InputSpec:
    return InputSpec(
        frames=frames,
        stride=stride,
        short_side=224,
        multiple=multiple,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


# `test_ext` of the detectors is (0.1, 0.05) of width and height, half of it on either side.
_ENLARGED = LinearHeadConfig(resolution=7, aligned=False, enlarge=(0.05, 0.025))


def _detectors_pixels(config: ActionModelConfig) -> Facts:
    """Detectors of both projects normalise as AlphAction does, classifiers as ImageNet's models; a
    detector has 80 independent classes and no background column."""
    if isinstance(config.head, ClipHeadConfig):
        return Facts()
    return Facts(mean=UMT_MEAN, std=UMT_STD, background=False, temporal_pool="mean", aligned=False)


def _own_code(name: str, tubelet: int, backbone: ViTConfig, spec: InputSpec) -> Family:
    return Family(
        name=name,
        marks=(r"patch_embed\.proj\.weight", r"blocks\.0\.attn\.q_bias", r"head\.weight"),
        kernel=(r"patch_embed\.proj\.weight", (tubelet, 16, 16)),
        table=Table(
            rules=(
                *linear(r"patch_embed\.proj", "backbone.embed"),
                Rule(source="pos_embed", target="backbone.position"),
                *_blocks(r"blocks\.(?P<block>\d+)\.", r"mlp\.fc1", r"mlp\.fc2"),
                *linear(r"(?:fc_)?norm", "backbone.encoder.norm"),
                *linear("head", "head.classifier"),
            ),
        ),
        backbone=backbone,
        input=spec,
        detection_head=_ENLARGED,
        detection=r"norm\.weight",
        computed=_COMPUTED,
        asked=("exclusive", "frames", "stride"),
        settles=_detectors_pixels,
    )


VIDEOMAE = _own_code("VideoMAE", 2, ViTConfig(), _spec(16, 4))
UMT = _own_code("UMT", 1, ViTConfig(tubelet=(1, 16, 16)), _spec(8, 8))

MMACTION = Family(
    name="MMAction2 VideoMAE",
    marks=(
        r"backbone\.patch_embed\.projection\.weight",
        r"backbone\.blocks\.0\.attn\.q_bias",
    ),
    table=Table(
        rules=(
            *linear(r"backbone\.patch_embed\.projection", "backbone.embed"),
            Rule(source=r"backbone\.pos_embed", target="backbone.position"),
            *_blocks(
                r"backbone\.blocks\.(?P<block>\d+)\.", r"mlp\.layers\.0\.0", r"mlp\.layers\.1"
            ),
            *linear(r"backbone\.(?:fc_)?norm", "backbone.encoder.norm"),
            *linear(r"(?:roi_head\.bbox_head|cls_head)\.fc_cls", "head.classifier"),
        ),
        drops=(Drop(source=r"data_preprocessor\..*", reason="pixel mean and standard deviation"),),
    ),
    backbone=ViTConfig(pad=False),
    input=_spec(16, 4, multiple=1),
    detection_head=LinearHeadConfig(resolution=8),
    detection=r"roi_head\..*",
    computed=_COMPUTED,
    asked=("exclusive", "background", "frames", "stride", "temporal_pool"),
)

_HF = r"(?:videomae\.)?encoder\.layer\.(?P<block>\d+)\."

HUGGING_FACE = Family(
    name="Hugging Face VideoMAE",
    marks=(
        r"(?:videomae\.)?embeddings\.patch_embeddings\.projection\.weight",
        _HF + r"attention\.attention\.q_bias",
    ),
    table=Table(
        rules=(
            *linear(r"(?:videomae\.)?embeddings\.patch_embeddings\.projection", "backbone.embed"),
            *(
                Rule(
                    source=_HF + rf"attention\.attention\.{name}\.weight",
                    target=_TARGET + ".qkv.weight",
                    part=part,
                )
                for part, name in enumerate(("query", "key", "value"))
            ),
            Rule(
                source=_HF + r"attention\.attention\.(?P<part>[qv]_bias)",
                target=_TARGET + ".{part}",
            ),
            *linear(_HF + r"attention\.output\.dense", _TARGET + ".proj"),
            *linear(_HF + r"intermediate\.dense", _TARGET + ".fc1"),
            *linear(_HF + r"output\.dense", _TARGET + ".fc2"),
            *linear(_HF + r"layernorm_before", _TARGET + ".norm1"),
            *linear(_HF + r"layernorm_after", _TARGET + ".norm2"),
            *linear("fc_norm", "backbone.encoder.norm"),
            *linear("classifier", "head.classifier"),
        ),
    ),
    backbone=ViTConfig(norm_eps=1e-12, final_eps=1e-5),
    input=_spec(16, 4),
    classifies=True,
    asked=("exclusive", "heads", "positions", "frames", "stride"),
)
