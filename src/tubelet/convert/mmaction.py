"""MMAction2: SlowFast, Slow-only (± non-local), ir-CSN; recognisers and AVA detectors.

Its AVA heads have 81 outputs whose column 0 is an ignored background class: that row is left out.
Its detectors keep res5 undilated, take every α-th frame, and pool 8×8 aligned.
"""

from __future__ import annotations

from tubelet.convert.family import NORM, STEPS, Family, conv_norm, linear, slowfast_alpha
from tubelet.convert.rules import Drop, Rule, Table
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.layers.resnet3d import NonLocalConfig
from tubelet.types import InputSpec

_LAYERS = {"1": "a", "2": "b", "3": "c"}
_MEAN, _STD = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)
_HEAD = LinearHeadConfig(resolution=8)
_DETECTION = r"roi_head\..*"
_HEADS = (
    *linear(r"roi_head\.bbox_head\.fc_cls", "head.classifier", "drop_background"),
    *linear(r"cls_head\.fc_cls", "head.classifier"),
    *conv_norm(r"roi_head\.shared_head\.conv1\.", "head.relate", "conv", "bn"),
    *conv_norm(r"roi_head\.shared_head\.conv2\.", "head.gather", "conv", "bn"),
)
_DROPS = (Drop(source=r"data_preprocessor\..*", reason="pixel mean and standard deviation"),)


def _rules(path: str, prefix: str) -> tuple[Rule, ...]:
    at = rf"backbone\.{path}layer(?P<stage>\d)\.(?P<block>\d+)\."
    block = "backbone." + prefix + "stages.{stage}.{block}"
    attention = at + r"non_local_block\."
    return (
        *conv_norm(rf"backbone\.{path}conv1\.", f"backbone.{prefix}stem.conv_norm", "conv", "bn"),
        *conv_norm(at + r"conv(?P<layer>[123])\.", block + ".{layer}", "conv", "bn"),
        *conv_norm(at + r"downsample\.", block + ".shortcut", "conv", "bn"),
        *linear(attention + r"(?P<part>theta|phi|g)(?:\.0)?\.conv", block + ".attention.{part}"),
        *linear(attention + r"conv_out\.conv", block + ".attention.out"),
        Rule(
            source=attention + rf"conv_out\.bn\.{NORM}",
            target=block + ".attention.norm.{param}",
        ),
    )


SLOWFAST = Family(
    name="MMAction2 SlowFast",
    marks=(r"backbone\.slow_path\.conv1\.conv\.weight", r"backbone\.fast_path\..*"),
    table=Table(
        rules=(
            *_rules(r"slow_path\.", "slow_"),
            *_rules(r"fast_path\.", "fast_"),
            Rule(
                source=r"backbone\.slow_path\.conv(?P<first>1)_lateral\.conv\.weight",
                target="backbone.laterals.{first}.body.weight",
            ),
            Rule(
                source=r"backbone\.slow_path\.layer(?P<step>\d)_lateral\.conv\.weight",
                target="backbone.laterals.{step}.body.weight",
            ),
            *_HEADS,
        ),
        names={"stage": STEPS, "layer": _LAYERS, "first": {"1": "0"}},
        drops=_DROPS,
    ),
    backbone=SlowFastConfig(res5_dilation=1, slow_select="stride", lateral_norm=False),
    input=InputSpec(mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    habits=slowfast_alpha,
    assumed=("alpha", "frames", "stride"),
)

SLOWONLY = Family(
    name="MMAction2 Slow-only",
    marks=(r"backbone\.conv1\.conv\.weight",),
    kernel=(r"backbone\.layer1\.0\.conv2\.conv\.weight", (1, 3, 3)),
    table=Table(
        rules=(*_rules("", ""), *_HEADS),
        names={"stage": STEPS, "layer": _LAYERS},
        drops=_DROPS,
    ),
    backbone=ResNet3dConfig(
        res5_dilation=1,
        attention=NonLocalConfig(kind="softmax", pool_projected=True, output_bias=False),
    ),
    input=InputSpec(frames=4, stride=16, mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    assumed=("frames", "stride"),
)

CSN = Family(
    name="MMAction2 ir-CSN",
    marks=SLOWONLY.marks,
    kernel=(r"backbone\.layer1\.0\.conv2\.conv\.weight", (3, 3, 3)),
    table=SLOWONLY.table,
    backbone=CSNConfig(),
    input=InputSpec(frames=32, stride=2, mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    assumed=("norm_eps", "frames", "stride"),
)
