"""What a PySlowFast config says about a checkpoint: its YAML file, or the dump under `cfg`.

A file holds only what differs from the program's defaults, so a key that is absent has the default;
those that matter here are in `DEFAULTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tubelet.config import decode
from tubelet.convert.facts import Facts
from tubelet.errors import ConfigError, InputError

DEFAULTS: Mapping[str, Any] = {
    "AVA.BGR": False,
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.NUM_FRAMES": 8,
    "DATA.REVERSE_INPUT_CHANNEL": False,
    "DATA.SAMPLING_RATE": 8,
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.TRAIN_CROP_SIZE": 224,
    "DETECTION.ALIGNED": True,
    "DETECTION.ENABLE": False,
    "DETECTION.ROI_XFORM_RESOLUTION": 7,
    "MODEL.ARCH": "slowfast",
    "MODEL.HEAD_ACT": "softmax",
    "NONLOCAL.INSTANTIATION": "dot_product",
    "NONLOCAL.POOL": [[[1, 2, 2], [1, 2, 2]]] * 4,
    "RESNET.SPATIAL_DILATIONS": [[1, 1]] * 4,
    "RESNET.SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [2, 2]],
    "SLOWFAST.ALPHA": 8,
}
_TIME_POOLED = {"c2d": 2, "c2d_nopool": 1, "i3d": 2, "i3d_nopool": 1, "slow": 1}
"""MODEL.ARCH → stride of the pool after res2."""


def facts_of_file(text: str, *, where: object) -> Facts:
    """The facts in a config file, what it leaves out as the program has it."""
    return _facts(_tree(text, where), DEFAULTS, where)


def facts_of_dump(text: str, *, where: object) -> Facts:
    """The facts in the text that a checkpoint holds. A dump has every key, so that one which is
    absent says nothing: somebody has shortened the text."""
    return _facts(_tree(text, where), {}, where)


def _tree(text: str, where: object) -> Mapping[str, Any]:
    """The sections of a config; none if it is not a PySlowFast config. Raises InputError for text
    that is not plain YAML."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            "the config is not plain YAML; it was not run",
            where=where,
            got=" ".join(str(error).split())[:200],
        ) from error
    ours = isinstance(tree, Mapping) and {"DATA", "MODEL", "DETECTION"} & set(tree)
    return tree if ours else {}


def _facts(tree: Mapping[str, Any], absent: Mapping[str, Any], where: object) -> Facts:
    if not tree:
        return Facts()
    values = dict(absent)
    for section, inner in tree.items():
        if isinstance(inner, Mapping):
            values |= {f"{section}.{name}": v for name, v in inner.items() if v is not None}
    try:
        return decode(Facts, {**_clip(values), **_network(values), **_head(values)})
    except (ConfigError, TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(
            "the config has a value of the wrong type", where=where, got=error
        ) from error


def _clip(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "frames": values.get("DATA.NUM_FRAMES"),
        "stride": values.get("DATA.SAMPLING_RATE"),
        "train_crop": values.get("DATA.TRAIN_CROP_SIZE"),
        "short_side": values.get("DATA.TEST_CROP_SIZE"),
        "mean": values.get("DATA.MEAN"),
        "std": values.get("DATA.STD"),
    }
    turned = values.get("DATA.REVERSE_INPUT_CHANNEL")
    if turned is not None:
        # AVA's loader has a switch of its own, before the one that all loaders share.
        detection = values.get("DETECTION.ENABLE") is True
        bgr = _flag(turned) != (detection and _flag(values.get("AVA.BGR", False)))
        found["colour"] = "bgr" if bgr else "rgb"
    return found


def _network(values: Mapping[str, Any]) -> dict[str, Any]:
    arch = str(values.get("MODEL.ARCH")).lower()
    found = {
        "alpha": values.get("SLOWFAST.ALPHA"),
        "nonlocal_kind": values.get("NONLOCAL.INSTANTIATION"),
    }
    if arch in _TIME_POOLED:
        found["time_strides"] = (1, 1, _TIME_POOLED[arch])
    if values.get("RESNET.STRIDE_1X1") is True:
        raise ValueError("RESNET.STRIDE_1X1, where ours stride in the 3×3")
    if (pools := values.get("NONLOCAL.POOL")) is not None:
        found["nonlocal_pool"] = pools[min(2, len(pools) - 1)][0]  # res4's Slow pathway
    return found


def _head(values: Mapping[str, Any]) -> dict[str, Any]:
    act, detection = values.get("MODEL.HEAD_ACT"), values.get("DETECTION.ENABLE")
    found: dict[str, Any] = {"exclusive": None if act is None else str(act).lower() == "softmax"}
    if detection is None:
        return found
    if not _flag(detection):
        return {**found, "task": "classification"}
    if _last(values.get("RESNET.SPATIAL_STRIDES"), 1) != 1:
        raise ValueError("RESNET.SPATIAL_STRIDES 2 in a detector's res5, where ours has 1")
    return {
        **found,
        "task": "detection",
        "aligned": values.get("DETECTION.ALIGNED"),
        "roi_bins": values.get("DETECTION.ROI_XFORM_RESOLUTION"),
        "res5_dilation": _last(values.get("RESNET.SPATIAL_DILATIONS"), None),
    }


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} where True or False should be")
    return value


def _last(stages: Any, absent: Any) -> Any:
    """res5's value, the Slow pathway's of one a pathway."""
    if stages is None:
        return absent
    value = stages[3]
    return value[0] if isinstance(value, list) else value
