"""What an MMAction2 config says about a checkpoint: its Python file, or the text in `meta`.

Both generations are read: 1.x (`data_preprocessor`, `val_dataloader`) and 0.x (`img_norm_cfg`,
`data`). A parameter that is absent has the default of the class that takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tubelet.config import decode
from tubelet.convert.facts import Facts
from tubelet.data.untrusted import python_configs
from tubelet.errors import ConfigError, InputError

_SAMPLERS = ("SampleFrames", "SampleAVAFrames")
_PIPELINES = ("test_pipeline", "val_pipeline", "train_pipeline")
_STRIDES = {"ResNet3d": (2, 2, 2), "ResNet3dSlowOnly": (1, 1, 1), "ResNet3dCSN": (1, 1, 1)}
"""Backbone class → temporal strides of conv1, pool1 and pool2 by default."""
_KINDS = {"embedded_gaussian": "softmax", "dot_product": "dot_product", "gaussian": "gaussian"}


def looks_like(text: str) -> bool:
    """Whether text inside a checkpoint is a Python config with a model."""
    return any(
        line.startswith("model = ") or line.startswith("model=") for line in text.split("\n")
    )


def facts_of_file(path: Path) -> Facts:
    """The facts in a config file and its bases."""
    return _facts(python_configs.read_file(path), path)


def facts_of_text(text: str) -> Facts:
    """The facts in the config text of a checkpoint, which MMEngine writes without bases."""
    return _facts(
        python_configs.read_text(text, where="the config in the checkpoint"), "the checkpoint"
    )


def _facts(config: Mapping[str, Any], where: object) -> Facts:
    model = _table(config.get("model"))
    backbone = _table(model.get("backbone"))
    if not backbone:
        return Facts()
    try:
        _refuse_others(model, backbone)
        found = {
            **_head(model),
            **_clip(config, backbone),
            **_pixels(config, model),
            **_backbone(backbone),
        }
        return decode(Facts, found)
    except (TypeError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise InputError("the config has a value of the wrong type", where=where, got=error) from (
            error
        )


def _refuse_others(model: Mapping[str, Any], backbone: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that our networks have no counterpart of."""
    roi, head = _table(model.get("roi_head")), _table(model.get("cls_head"))
    box = _table(roi.get("bbox_head"))
    shared = _class(_table(roi.get("shared_head")))
    if shared not in ("", "ACRNHead", "FBOHead"):
        raise ValueError(f"shared_head {shared}, which ours do not have")
    fixed: list[tuple[dict[str, Any], str, object]] = [
        (head, "spatial_type", "avg"),
        (box, "temporal_pool_type", "avg"),
        (box, "spatial_pool_type", "max"),
    ]
    if roi:
        strides = _get(_slow(backbone), "spatial_strides", (1, 2, 2, 2))
        fixed.append(({"res5's spatial stride": _last(strides)}, "res5's spatial stride", 1))
    for pathway in ("slow_pathway", "fast_pathway"):
        inner = _table(backbone.get(pathway))
        fixed += [(inner, "conv1_stride_t", 1), (inner, "pool1_stride_t", 1)]
    for table, key, ours in fixed:
        value = _get(table, key, ours)
        if value is not None and value != ours:
            raise ValueError(f"{key} {value!r}, where ours has {ours!r}")


def _slow(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a SlowFast's Slow pathway, of any other network its own."""
    return _table(backbone.get("slow_pathway")) or dict(backbone)


def _last(stages: Any) -> Any:
    return stages[-1] if isinstance(stages, (list, tuple)) and stages else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _get(table: Mapping[str, Any], key: str, default: Any) -> Any:
    """A value, its class's default where it is absent, None where it could not be read."""
    value = table.get(key, default)
    return None if isinstance(value, python_configs.UnreadSetting) else value


def _class(table: Mapping[str, Any]) -> str:
    """The class's name without its scope: "mmaction.ResNet3dSlowOnly" → "ResNet3dSlowOnly"."""
    return str(table.get("type", "")).rsplit(".", 1)[-1]


def _head(model: Mapping[str, Any]) -> dict[str, Any]:
    roi = _table(model.get("roi_head"))
    if not roi:
        head = _table(model.get("cls_head"))
        multi = _get(head, "multi_class", False)
        # 1.x has a data_preprocessor; before it, the head joined its pathways the other way.
        order = "fast_slow" if "data_preprocessor" in model else None
        return {
            "task": "classification",
            "exclusive": None if multi is None else not multi,
            "join": order if _class(head) == "SlowFastHead" else None,
        }
    box, extract = _table(roi.get("bbox_head")), _table(roi.get("bbox_roi_extractor"))
    multi = _get(box, "multilabel", True)
    pool = _get(extract, "temporal_pool_mode", "avg")
    return {
        "task": "detection",
        "exclusive": None if multi is None else not multi,
        "background": _get(box, "background_class", True),
        "temporal_pool": {"avg": "mean", "max": "max"}.get(pool),
        "aligned": _get(extract, "aligned", True),
        "roi_bins": _get(extract, "output_size", 16),
        "context": _context(roi, extract),
    }


def _context(roi: Mapping[str, Any], extract: Mapping[str, Any]) -> str | None:
    """What is beside a person's features. LFB's maximum and average have no tensors of their own:
    without a config they look like the whole frame, whose classifier is as wide."""
    if _class(_table(roi.get("shared_head"))) == "FBOHead":
        return "feature_bank"
    return "frame" if _get(extract, "with_global", False) is True else None


def _clip(config: Mapping[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Frames and stride of what the network sees: a SlowFast whose Fast pathway skips frames sees
    fewer than its loader reads."""
    sampler = next(_samplers(config), {})
    frames, stride = _get(sampler, "clip_len", None), _get(sampler, "frame_interval", 1)
    if _class(backbone) != "ResNet3dSlowFast":
        return {"frames": frames, "stride": stride if frames else None}
    resample, speed = _get(backbone, "resample_rate", 8), _get(backbone, "speed_ratio", 8)
    if not isinstance(resample, int) or not isinstance(speed, int):
        return {}
    skip = resample // speed
    if frames is None or stride is None:
        return {"alpha": speed}
    return {"alpha": speed, "frames": frames // skip, "stride": stride * skip}


def _samplers(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Steps that choose frames, those of testing first."""
    pipelines = [config.get(name) for name in _PIPELINES]
    for loader in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = _table(_table(config.get(loader)).get("dataset"))
        pipelines.append(dataset.get("pipeline"))
    data = _table(config.get("data"))  # 0.x
    pipelines += [_table(data.get(split)).get("pipeline") for split in ("test", "val", "train")]
    for pipeline in pipelines:
        for step in pipeline if isinstance(pipeline, (list, tuple)) else ():
            if isinstance(step, dict) and _class(step) in _SAMPLERS:
                yield step


def _pixels(config: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    given = _table(model.get("data_preprocessor")) or _table(config.get("img_norm_cfg"))
    mean, std = _get(given, "mean", None), _get(given, "std", None)
    # Frames are decoded as RGB; `to_bgr` (0.x) turns them.
    found: dict[str, Any] = {"colour": "bgr" if given.get("to_bgr") is True else "rgb"}
    if mean is not None and std is not None:
        found |= {"mean": _scaled(mean), "std": _scaled(std)}
    return found


def _scaled(values: Any) -> tuple[float, float, float]:
    """Of pixels in 0…255 → in [0, 1]."""
    a, b, c = (float(v) / 255 for v in values)
    return a, b, c


def _backbone(backbone: Mapping[str, Any]) -> dict[str, Any]:
    kind = _class(backbone)
    found: dict[str, Any] = {}
    if kind in _STRIDES:
        conv, pool, after = _STRIDES[kind]
        strides = (
            _get(backbone, "conv1_stride_t", conv),
            _get(backbone, "pool1_stride_t", pool),
            2 if _get(backbone, "with_pool2", after == 2) else 1,
        )
        found["time_strides"] = None if None in strides else strides
    if dilation := _last(_get(_slow(backbone), "dilations", None)):
        found["res5_dilation"] = dilation
    mode = _get(_table(backbone.get("non_local_cfg")), "mode", "embedded_gaussian")
    return {**found, "nonlocal_kind": _KINDS.get(mode) if backbone.get("non_local") else None}
