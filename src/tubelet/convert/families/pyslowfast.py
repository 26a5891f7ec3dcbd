"""PySlowFast: SlowFast, Slow-only, I3D and X3D, from `.pyth` files and from Caffe2 `.pkl` files.

Both pathways share one naming; Caffe2's blobs are renamed to it first. The weights do not hold α,
the pooling of non-local keys, nor whether RoIAlign was aligned (True in `AVA/*.yaml`, False in
`AVA/c2/*.yaml`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from tubelet.convert.facts import Facts
from tubelet.convert.family import (
    NORM,
    STAGES,
    STEPS,
    Family,
    PublishedBackboneConfig,
    conv_norm,
    linear,
    slowfast_alpha,
)
from tubelet.convert.rules import Drop, Rule, Table
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.x3d import X3DConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.layers.resnet3d import NonLocalConfig
from tubelet.types import InputSpec

_RES = r"s(?P<stage>\d)\.pathway(?P<path>\d)_res(?P<block>\d+)\."
_NONLOCAL = r"s(?P<stage>\d)\.pathway(?P<path>\d)_nonlocal(?P<block>\d+)\."
_BLOCK = "backbone.{path}stages.{stage}.{block}"

RULES = (
    *conv_norm(r"s1\.pathway(?P<path>\d)_stem\.", "backbone.{path}stem.conv_norm", "conv", "bn"),
    *conv_norm(r"s(?P<step>\d)_fuse\.", "backbone.laterals.{step}.body", "conv_f2s", "bn"),
    *conv_norm(
        _RES + r"branch2\.", _BLOCK + ".{layer}", r"(?P<layer>[abc])", r"(?P<layer>[abc])_bn"
    ),
    *conv_norm(_RES, _BLOCK + ".shortcut", "branch1", "branch1_bn"),
    *linear(_NONLOCAL + r"conv_(?P<part>theta|phi|g|out)", _BLOCK + ".attention.{part}"),
    Rule(source=_NONLOCAL + rf"bn\.{NORM}", target=_BLOCK + ".attention.norm.{param}"),
    *linear(r"head\.projection", "head.classifier"),
)


def _habits(backbone: PublishedBackboneConfig, detection: bool) -> PublishedBackboneConfig:
    """Non-local blocks: softmax in the R50 and I3D configs, dot product in SlowFast R101, whose AVA
    configs pool keys through time too."""
    if isinstance(backbone, ResNet3dConfig):
        return replace(backbone, attention=NonLocalConfig(kind="softmax"))
    if isinstance(backbone, SlowFastConfig) and backbone.depth == 50:
        backbone = replace(backbone, nonlocal_kind="softmax")
    elif isinstance(backbone, SlowFastConfig) and detection:
        backbone = replace(backbone, nonlocal_pool=(2, 2, 2))
    return slowfast_alpha(backbone, detection)


def _pools_time(config: ActionModelConfig) -> Facts:
    """I3D pools time after res2, Slow does not; C2D, without temporal kernels, may or may not."""
    backbone = config.backbone
    if not isinstance(backbone, ResNet3dConfig) or not _has_temporal(backbone):
        return Facts()
    return Facts(time_strides=(1, 1, 2 if backbone.pool_time else 1))


def _has_temporal(backbone: ResNet3dConfig) -> bool:
    return backbone.stem_temporal > 1 or any(max(stage) > 1 for stage in backbone.temporal)


_ASKED = (
    "task",
    "exclusive",
    "colour",
    "frames",
    "stride",
    "aligned",
    "train_crop",
    "nonlocal_kind",
    "nonlocal_pool",
)

SLOWFAST = Family(
    name="PySlowFast SlowFast",
    marks=(r"s1\.pathway0_stem\..*", r"s1\.pathway1_stem\..*"),
    table=Table(
        rules=RULES,
        names={"stage": STAGES, "step": STEPS, "path": {"0": "slow_", "1": "fast_"}},
    ),
    backbone=SlowFastConfig(),
    input=InputSpec(),
    habits=_habits,
    asked=(*_ASKED, "alpha"),
)

X3D = Family(
    name="PySlowFast X3D",
    marks=(r"s1\.pathway0_stem\.conv_xy\.weight", r"head\.lin_5\.weight"),
    table=Table(
        rules=(
            Rule(source=r"s1\.pathway0_stem\.conv_xy\.weight", target="backbone.stem.space.weight"),
            *conv_norm(r"s1\.pathway0_stem\.", "backbone.stem.time", "conv", "bn"),
            *conv_norm(_RES + r"branch2\.", _BLOCK + ".b.depthwise", "b", "b_bn"),
            *linear(_RES + r"branch2\.se\.(?P<layer>fc[12])", _BLOCK + ".b.squeeze.{layer}"),
            *conv_norm(
                _RES + r"branch2\.", _BLOCK + ".{layer}", r"(?P<layer>[ac])", r"(?P<layer>[ac])_bn"
            ),
            *conv_norm(_RES, _BLOCK + ".shortcut", "branch1", "branch1_bn"),
            *conv_norm(r"head\.", "backbone.last", "conv_5", "conv_5_bn"),
            Rule(source=r"head\.lin_5\.weight", target="head.hidden.weight", operation="matrix"),
            *linear(r"head\.projection", "head.classifier"),
        ),
        names={"stage": STAGES, "path": {"0": ""}},
    ),
    backbone=X3DConfig(),
    input=InputSpec(frames=16, stride=5),
    classifies=True,
    asked=("exclusive", "colour", "frames", "stride", "train_crop"),
)

SINGLE = Family(
    name="PySlowFast single pathway",
    marks=(r"s1\.pathway0_stem\.conv\.weight", r"s2\.pathway0_res0\.branch2\.a\.weight"),
    absent=(r"s1\.pathway1_stem\..*",),
    table=Table(rules=RULES, names={"stage": STAGES, "path": {"0": ""}}),
    backbone=ResNet3dConfig(),
    input=InputSpec(frames=8, stride=8),
    habits=_habits,
    asked=(*_ASKED, "time_strides"),
    settles=_pools_time,
)


CAFFE2_DROPS = (
    Drop(source=r".*_momentum", reason="the optimiser's momentum"),
    Drop(source=r"lr|model_iter|epoch", reason="training state"),
)


def is_caffe2(names: Iterable[str]) -> bool:
    """Whether these are Caffe2's blobs of PySlowFast."""
    return {"conv1_w", "pred_w"} <= set(names)


def caffe2_names(names: Iterable[str]) -> dict[str, str]:
    """Caffe2's blobs → PySlowFast's names."""
    return {name: from_caffe2(name) for name in names}


_C2_NORM = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_C2_KIND = {"w": "weight", "b": "bias"}
_C2_PATHWAY = {"t_": "1", "": "0"}


def _c2_norm(at: str, suffix: str) -> str:
    return f"{at}.{_C2_NORM[suffix]}"


_CAFFE2: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"pred_([wb])", lambda m: f"head.projection.{_C2_KIND[m[1]]}"),
    (r"t_pool1_subsample_bn_(s|b|rm|riv)", lambda m: _c2_norm("s1_fuse.bn", m[1])),
    (r"t_pool1_subsample_w", lambda m: "s1_fuse.conv_f2s.weight"),
    (
        r"t_res(\d)_\d+_branch2c_bn_subsample_bn_(s|b|rm|riv)",
        lambda m: _c2_norm(f"s{m[1]}_fuse.bn", m[2]),
    ),
    (
        r"t_res(\d)_\d+_branch2c_bn_subsample_w",
        lambda m: f"s{m[1]}_fuse.conv_f2s.weight",
    ),
    (
        r"(t_)?res_conv1_bn_(s|b|rm|riv)",
        lambda m: _c2_norm(f"s1.pathway{_C2_PATHWAY[m[1] or '']}_stem.bn", m[2]),
    ),
    (r"(t_)?conv1_w", lambda m: f"s1.pathway{_C2_PATHWAY[m[1] or '']}_stem.conv.weight"),
    (
        r"(t_)?res(\d)_(\d+)_branch(1|2)([abc]?)_bn_(s|b|rm|riv)",
        lambda m: _c2_norm(
            f"s{m[2]}.pathway{_C2_PATHWAY[m[1] or '']}_res{m[3]}.branch{m[4]}"
            + (f".{m[5]}_bn" if m[5] else "_bn"),
            m[6],
        ),
    ),
    (
        r"(t_)?res(\d)_(\d+)_branch(1|2)([abc]?)_w",
        lambda m: (
            f"s{m[2]}.pathway{_C2_PATHWAY[m[1] or '']}_res{m[3]}.branch{m[4]}"
            + (f".{m[5]}" if m[5] else "")
            + ".weight"
        ),
    ),
    (
        r"nonlocal_conv(\d)_(\d+)_bn_(s|b|rm|riv)",
        lambda m: _c2_norm(f"s{m[1]}.pathway0_nonlocal{m[2]}.bn", m[3]),
    ),
    (
        r"nonlocal_conv(\d)_(\d+)_(theta|phi|g|out)_([wb])",
        lambda m: f"s{m[1]}.pathway0_nonlocal{m[2]}.conv_{m[3]}.{_C2_KIND[m[4]]}",
    ),
)


def from_caffe2(name: str) -> str:
    """A Caffe2 blob's name → PySlowFast's; names it does not know come back as they are.

    Blobs beginning with `t_` belong to the Fast pathway; `t_pool1_subsample` and `…_subsample` are
    the lateral convolutions, `nonlocal_conv4_5` the non-local block after block 5 of res4.
    """
    for pattern, write in _CAFFE2:
        if match := re.fullmatch(pattern, name):
            return write(match)
    return name
