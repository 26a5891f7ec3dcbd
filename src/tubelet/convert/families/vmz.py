"""VMZ and torchvision video ResNets: R(2+1)D of basic blocks and of bottlenecks, ir-CSN, ip-CSN.

VMZ sets batch-norm eps to 1e-3 after construction, torchvision keeps 1e-5; the weights do not say
which. Basic blocks whose second kernel takes the planes of the first are torchvision's, everything
else is VMZ's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tubelet.convert.family import (
    STEPS,
    Family,
    PublishedBackboneConfig,
    conv_norm,
    linear,
    unchanged,
)
from tubelet.convert.rules import Rule, Table
from tubelet.models.backbones.csn import VMZ_MEAN, VMZ_STD, CSNConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.types import InputSpec

_AT = r"layer(?P<stage>\d)\.(?P<block>\d+)\."
_BLOCK = "backbone.stages.{stage}.{block}"
_COMMON = (
    *conv_norm(_AT + r"downsample\.", _BLOCK + ".shortcut", "0", "1"),
    *linear("fc", "head.classifier"),
)
_SPLIT_STEM = (
    *conv_norm(r"stem\.", "backbone.stem.space", "0", "1"),
    *conv_norm(r"stem\.", "backbone.stem.time", "3", "4"),
)
_PLAIN_STEM = conv_norm(r"stem\.", "backbone.stem.conv_norm", "0", "1")
_OUTER = (
    *conv_norm(_AT + r"conv1\.", _BLOCK + ".a", "0", "1"),
    *conv_norm(_AT + r"conv3\.", _BLOCK + ".c", "0", "1"),
)
_CONVS = {"1": "a", "2": "b"}


def _split(source: str, target: str) -> tuple[Rule, ...]:
    return (
        *conv_norm(source + r"0\.", target + ".space", "0", "1"),
        *conv_norm(source, target + ".time", r"0\.3", "1"),
    )


def _family(
    name: str,
    mark: str,
    rules: tuple[Rule, ...],
    backbone: R2Plus1dConfig | CSNConfig,
    asked: tuple[str, ...] = (),
    habits: Callable[[PublishedBackboneConfig, bool], PublishedBackboneConfig] = unchanged,
) -> Family:
    return Family(
        name=name,
        marks=(r"stem\.0\.weight", r"fc\.weight", mark),
        table=Table(rules=(*rules, *_COMMON), names={"stage": STEPS, "conv": _CONVS}),
        backbone=backbone,
        input=InputSpec(frames=32, stride=2, mean=VMZ_MEAN, std=VMZ_STD),
        classifies=True,
        asked=("exclusive", "frames", "stride", *asked),
        habits=habits,
    )


def _basic_eps(backbone: PublishedBackboneConfig, detection: bool) -> PublishedBackboneConfig:
    """Middle planes of their own are VMZ's habit, and so is its epsilon."""
    if isinstance(backbone, R2Plus1dConfig) and backbone.own_planes:
        return replace(backbone, norm_eps=1e-3)
    return backbone


_HALVING = ((1, 1), (2, 2), (2, 2), (2, 2))

R2PLUS1D_BASIC = _family(
    "torchvision R(2+1)D",
    r"layer1\.0\.conv1\.0\.3\.weight",
    (*_SPLIT_STEM, *_split(_AT + r"conv(?P<conv>[12])\.", _BLOCK + ".{conv}")),
    R2Plus1dConfig(stage_strides=_HALVING, norm_eps=1e-5),
    ("norm_eps",),
    _basic_eps,
)
R2PLUS1D = _family(
    "VMZ R(2+1)D",
    r"layer1\.0\.conv2\.0\.3\.weight",
    (*_SPLIT_STEM, *_OUTER, *_split(_AT + r"conv2\.", _BLOCK + ".b")),
    R2Plus1dConfig(stage_strides=_HALVING, norm_eps=1e-3),
)
IP_CSN = _family(
    "VMZ ip-CSN",
    r"layer1\.0\.conv2\.0\.2\.weight",
    (
        *_PLAIN_STEM,
        *_OUTER,
        *conv_norm(_AT + r"conv2\.0\.", _BLOCK + ".b.mix", "0", "1"),
        *conv_norm(_AT + r"conv2\.", _BLOCK + ".b.depthwise", r"0\.2", "1"),
    ),
    CSNConfig(),
)
IR_CSN = _family(
    "VMZ ir-CSN",
    r"layer1\.0\.conv2\.0\.weight",
    (*_PLAIN_STEM, *_OUTER, *conv_norm(_AT + r"conv2\.", _BLOCK + ".b", "0", "1")),
    CSNConfig(),
)
