"""PyTorchVideo: its own hub models, and the same builders inside PySlowFast (prefix `model.`).

The hub's detectors pool with torchvision's RoIAlign, `aligned=False`; PySlowFast gives its builder
an aligned one.
"""

from __future__ import annotations

from dataclasses import replace

from tubelet.convert.family import STEPS, Family, conv_norm, linear, slowfast_alpha
from tubelet.convert.rules import Rule, Table
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.types import InputSpec

_PREFIX = r"(?:model\.)?blocks\."
_PATHS = r"multipathway_blocks\.(?P<path>\d)\."
_BLOCK = "backbone.{path}stages.{stage}.{block}"


def _stage_rules(paths: str, block: str, middle: tuple[Rule, ...]) -> tuple[Rule, ...]:
    at = _PREFIX + r"(?P<stage>[1-5])\." + paths + r"res_blocks\.(?P<block>\d+)\."
    return (
        *conv_norm(at, block + ".shortcut", "branch1_conv", "branch1_norm"),
        *middle,
        *conv_norm(
            at + r"branch2\.",
            block + ".{layer}",
            r"conv_(?P<layer>[abc])",
            r"norm_(?P<layer>[abc])",
        ),
    )


_SINGLE_BLOCK = "backbone.stages.{stage}.{block}"
_BRANCH = _PREFIX + r"(?P<stage>[1-4])\.res_blocks\.(?P<block>\d+)\.branch2\."
_SPLIT = (
    *conv_norm(_BRANCH + r"conv_b\.", _SINGLE_BLOCK + ".b.time", "conv_t", "norm"),
    *conv_norm(_BRANCH, _SINGLE_BLOCK + ".b.space", r"conv_b\.conv_xy", "norm_b"),
)
_HEAD = linear(
    r"(?:(?:model\.)?blocks\.\d+|detection_head|(?:model\.)?head)\.proj", "head.classifier"
)
_STEM = conv_norm(_PREFIX + r"0\.", "backbone.stem.conv_norm", "conv", "norm")
_NAMES = {"stage": STEPS}
_ALIGNED_NOT = LinearHeadConfig(aligned=False)
_DETECTION = r"detection_head\..*"
_ASKED = ("exclusive", "colour", "frames", "stride", "aligned", "train_crop")


def _single(middle: tuple[Rule, ...] = ()) -> Table:
    return Table(rules=(*_STEM, *_stage_rules("", _SINGLE_BLOCK, middle), *_HEAD), names=_NAMES)


SLOWFAST = Family(
    name="PyTorchVideo SlowFast",
    marks=(_PREFIX + r"0\.multipathway_fusion\..*",),
    table=Table(
        rules=(
            *conv_norm(_PREFIX + r"0\." + _PATHS, "backbone.{path}stem.conv_norm", "conv", "norm"),
            *conv_norm(
                _PREFIX + r"(?P<step>\d)\.multipathway_fusion\.",
                "backbone.laterals.{step}.body",
                "conv_fast_to_slow",
                "norm",
            ),
            *_stage_rules(_PATHS, _BLOCK, ()),
            *_HEAD,
        ),
        names={**_NAMES, "path": {"0": "slow_", "1": "fast_"}},
    ),
    backbone=SlowFastConfig(),
    input=InputSpec(),
    detection_head=_ALIGNED_NOT,
    detection=_DETECTION,
    habits=slowfast_alpha,
    asked=(*_ASKED, "alpha"),
)

_AFTER_POOL = {"1": "0", "3": "1", "4": "2", "5": "3"}
"""Residual stages where `stage1_pool`, which has no parameters, counts as block 2."""
_RES_B = _PREFIX + r"1\.res_blocks\.0\.branch2\.conv_b\.weight"
_RES_A = _PREFIX + r"1\.res_blocks\.0\.branch2\.conv_a\.weight"

R2PLUS1D = Family(
    name="PyTorchVideo R(2+1)D",
    marks=(_RES_A, r".*\.conv_b\.conv_t\.weight"),
    table=_single(_SPLIT),
    backbone=R2Plus1dConfig(time_first=True),
    input=InputSpec(frames=16, stride=4),
    detection_head=_ALIGNED_NOT,
    detection=_DETECTION,
    asked=_ASKED,
)

POOLED = Family(
    name="PyTorchVideo I3D and C2D",
    marks=(_RES_A, _PREFIX + r"5\.res_blocks\..*"),
    absent=(_PREFIX + r"2\.res_blocks\..*",),
    kernel=(_RES_B, (1, 3, 3)),
    table=replace(_single(), names={"stage": _AFTER_POOL}),
    backbone=ResNet3dConfig(pool_time=True),
    input=InputSpec(frames=8, stride=8),
    detection_head=_ALIGNED_NOT,
    detection=_DETECTION,
    asked=_ASKED,
)

RESNET = Family(
    name="PyTorchVideo ResNet",
    marks=(_RES_A, _PREFIX + r"2\.res_blocks\..*"),
    kernel=(_RES_B, (1, 3, 3)),
    table=_single(),
    backbone=ResNet3dConfig(),
    input=InputSpec(frames=8, stride=8),
    detection_head=_ALIGNED_NOT,
    detection=_DETECTION,
    asked=_ASKED,
)

CSN = Family(
    name="PyTorchVideo CSN",
    marks=RESNET.marks,
    kernel=(_RES_B, (3, 3, 3)),
    table=_single(),
    backbone=CSNConfig(norm_eps=1e-5),
    input=InputSpec(frames=32, stride=2),
    detection_head=_ALIGNED_NOT,
    detection=_DETECTION,
    asked=_ASKED,
)
