"""Named models: every family's variants in one list, built for a task and a label set."""

from __future__ import annotations

import difflib
import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tubelet.labels import LabelSpace
from tubelet.models.backbones import csn, descriptors, r2plus1d, resnet3d, slowfast, vit, vivit
from tubelet.models.backbones.base import Published, Variant
from tubelet.models.cost import count
from tubelet.models.detector import (
    ActionModel,
    ActionModelConfig,
    BackboneConfig,
    HeadConfig,
    MemoryConfig,
)
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.types import ConfigError, InputSpec

COSTS = Path(__file__).with_name("costs.json")
TASKS = ("detection", "classification")
AnyVariant = Variant[BackboneConfig]
Labels = int | Sequence[str] | LabelSpace

VARIANTS: Mapping[str, AnyVariant] = {
    **slowfast.VARIANTS,
    **resnet3d.VARIANTS,
    **r2plus1d.VARIANTS,
    **csn.VARIANTS,
    **vivit.VARIANTS,
    **vit.VARIANTS,
    **descriptors.VARIANTS,
}


def model_names(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern; a plain word matches anywhere in the name."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in VARIANTS if fnmatch.fnmatchcase(name, wanted)]


def variant(name: str) -> AnyVariant:
    """The variant of that name. Raises ConfigError naming the nearest ones."""
    if name not in VARIANTS:
        near = difflib.get_close_matches(name, VARIANTS, n=3, cutoff=0.4)
        raise ConfigError(
            f"no model is called {name!r}",
            hint=f"did you mean {', '.join(near)}?" if near else "see `tubelet models`",
        )
    return VARIANTS[name]


def as_labels(labels: Labels, task: str) -> LabelSpace:
    """A label space from itself, from names, or from a number of nameless classes.

    Names and numbers make exclusive classes for classification, independent ones for detection.
    """
    if isinstance(labels, LabelSpace):
        return labels
    if isinstance(labels, int):
        return LabelSpace.nameless(labels, exclusive=task == "classification")
    return LabelSpace.of(labels, exclusive=task == "classification")


def model_config(
    name: str | None = None,
    *,
    backbone: BackboneConfig | None = None,
    head: HeadConfig | None = None,
    memory: MemoryConfig | None = None,
    input: InputSpec | None = None,  # noqa: A002  the record's own word for it
    task: str = "detection",
    labels: Labels = 80,
) -> ActionModelConfig:
    """The configuration of a named model, or of given parts; given parts win over the name's.

    Raises ConfigError for an unknown name or task, or where neither name nor backbone is given.
    """
    if task not in TASKS:
        raise ConfigError(f"no task is called {task!r}", expected=" or ".join(TASKS))
    if name is None and backbone is None:
        raise ConfigError("a model needs a name or a backbone", hint="see `tubelet models`")
    spec = InputSpec()
    if name is not None:
        row = variant(name)
        backbone = backbone or (row.detection if task == "detection" else row.backbone)
        spec = row.input
    if input is not None:
        spec = input
    elif task == "classification":
        spec = replace(spec, crop=spec.short_side)
    if head is None:
        head = LinearHeadConfig() if task == "detection" else ClipHeadConfig()
    assert backbone is not None
    return ActionModelConfig(
        backbone=backbone, head=head, memory=memory, input=spec, labels=as_labels(labels, task)
    )


def create_model(
    name: str | None = None,
    *,
    backbone: BackboneConfig | None = None,
    head: HeadConfig | None = None,
    memory: MemoryConfig | None = None,
    input: InputSpec | None = None,  # noqa: A002
    task: str = "detection",
    labels: Labels = 80,
) -> ActionModel:
    """A freshly initialised model, by name or by its parts; arguments as `model_config`."""
    return model_config(
        name,
        backbone=backbone,
        head=head,
        memory=memory,
        input=input,
        task=task,
        labels=labels,
    ).build()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """One line of the list of models. `gflops`: G multiply-adds a view of `frames` frames at `size`
    pixels, RoIAlign left out; `reproduced`: our own score, None until somebody measured it."""

    name: str
    task: str
    parameters: int
    gflops: float
    frames: int
    size: int
    weights: str
    published: tuple[Published, ...]
    reproduced: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict; unknown published fields are left out."""
        data = asdict(self)
        data["published"] = [
            {k: v for k, v in p.items() if v is not None} for p in data["published"]
        ]
        return data


def model_records(pattern: str = "*", task: str | None = None) -> list[ModelRecord]:
    """Records of the matching names for one task or both.

    Parameters and cost come from `costs.json` beside this file, which `benchmarks/cost_table.py`
    writes and a test compares with fresh counts: counting all of them anew takes a minute.
    """
    recorded = json.loads(COSTS.read_text())
    return [
        ModelRecord(
            name=name,
            task=chosen,
            parameters=recorded[name][chosen]["parameters"],
            gflops=recorded[name][chosen]["gflops"],
            frames=VARIANTS[name].input.frames,
            size=VARIANTS[name].cost_size,
            weights=VARIANTS[name].weights,
            published=tuple(p for p in VARIANTS[name].published if _is_of(p, chosen)),
        )
        for name in model_names(pattern)
        for chosen in (TASKS if task is None else (task,))
    ]


def count_variant(name: str, task: str) -> dict[str, float]:
    """Parameters and GFLOPs of a named model with 80 (detection) or 400 classes, counted now."""
    labels = 80 if task == "detection" else 400
    cost = count(model_config(name, task=task, labels=labels), size=variant(name).cost_size)
    return {"parameters": cost.parameters, "gflops": round(cost.gmacs, 2)}


def _is_of(published: Published, task: str) -> bool:
    detection = published.dataset is not None and published.dataset.startswith("AVA")
    return detection == (task == "detection")
