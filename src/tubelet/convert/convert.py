"""Foreign checkpoint → our model: recognise the house, rename, read the architecture, account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.checkpoints import save_checkpoint
from tubelet.config import encode
from tubelet.convert import mmaction, pyslowfast, pytorchvideo, vivit, vmz
from tubelet.convert.family import Family
from tubelet.convert.infer import infer_backbone
from tubelet.convert.pyslowfast import CAFFE2_DROPS
from tubelet.convert.readers import read_foreign
from tubelet.convert.rules import Renamed, Rule, Shapes, Table, account, rename
from tubelet.labels import LabelSpace
from tubelet.models.create import Labels, as_labels, model_config
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.types import CheckpointError

FAMILIES: tuple[Family, ...] = (
    pyslowfast.SLOWFAST,
    pyslowfast.SINGLE,
    pytorchvideo.SLOWFAST,
    pytorchvideo.R2PLUS1D,
    pytorchvideo.CSN,
    pytorchvideo.POOLED,
    pytorchvideo.RESNET,
    mmaction.SLOWFAST,
    mmaction.SLOWFAST_NORMED,
    mmaction.IR_CSN,
    mmaction.IP_CSN,
    mmaction.R2PLUS1D,
    mmaction.C2D,
    mmaction.I3D,
    mmaction.SLOWONLY,
    vmz.R2PLUS1D_BASIC,
    vmz.R2PLUS1D,
    vmz.IP_CSN,
    vmz.IR_CSN,
    vivit.SCENIC,
    vivit.HUGGING_FACE,
)
_ELSEWHERE = (
    (r"s1\.pathway0_stem\.conv_xy\.weight|head\.conv_5\.weight", "X3D"),
    (r".*\.attn\.pool_q\.weight", "MViT"),
    (r"backbone\.patch_embed3d?\..*|.*relative_position_bias_table", "Video Swin"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A foreign checkpoint in our terms.

    `state` fits `config.build()` exactly; `dropped`: source name → reason; `notes`: what the
    weights do not say and was taken from the house's habits.
    """

    family: str
    config: ActionModelConfig
    state: dict[str, Tensor]
    dropped: dict[str, str]
    notes: tuple[str, ...]
    source: str = ""

    def save(self, path: Path) -> None:
        """Write a tubelet weights file."""
        provenance = {
            "family": self.family,
            "file": Path(self.source).name,
            "dropped": self.dropped,
            "notes": list(self.notes),
        }
        tensors = {n: t for n, t in self.state.items() if not n.endswith("num_batches_tracked")}
        save_checkpoint(path, tensors, {"model": encode(self.config), "source": provenance})


def recognise(state: Mapping[str, Tensor]) -> Family:
    """The house whose names these are. Raises CheckpointError for none, naming known strangers."""
    for pattern, name in _ELSEWHERE:
        if any(re.fullmatch(pattern, key) for key in state):
            raise CheckpointError(
                f"this is a checkpoint of {name}, an architecture tubelet does not have",
                expected=f"one of: {', '.join(f.name for f in FAMILIES)}",
            )
    for family in FAMILIES:
        if _is_of(state, family):
            return family
    raise CheckpointError(
        "no known family has these names",
        expected=f"one of: {', '.join(f.name for f in FAMILIES)}",
        got=", ".join(list(state)[:5]),
    )


def _is_of(state: Mapping[str, Tensor], family: Family) -> bool:
    def has(pattern: str) -> str | None:
        return next((key for key in state if re.fullmatch(pattern, key)), None)

    if not all(has(mark) for mark in family.marks) or any(has(mark) for mark in family.absent):
        return False
    if family.kernel is None:
        return True
    key = has(family.kernel[0])
    return key is not None and tuple(state[key].shape[2:]) == family.kernel[1]


def convert(
    path: Path,
    *,
    name: str | None = None,
    task: str | None = None,
    labels: Labels | None = None,
) -> Converted:
    """Read a foreign weights file and convert it; arguments as `convert_state`."""
    foreign = read_foreign(path)
    if path.suffix != ".pkl":
        converted = convert_state(
            foreign.state, name=name, task=task, labels=labels, settings=foreign.config
        )
        return replace(converted, source=foreign.path)
    blobs = Table(rules=(Rule(source=r"(?P<blob>.*)", target="{blob}"),), drops=CAFFE2_DROPS)
    kept = rename(foreign.state, blobs)
    state = {pyslowfast.from_caffe2(key): value for key, value in kept.state.items()}
    converted = convert_state(state, name=name, task=task, labels=labels)
    config = converted.config
    if isinstance(config.head, LinearHeadConfig):  # AVA/c2/*.yaml set ALIGNED False
        config = replace(config, head=replace(config.head, aligned=False))
    return replace(
        converted, config=config, source=foreign.path, dropped=converted.dropped | kept.dropped
    )


def convert_state(
    state: Mapping[str, Tensor],
    *,
    name: str | None = None,
    task: str | None = None,
    labels: Labels | None = None,
    config: ActionModelConfig | None = None,
    settings: str = "",
) -> Converted:
    """Convert tensors under their source names.

    `name` fixes the architecture to one of `tubelet models`, `config` to any; otherwise it is read
    from the tensors. `task`: "detection" or "classification", where the names do not tell.
    `settings`: the PySlowFast config text of a `.pyth` file, which settles what tensors cannot.
    Raises CheckpointError unless every source tensor is used once and every target filled.
    """
    family = recognise(state)
    renamed = rename(state, family.table)
    shapes: Shapes = {n: tuple(t.shape) for n, t in renamed.state.items()}
    notes: tuple[str, ...] = ()
    if config is None:
        task = task or _task(family, state, shapes, settings)
        config = _config(family, shapes, name, task, _labels(shapes, labels, task))
        if name is None:
            config, settled = pyslowfast.apply_settings(config, settings)
            notes = _notes(family, config, settled)
    with torch.device("meta"):
        wanted = {n: tuple(t.shape) for n, t in config.build().state_dict().items()}
    account(renamed, wanted)
    return Converted(
        family=family.name,
        config=config,
        state=_complete(renamed, wanted),
        dropped=renamed.dropped | _background(family, renamed),
        notes=notes,
    )


def _complete(renamed: Renamed, wanted: Shapes) -> dict[str, Tensor]:
    """The tensors in the model's order; batch counters that the source lacks start at zero."""
    return {n: renamed.state.get(n, torch.zeros((), dtype=torch.int64)) for n in wanted}


def _background(family: Family, renamed: Renamed) -> dict[str, str]:
    rules = [r for r in family.table.rules if r.operation == "drop_background"]
    return {
        f"{source}[0]": "the background class, which MMAction2 ignores"
        for source in renamed.origin.values()
        if any(re.fullmatch(r.source, source) for r in rules)
    }


def _task(family: Family, state: Mapping[str, Tensor], shapes: Shapes, settings: str) -> str:
    if family.detection is not None:
        detection = any(re.fullmatch(family.detection, key) for key in state)
    elif (said := pyslowfast.says_detection(settings)) is not None:
        detection = said
    else:  # AVA has 80 classes, and no set of clips that weights were released for has
        detection = shapes.get("head.classifier.weight", (0,))[0] == 80
    return "detection" if detection else "classification"


def _labels(shapes: Shapes, labels: Labels | None, task: str) -> LabelSpace:
    if "head.classifier.weight" not in shapes:
        raise CheckpointError(
            "the checkpoint has a backbone but no classifier", hint="use it as initial weights"
        )
    classes = shapes["head.classifier.weight"][0]
    space = as_labels(classes if labels is None else labels, task)
    if len(space) != classes:
        raise CheckpointError(
            "the labels do not fit the checkpoint's classifier",
            expected=f"{classes} classes",
            got=f"{len(space)} labels",
            hint="convert with the labels it was trained on, then replace them",
        )
    return space


def _head(family: Family, shapes: Shapes, task: str, channels: int) -> HeadConfig:
    if task == "classification":
        return family.clip_head
    head = family.detection_head
    assert isinstance(head, LinearHeadConfig)
    if "head.relate.conv.weight" in shapes:
        width = shapes["head.relate.conv.weight"][0]
        return ACRNHeadConfig(
            resolution=head.resolution,
            aligned=head.aligned,
            width=None if width == channels else width,
        )
    return replace(head, whole_frame=shapes["head.classifier.weight"][1] == 2 * channels)


def _config(
    family: Family, shapes: Shapes, name: str | None, task: str, labels: LabelSpace
) -> ActionModelConfig:
    if name is not None:
        return model_config(
            name,
            task=task,
            labels=labels,
            head=family.detection_head if task == "detection" else family.clip_head,
        )
    backbone = infer_backbone(shapes, family.backbone)
    backbone = family.habits(backbone, task == "detection")
    backbone = replace(backbone, detection=task == "detection")
    spec = family.input
    if task == "classification":
        spec = replace(spec, crop=spec.short_side)
    with torch.device("meta"):
        channels = sum(o.channels for o in backbone.build().outputs)
    return model_config(
        backbone=backbone,
        head=_head(family, shapes, task, channels),
        input=spec,
        task=task,
        labels=labels,
    )


def _notes(family: Family, config: ActionModelConfig, settled: set[str]) -> tuple[str, ...]:
    """What was assumed: the fields of `family.assumed` that nothing settled."""
    values: dict[str, Any] = {**encode(config.backbone), **encode(config.head)}
    values |= {k: v for k, v in encode(config.input).items() if k in ("frames", "stride")}
    return tuple(
        f"{field} = {values[field]}: not in the weights, taken from the habits of {family.name}"
        for field in family.assumed
        if field not in settled and field in values
    )
