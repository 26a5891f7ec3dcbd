"""ViViT from Scenic (Flax, factorised or joint) and Hugging Face (joint), and 2-D ViTs in timm's
naming, whose filters become tubelets by central-frame initialisation (Arnab et al. 2021, eq. 9).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tubelet.convert.family import Family, linear
from tubelet.convert.rules import Drop, Rule, Table
from tubelet.errors import CheckpointError
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.types import InputSpec

_INPUT = InputSpec(
    frames=32,
    stride=2,
    short_side=224,
    long_side=224,
    multiple=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
_ENCODERS = {"SpatialTransformer": "", "TemporalTransformer": "time_", "Transformer": ""}
_ENCODER = r"(?P<enc>SpatialTransformer|TemporalTransformer|Transformer)/"
_FLAX_BLOCK = _ENCODER + r"encoderblock_(?P<block>\d+)/"
_BLOCK = "backbone.{enc}encoder.blocks.{block}"
_QKV = ("query", "key", "value")


def _flax_norm(source: str, target: str) -> tuple[Rule, Rule]:
    return (
        Rule(source=source + "/scale", target=target + ".weight"),
        Rule(source=source + "/bias", target=target + ".bias"),
    )


def _flax_dense(source: str, target: str, operation: str = "dense") -> tuple[Rule, Rule]:
    return (
        Rule(source=source + "/kernel", target=target + ".weight", operation=operation),
        Rule(source=source + "/bias", target=target + ".bias"),
    )


def _flax_qkv() -> tuple[Rule, ...]:
    at = _FLAX_BLOCK + "MultiHeadDotProductAttention_0/"
    weights = (
        Rule(
            source=f"{at}{n}/kernel",
            target=_BLOCK + ".qkv.weight",
            operation="heads_out",
            part=i,
        )
        for i, n in enumerate(_QKV)
    )
    biases = (
        Rule(source=f"{at}{n}/bias", target=_BLOCK + ".qkv.bias", operation="flatten", part=i)
        for i, n in enumerate(_QKV)
    )
    return (*weights, *biases)


SCENIC = Family(
    name="Scenic ViViT",
    marks=(r"embedding/kernel", r"(Spatial)?Transformer/posembed_input/pos_embedding"),
    table=Table(
        rules=(
            Rule(source="embedding/kernel", target="backbone.embed.weight", operation="tubelet"),
            Rule(source="embedding/bias", target="backbone.embed.bias"),
            Rule(source="cls(_SpatialTransformer)?", target="backbone.cls"),
            Rule(source="cls_TemporalTransformer", target="backbone.time_cls"),
            Rule(
                source=_ENCODER + "posembed_input/pos_embedding",
                target="backbone.{enc}position",
            ),
            *_flax_norm(_FLAX_BLOCK + "LayerNorm_0", _BLOCK + ".norm1"),
            *_flax_norm(_FLAX_BLOCK + "LayerNorm_1", _BLOCK + ".norm2"),
            *_flax_dense(_FLAX_BLOCK + "MlpBlock_0/Dense_0", _BLOCK + ".fc1"),
            *_flax_dense(_FLAX_BLOCK + "MlpBlock_0/Dense_1", _BLOCK + ".fc2"),
            *_flax_qkv(),
            *_flax_dense(
                _FLAX_BLOCK + "MultiHeadDotProductAttention_0/out", _BLOCK + ".proj", "heads_in"
            ),
            *_flax_norm(_ENCODER + "encoder_norm", "backbone.{enc}encoder.norm"),
            *_flax_dense("output_projection", "head.classifier"),
        ),
        names={"enc": _ENCODERS},
        drops=(Drop(source=r"(optimizer|opt_state|rng|global_step).*", reason="training state"),),
    ),
    backbone=ViViTConfig(),
    input=_INPUT,
    classifies=True,
    asked=("exclusive", "heads", "frames", "stride"),
)

_HF_TARGET = "backbone.encoder.blocks.{block}"


def _hugging_face(block: str, qkv: tuple[str, str, str], proj: str, fc1: str, fc2: str) -> Family:
    """The joint form of transformers. `block`: where a layer's tensors are; then the names in it:
    of query, key and value, of the attention's output, and of the two layers of the MLP."""
    at = r"(?:vivit\.)?" + block
    rules = tuple(
        Rule(source=f"{at}{name}\\.{p}", target=f"{_HF_TARGET}.qkv.{p}", part=part)
        for p in ("weight", "bias")
        for part, name in enumerate(qkv)
    )
    return Family(
        name="Hugging Face ViViT",
        marks=(r"(vivit\.)?embeddings\.patch_embeddings\.projection\.weight", at + ".*"),
        absent=(r".*\.q_bias",),
        table=Table(
            rules=(
                *linear(r"(?:vivit\.)?embeddings\.patch_embeddings\.projection", "backbone.embed"),
                Rule(source=r"(?:vivit\.)?embeddings\.cls_token", target="backbone.cls"),
                Rule(
                    source=r"(?:vivit\.)?embeddings\.position_embeddings",
                    target="backbone.position",
                ),
                *rules,
                *linear(at + proj, _HF_TARGET + ".proj"),
                *linear(at + fc1, _HF_TARGET + ".fc1"),
                *linear(at + fc2, _HF_TARGET + ".fc2"),
                *linear(at + r"layernorm_before", _HF_TARGET + ".norm1"),
                *linear(at + r"layernorm_after", _HF_TARGET + ".norm2"),
                *linear(r"(?:vivit\.)?layernorm", "backbone.encoder.norm"),
                *linear("classifier", "head.classifier"),
            ),
        ),
        backbone=ViViTConfig(temporal_layers=0),
        input=_INPUT,
        classifies=True,
        asked=("exclusive", "heads", "frames", "stride"),
    )


HUGGING_FACE = _hugging_face(
    r"encoder\.layer\.(?P<block>\d+)\.",
    (
        r"attention\.attention\.query",
        r"attention\.attention\.key",
        r"attention\.attention\.value",
    ),
    r"attention\.output\.dense",
    r"intermediate\.dense",
    r"output\.dense",
)
# What `torch.save(model.state_dict())` writes since transformers 5; `save_pretrained` still
# writes the names above.
HUGGING_FACE_MODULES = _hugging_face(
    r"layers\.(?P<block>\d+)\.",
    (r"attention\.q_proj", r"attention\.k_proj", r"attention\.v_proj"),
    r"attention\.o_proj",
    r"mlp\.fc1",
    r"mlp\.fc2",
)

_TIMM_BLOCK = r"blocks\.(?P<block>\d+)\."

TIMM = Table(
    rules=(
        *linear(r"patch_embed\.proj", "embed"),
        Rule(source="cls_token", target="cls"),
        Rule(source="pos_embed", target="position"),
        *linear(_TIMM_BLOCK + r"(?P<norm>norm[12])", "encoder.blocks.{block}.{norm}"),
        *linear(_TIMM_BLOCK + r"attn\.(?P<part>qkv|proj)", "encoder.blocks.{block}.{part}"),
        *linear(_TIMM_BLOCK + r"mlp\.(?P<part>fc[12])", "encoder.blocks.{block}.{part}"),
        *linear("norm", "encoder.norm"),
    ),
    drops=(Drop(source=r"(head|fc_norm|head_dist|pre_logits)\..*", reason="the image classifier"),),
)


def central_frame(filters: Tensor, frames: int) -> Tensor:
    """2-D patch filters `(D, 3, h, w)` → `(D, 3, frames, h, w)`, zero but at frame `frames // 2`.

    On a static clip each tubelet then embeds exactly as the image patch does.
    """
    if filters.ndim != 4:
        raise CheckpointError("not the patch filters of an image model", got=filters.shape)
    tubelets = filters.new_zeros(*filters.shape[:2], frames, *filters.shape[2:])
    tubelets[:, :, frames // 2] = filters
    return tubelets


def joint_positions(position: Tensor, frames: int) -> Tensor:
    """Image position embeddings `(1, 1 + N, D)` → the joint form's, the same for every frame."""
    return torch.cat([position[:, :1], position[:, 1:].repeat(1, frames, 1)], dim=1)
