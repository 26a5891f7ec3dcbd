"""VMZ and torchvision video ResNets: R(2+1)D of basic blocks and of bottlenecks, ir-CSN, ip-CSN,
R3D and MC3.

VMZ sets batch-norm eps to 1e-3 after construction, torchvision keeps 1e-5; the weights do not say
which. Basic blocks whose second kernel takes the planes of the first are torchvision's, everything
else is VMZ's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from tubelet.models.backbones.r3d import R3dConfig
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
    backbone: R2Plus1dConfig | R3dConfig | CSNConfig,
    asked: tuple[str, ...] = (),
    habits: Callable[[PublishedBackboneConfig, bool], PublishedBackboneConfig] = unchanged,
    absent: tuple[str, ...] = (),
) -> Family:
    return Family(
        name=name,
        marks=(r"stem\.0\.weight", r"fc\.weight", mark),
        absent=absent,
        table=Table(rules=(*rules, *_COMMON), names={"stage": STEPS, "conv": _CONVS}),
        backbone=backbone,
        input=InputSpec(frames=32, stride=2, mean=VMZ_MEAN, std=VMZ_STD),
        classifies=True,
        asked=("exclusive", "frames", "stride", *asked),
        habits=habits,
    )


def _basic_eps(backbone: PublishedBackboneConfig, detection: bool) -> PublishedBackboneConfig:
    """Separate middle planes are VMZ's convention, and so is its epsilon."""
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
R3D = _family(
    "torchvision R3D",
    r"layer1\.0\.conv2\.0\.weight",
    (*_PLAIN_STEM, *conv_norm(_AT + r"conv(?P<conv>[12])\.", _BLOCK + ".{conv}", "0", "1")),
    R3dConfig(),
    ("norm_eps",),
    absent=(r"layer1\.0\.conv3\.0\.weight",),
)
IR_CSN = _family(
    "VMZ ir-CSN",
    r"layer1\.0\.conv2\.0\.weight",
    (*_PLAIN_STEM, *_OUTER, *conv_norm(_AT + r"conv2\.", _BLOCK + ".b", "0", "1")),
    CSNConfig(),
)


_C2_LAYERS = {16: (3, 4, 6, 3), 33: (3, 4, 23, 3), 50: (3, 8, 36, 3)}
"""Blocks of the four stages by their sum: Caffe2 counts blocks through all of them."""
_C2_KIND = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_C2_PARTS = {
    # ir-CSN leaves number 2 out; in ip-CSN it is both the mixing and the depthwise convolution.
    "ir": {"conv_1": "conv1.0", "conv_3": "conv2.0", "conv_4": "conv3.0"}
    | {"spatbn_1": "conv1.1", "spatbn_3": "conv2.1", "spatbn_4": "conv3.1"},
    "ip": {"conv_1": "conv1.0", "conv_2_middle": "conv2.0.0", "conv_2": "conv2.0.2"}
    | {"conv_3": "conv3.0", "spatbn_1": "conv1.1", "spatbn_2_middle": "conv2.0.1"}
    | {"spatbn_2": "conv2.1", "spatbn_3": "conv3.1"},
}


def is_caffe2(names: Iterable[str]) -> bool:
    """Whether these are Caffe2's blobs of a VMZ channel-separated network."""
    return {"conv1_w", "comp_0_conv_1_w"} <= set(names)


def caffe2_names(names: Iterable[str]) -> dict[str, str]:
    """Caffe2's blobs of a VMZ network → the names of its PyTorch twin; unknown ones stay as they
    are."""
    blobs = list(names)
    kind = "ip" if "comp_0_conv_2_middle_w" in blobs else "ir"
    count = sum(bool(re.fullmatch(r"comp_\d+_conv_1_w", blob)) for blob in blobs)
    places = [
        f"layer{stage}.{block}"
        for stage, length in enumerate(_C2_LAYERS.get(count, ()), 1)
        for block in range(length)
    ]
    return {blob: _c2_name(blob, places, _C2_PARTS[kind]) for blob in blobs}


def _c2_name(blob: str, places: Sequence[str], parts: Mapping[str, str]) -> str:
    if m := re.fullmatch(r"conv1_(?:(w)|spatbn_relu_(s|b|rm|riv))", blob):
        return f"stem.{0 if m[1] else 1}.{_C2_KIND[m[1] or m[2]]}"
    if m := re.fullmatch(r"last_out_L\d+_([wb])", blob):
        return f"fc.{_C2_KIND[m[1]]}"
    if m := re.fullmatch(r"shortcut_projection_(\d+)_(?:(w)|spatbn_(s|b|rm|riv))", blob):
        place = f"downsample.{0 if m[2] else 1}.{_C2_KIND[m[2] or m[3]]}"
    elif (m := re.fullmatch(r"comp_(\d+)_(\w+)_(w|s|b|rm|riv)", blob)) and m[2] in parts:
        place = f"{parts[m[2]]}.{_C2_KIND[m[3]]}"
    else:
        return blob
    return f"{places[int(m[1])]}.{place}" if int(m[1]) < len(places) else blob
