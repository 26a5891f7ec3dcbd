"""MMAction2: SlowFast, Slow-only, I3D (± non-local), C2D, R(2+1)D, ir- and ip-CSN; recognisers and
AVA detectors.

Its AVA heads have 81 outputs whose column 0 is an ignored background class (MultiSports' have
none): that row is left out. Its SlowFast classifiers join the pathways the other way round.
Its detectors keep res5 undilated, take every α-th frame, and pool 8×8 aligned.
"""

from __future__ import annotations

from dataclasses import replace

from tubelet.convert.facts import Facts
from tubelet.convert.family import NORM, STEPS, Family, conv_norm, linear, slowfast_alpha
from tubelet.convert.rules import Drop, Rule, Table
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.layers.resnet3d import NonLocalConfig
from tubelet.types import InputSpec

_LAYERS = {"1": "a", "2": "b", "3": "c"}
_MEAN, _STD = (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255)
_HEAD = LinearHeadConfig(resolution=8)
_DETECTION = r"roi_head\..*"
_ASKED = ("exclusive", "background", "frames", "stride", "temporal_pool", "context")
_HEADS = (
    *linear(r"roi_head\.bbox_head\.fc_cls(?:\.2)?", "head.classifier"),
    *linear(r"roi_head\.bbox_head\.fc_cls\.0", "head.hidden"),
    *linear(r"cls_head\.fc_cls", "head.classifier"),
    *conv_norm(r"roi_head\.shared_head\.conv1\.", "head.relate", "conv", "bn"),
    *conv_norm(r"roi_head\.shared_head\.conv2\.", "head.gather", "conv", "bn"),
)
_DROPS = (Drop(source=r"data_preprocessor\..*", reason="pixel mean and standard deviation"),)


def _rules(path: str, prefix: str, operation: str = "copy") -> tuple[Rule, ...]:
    at = rf"backbone\.{path}layer(?P<stage>\d)\.(?P<block>\d+)\."
    block = "backbone." + prefix + "stages.{stage}.{block}"
    attention = at + r"non_local_block\."
    stem = f"backbone.{prefix}stem.conv_norm"
    return (
        *conv_norm(rf"backbone\.{path}conv1\.", stem, "conv", "bn", operation),
        *conv_norm(at + r"conv(?P<layer>[123])\.", block + ".{layer}", "conv", "bn", operation),
        *conv_norm(at + r"downsample\.", block + ".shortcut", "conv", "bn", operation),
        *linear(attention + r"(?P<part>theta|phi|g)(?:\.0)?\.conv", block + ".attention.{part}"),
        *linear(attention + r"conv_out\.conv", block + ".attention.out"),
        Rule(
            source=attention + rf"conv_out\.bn\.{NORM}",
            target=block + ".attention.norm.{param}",
        ),
    )


def _slowfast(lateral: tuple[Rule, ...], *, normed: bool) -> Family:
    """SlowFast whose lateral convolutions have a norm and a ReLU, or neither."""
    norm = (r"backbone\.slow_path\.conv1_lateral\.bn\.weight",)
    marks = (r"backbone\.slow_path\.conv1\.conv\.weight", r"backbone\.fast_path\..*")
    return Family(
        name="MMAction2 SlowFast",
        marks=(*marks, *norm) if normed else marks,
        absent=() if normed else norm,
        table=Table(
            rules=(
                *_rules(r"slow_path\.", "slow_"),
                *_rules(r"fast_path\.", "fast_"),
                *lateral,
                *_HEADS,
            ),
            names={"stage": STEPS, "layer": _LAYERS, "first": {"1": "0"}},
            drops=_DROPS,
        ),
        backbone=SlowFastConfig(res5_dilation=1, slow_select="stride", lateral_norm=normed),
        input=InputSpec(mean=_MEAN, std=_STD),
        detection_head=_HEAD,
        detection=_DETECTION,
        habits=slowfast_alpha,
        asked=(*_ASKED, "alpha", "join"),
    )


_FIRST = r"backbone\.slow_path\.conv(?P<first>1)_lateral\."
_LATER = r"backbone\.slow_path\.layer(?P<step>\d)_lateral\."

SLOWFAST = _slowfast(
    (
        Rule(source=_FIRST + r"conv\.weight", target="backbone.laterals.{first}.body.weight"),
        Rule(source=_LATER + r"conv\.weight", target="backbone.laterals.{step}.body.weight"),
    ),
    normed=False,
)
SLOWFAST_NORMED = _slowfast(
    (
        *conv_norm(_FIRST, "backbone.laterals.{first}.body", "conv", "bn"),
        *conv_norm(_LATER, "backbone.laterals.{step}.body", "conv", "bn"),
    ),
    normed=True,
)

_STEM = r"backbone\.conv1\.conv\.weight"
_CONV2 = r"backbone\.layer1\.0\.conv2\.conv\.weight"
_PLAIN = Table(
    rules=(*_rules("", ""), *_HEADS), names={"stage": STEPS, "layer": _LAYERS}, drops=_DROPS
)


def _gaussian(config: ActionModelConfig) -> Facts:
    """A Gaussian non-local block has no projections of its own, so the names tell it."""
    backbone = config.backbone
    if isinstance(backbone, ResNet3dConfig) and backbone.attention.kind == "gaussian":
        return Facts(nonlocal_kind="gaussian")
    return Facts()


def _slowonly(config: ActionModelConfig) -> Facts:
    """Slow-only has no stride in time."""
    return replace(_gaussian(config), time_strides=(1, 1, 1))


I3D = Family(
    name="MMAction2 I3D",
    marks=(_STEM, _CONV2),
    kernel=(_STEM, (5, 7, 7)),
    table=_PLAIN,
    backbone=ResNet3dConfig(
        stem_time_strides=(2, 2),
        pool_time=True,
        res5_dilation=1,
        attention=NonLocalConfig(
            kind="softmax", pool_projected=True, output_bias=False, scaled=False
        ),
    ),
    input=InputSpec(frames=32, stride=2, mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    asked=(*_ASKED, "time_strides", "nonlocal_kind"),
    settles=_gaussian,
)

SLOWONLY = Family(
    name="MMAction2 Slow-only",
    marks=(_STEM, _CONV2),
    kernel=(_STEM, (1, 7, 7)),
    table=_PLAIN,
    backbone=ResNet3dConfig(
        res5_dilation=1,
        attention=NonLocalConfig(kind="softmax", pool_projected=True, output_bias=False),
    ),
    input=InputSpec(frames=4, stride=16, mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    asked=(*_ASKED, "nonlocal_kind"),
    settles=_slowonly,
)

C2D = Family(
    name="MMAction2 C2D",
    marks=(_STEM, _CONV2),
    kernel=(_STEM, (7, 7)),
    table=Table(
        rules=(*_rules("", "", "frame"), *_HEADS),
        names={"stage": STEPS, "layer": _LAYERS},
        drops=_DROPS,
    ),
    backbone=ResNet3dConfig(pool_time=True, stem_padding=0, res5_dilation=1),
    input=InputSpec(frames=8, stride=8, mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    asked=(*_ASKED, "time_strides"),
)

_AT = r"backbone\.layer(?P<stage>\d)\.(?P<block>\d+)\."
_BLOCK = "backbone.stages.{stage}.{block}"


def _csn(name: str, first: tuple[int, int, int], middle: tuple[Rule, ...]) -> Family:
    """`first`: the kernel of a bottleneck's first middle layer, depthwise 3×3×3 or mixing 1×1×1."""
    return Family(
        name=name,
        marks=(_STEM,),
        kernel=(r"backbone\.layer1\.0\.conv2\.0\.conv\.weight", first),
        table=Table(
            rules=(*middle, *_PLAIN.rules),
            names=_PLAIN.names,
            drops=_DROPS,
        ),
        backbone=CSNConfig(),
        input=InputSpec(frames=32, stride=2, mean=_MEAN, std=_STD),
        detection_head=_HEAD,
        detection=_DETECTION,
        asked=(*_ASKED, "mean", "std"),
    )


IR_CSN = _csn(
    "MMAction2 ir-CSN",
    (3, 3, 3),
    conv_norm(_AT + r"conv2\.0\.", _BLOCK + ".b", "conv", "bn"),
)
IP_CSN = _csn(
    "MMAction2 ip-CSN",
    (1, 1, 1),
    (
        *conv_norm(_AT + r"conv2\.0\.", _BLOCK + ".b.mix", "conv", "bn"),
        *conv_norm(_AT + r"conv2\.1\.", _BLOCK + ".b.depthwise", "conv", "bn"),
    ),
)


def _split(source: str, target: str) -> tuple[Rule, ...]:
    return (
        *conv_norm(source + r"conv\.", target + ".space", "conv_s", "bn_s"),
        *conv_norm(source, target + ".time", r"conv\.conv_t", "bn"),
    )


R2PLUS1D = Family(
    name="MMAction2 R(2+1)D",
    marks=(r"backbone\.conv1\.conv\.conv_s\.weight",),
    table=Table(
        rules=(
            *_split(r"backbone\.conv1\.", "backbone.stem"),
            *_split(_AT + r"conv(?P<layer>[12])\.", _BLOCK + ".{layer}"),
            *_split(_AT + r"downsample\.", _BLOCK + ".shortcut"),
            *_HEADS,
        ),
        names={"stage": STEPS, "layer": _LAYERS},
        drops=_DROPS,
    ),
    backbone=R2Plus1dConfig(
        stage_strides=((1, 1), (2, 2), (2, 2), (2, 2)),
        stem_pool=True,
        norm_eps=1e-3,
        middle_eps=1e-5,
    ),
    input=InputSpec(frames=8, stride=8, mean=_MEAN, std=_STD),
    detection_head=_HEAD,
    detection=_DETECTION,
    asked=_ASKED,
)
