"""Named models: every family's variants in one list, built for a task and a label set.

The families are those that `models/backbones` lists, and any other that has been imported.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from tubelet.errors import ConfigError, did_you_mean
from tubelet.labels import LabelSpace
from tubelet.models import encoders
from tubelet.models.backbones import BACKBONES
from tubelet.models.backbones.base import BackboneConfig, Published, Variant
from tubelet.models.backbones.hf import HubBackbone
from tubelet.models.cost import count
from tubelet.models.detector import ActionModel, ActionModelConfig, MemoryConfig
from tubelet.models.heads.base import HeadConfig, Task
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.plugins import families
from tubelet.types import InputSpec

COSTS = Path(__file__).with_name("costs.json")
TASKS: tuple[Task, ...] = get_args(Task)
AnyVariant = Variant[BackboneConfig]
Labels = int | Sequence[str] | LabelSpace


def variants() -> dict[str, AnyVariant]:
    """Every named variant: of the listed families, then of those that plugins and imports added.

    Raises ConfigError where two families use one name.
    """
    found: dict[str, AnyVariant] = {}
    for family in families(BackboneConfig, BACKBONES):
        if "variants" not in vars(family):  # inherited from a family that is listed itself
            continue
        for name, row in family.variants().items():
            if name in found:
                raise ConfigError(
                    f"duplicate variant {name!r} of two backbones",
                    where=f"{family.__module__}.{family.__qualname__}",
                    got=f"also of {type(found[name].backbone).__qualname__}",
                )
            found[name] = row
    return found


def model_names(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern; a plain word matches anywhere in the name."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in variants() if fnmatch.fnmatchcase(name, wanted)]


def variant(name: str) -> AnyVariant:
    """The variant of that name; `hf:ID` asks the hub, see `models.encoders`. Raises ConfigError
    naming the nearest ones."""
    if name.startswith(encoders.PREFIX):
        return encoders.hub_variant(name)
    known = variants()
    if name not in known:
        raise ConfigError(
            f"unknown model {name!r}",
            hint=did_you_mean(name, known, most=3) or "see `tubelet models`",
        )
    return known[name]


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
        raise ConfigError(f"unknown task {task!r}", expected=" or ".join(TASKS))
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
    """A freshly initialised model, by name or by its parts; arguments as `model_config`.

    A name `hf:ID` brings the hub's weights, and a classifier with them where its classes are as
    many as `labels`.
    """
    model = model_config(
        name,
        backbone=backbone,
        head=head,
        memory=memory,
        input=input,
        task=task,
        labels=labels,
    ).build()
    if name is not None and backbone is None and isinstance(model.backbone, HubBackbone):
        classifier = encoders.load_hub_weights(model.backbone)
        if classifier and len(classifier["bias"]) == len(model.labels):
            model.head.load_state_dict({f"classifier.{n}": t for n, t in classifier.items()})
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """One line of the list of models. `gflops`: G multiply-adds per view of `frames` frames at
    `size` pixels, RoIAlign left out; `reproduced`: our own score, None until measured."""

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
    writes and a test compares with fresh counts: counting all of them anew takes a minute. What is
    not recorded there, a plugin's models for one, is counted now.
    """
    recorded, known = json.loads(COSTS.read_text()), variants()
    records = []
    for name in model_names(pattern):
        row = known[name]
        for chosen in TASKS if task is None else (task,):
            cost = recorded.get(name, {}).get(chosen) or count_variant(name, chosen)
            records.append(
                ModelRecord(
                    name=name,
                    task=chosen,
                    parameters=int(cost["parameters"]),
                    gflops=cost["gflops"],
                    frames=row.input.frames,
                    size=row.cost_size,
                    weights=row.weights,
                    published=tuple(p for p in row.published if _is_of(p, chosen)),
                )
            )
    return records


def count_variant(name: str, task: str) -> dict[str, float]:
    """Parameters and GFLOPs of a named model with 80 (detection) or 400 classes, counted now."""
    labels = 80 if task == "detection" else 400
    cost = count(model_config(name, task=task, labels=labels), size=variant(name).cost_size)
    return {"parameters": cost.parameters, "gflops": round(cost.gmacs, 2)}


def _is_of(published: Published, task: str) -> bool:
    detection = published.dataset is not None and published.dataset.startswith("AVA")
    return detection == (task == "detection")
