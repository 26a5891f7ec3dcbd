"""Facts become configuration, and changes of the tensors that the configuration cannot express."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from tubelet.convert.facts import Facts
from tubelet.errors import CheckpointError
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.x3d import X3DConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.types import InputSpec

T = TypeVar("T")
_CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")


def apply_facts(config: ActionModelConfig, facts: Facts) -> ActionModelConfig:
    """`config` with every fact that it has a field for; labels apart."""
    given = facts.given()
    backbone = _with(config.backbone, given)
    if isinstance(backbone, ResNet3dConfig):
        backbone = _with(backbone, _single_pathway(backbone, given))
    head = config.head
    if facts.roi_bins is not None:
        head = _with(head, {"resolution": facts.roi_bins})
    head = _with(head, given)
    if isinstance(head, ClipHeadConfig) and facts.train_crop is not None:
        rounded_up = isinstance(backbone, X3DConfig)  # as its own head has it
        head = replace(head, window=max(1, (facts.train_crop + 31 * rounded_up) // 32))
    return replace(config, backbone=backbone, head=head, input=_input(config, facts))


def _single_pathway(backbone: ResNet3dConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "time_strides" in given:
        *stem, after = given["time_strides"]
        if after not in (1, 2):
            raise CheckpointError("the pool after res2 strides by 1 or 2 in time", got=after)
        fields |= {"stem_time_strides": tuple(stem), "pool_time": after == 2}
        if after == 1 and backbone.stem_padding == 0:
            # MMAction2's "C2D without pool" is its plain 2-D ResNet, whose stem pool pads.
            fields["stem_padding"] = 1
    attention = backbone.attention
    if "nonlocal_kind" in given:
        attention = replace(attention, kind=given["nonlocal_kind"])
    if "nonlocal_pool" in given:
        attention = replace(attention, pool=given["nonlocal_pool"])
    return {**fields, "attention": attention}


def _input(config: ActionModelConfig, facts: Facts) -> InputSpec:
    keys = ("frames", "stride", "fps", "short_side", "preprocessing")
    given = {k: v for k, v in facts.given().items() if k in keys}
    spec = replace(config.input, **given)
    if isinstance(config.head, ClipHeadConfig):
        spec = replace(spec, crop=facts.crop or spec.short_side)
    for key in ("mean", "std"):
        value = getattr(facts, key)
        if value is not None:
            pixels: Any = {key: value[::-1] if facts.colour == "bgr" else value}
            spec = replace(spec, **pixels)
    return spec


def _with(record: T, given: Mapping[str, Any]) -> T:
    """`record` with those of `given` that are its fields."""
    assert dataclasses.is_dataclass(record) and not isinstance(record, type)
    names = {field.name for field in dataclasses.fields(record)}
    changed: T = replace(record, **{k: v for k, v in given.items() if k in names})
    return changed


def apply_to_tensors(
    state: Mapping[str, Tensor], facts: Facts, config: ActionModelConfig
) -> dict[str, Tensor]:
    """`state` (our names) as our model wants it: without a background class, for RGB, pathways
    joined as [slow, fast]."""
    changed = dict(state)
    if facts.background:
        changed |= {name: changed[name][1:] for name in _CLASSIFIER}
    if facts.colour == "bgr":
        changed |= {name: changed[name].flip(1) for name in first_convolutions(changed)}
    if facts.join == "fast_slow":
        changed[_CLASSIFIER[0]] = _slow_first(changed[_CLASSIFIER[0]], config)
    return changed


def first_convolutions(state: Mapping[str, Tensor]) -> list[str]:
    """Weights that read the frames' channels: of the stems, or of a transformer's tubelets."""
    names = [
        name
        for name, tensor in state.items()
        if re.fullmatch(r"backbone\.(.*stem.*|embed\..*)weight", name)
        and tensor.ndim == 5
        and tensor.shape[1] == 3
    ]
    if not names:
        raise CheckpointError("no convolution reads three channels: cannot turn BGR into RGB")
    return names


def _slow_first(weight: Tensor, config: ActionModelConfig) -> Tensor:
    """Classifier weights `(K, fast + slow)` → `(K, slow + fast)`."""
    assert isinstance(config.backbone, SlowFastConfig)
    with torch.device("meta"):
        _, fast = (o.channels for o in config.backbone.build().outputs)
    return torch.cat([weight[:, fast:], weight[:, :fast]], dim=1)
