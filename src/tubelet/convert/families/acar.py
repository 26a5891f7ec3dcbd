"""ACAR-Net: SlowFast with the high-order relation head, AVA detectors.

Its SlowFast is PySlowFast's under other names. Tensors do not say how the Slow pathway chooses its
frames (the R50 config by `slow_full_span`, the R101 config by a plain stride), nor that the first
classes are poses, of which the loss takes a softmax.
"""

from __future__ import annotations

from tubelet.convert.family import NORM, STEPS, Family, conv_norm
from tubelet.convert.rules import Rule, Table
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.heads.hr2o import HR2OHeadConfig
from tubelet.types import InputSpec

_AT = r"backbone\.module\.(?P<path>slow|fast)_res(?P<stage>\d)\.(?P<block>\d+)\."
_BLOCK = "backbone.{path}_stages.{stage}.{block}"
_STEM = r"backbone\.module\.(?P<path>slow|fast)_"
_HEAD = r"head\.module\."
_LATERAL = r"backbone\.module\.Tconv(?P<step>\d)\."


def _weight(source: str, target: str) -> Rule:
    """A bias-free 2-D convolution of the head."""
    return Rule(
        source=rf"{_HEAD}{source}\.weight", target=f"head.{target}.weight", operation="frame"
    )


SLOWFAST = Family(
    name="ACAR SlowFast",
    marks=(
        r"backbone\.module\.slow_conv1\.weight",
        r"backbone\.module\.Tconv1\..*",
        _HEAD + r"hr2o\.0\.conv_q\.weight",
    ),
    table=Table(
        rules=(
            *conv_norm(_STEM, "backbone.{path}_stem.conv_norm", "conv1", "bn1"),
            Rule(source=_AT + r"conv(?P<layer>\d)\.weight", target=_BLOCK + ".{layer}.conv.weight"),
            Rule(source=_AT + rf"bn(?P<layer>\d)\.{NORM}", target=_BLOCK + ".{layer}.norm.{param}"),
            *conv_norm(_AT, _BLOCK + ".shortcut", r"downsample\.0", "downsample_bn"),
            *conv_norm(_LATERAL, "backbone.laterals.{step}.body", "0", "1"),
            Rule(source=_LATERAL + "weight", target="backbone.laterals.{step}.body.weight"),
            _weight("conv_reduce", "reduce"),
            _weight("conv1", "relate"),
            _weight("conv2", "gather"),
            _weight(r"hr2o\.(?P<number>\d+)\.conv_(?P<part>[qkv])", "hr2o.{number}.{part}"),
            _weight(r"hr2o\.(?P<number>\d+)\.conv", "hr2o.{number}.mix"),
            Rule(
                source=_HEAD + r"hr2o\.(?P<number>\d+)\.norm\.(?P<param>weight|bias)",
                target="head.hr2o.{number}.norm.{param}",
            ),
            Rule(source=_HEAD + r"fc1\.weight", target="head.person.weight"),
            Rule(source=_HEAD + r"fc2\.weight", target="head.classifier.weight"),
        ),
        names={"stage": STEPS, "step": STEPS, "layer": {"1": "a", "2": "b", "3": "c"}},
    ),
    backbone=SlowFastConfig(),
    input=InputSpec(frames=32, stride=2, short_side=256),
    detection_head=HR2OHeadConfig(stretched=True),
    detection=_HEAD + r"fc2\.weight",
    asked=("exclusive", "pose_softmax", "slow_select", "alpha", "frames", "stride", "mean", "std"),
)
