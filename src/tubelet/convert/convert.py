"""Foreign checkpoint → our model: recognise the project, rename, read the architecture, account."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.checkpoints import save_checkpoint
from tubelet.config import encode
from tubelet.convert.apply import apply_facts, apply_to_tensors
from tubelet.convert.configs import said_by_file
from tubelet.convert.facts import (
    ASSUMED,
    Facts,
    Said,
    Settled,
    Task,
    assumptions,
    recorded,
    settle,
)
from tubelet.convert.families import acar, mmaction, pyslowfast, pytorchvideo, videomae, vivit, vmz
from tubelet.convert.families.pyslowfast import CAFFE2_DROPS
from tubelet.convert.family import Family
from tubelet.convert.infer import infer_backbone
from tubelet.convert.questions import ON_TENSORS, answered, usual
from tubelet.convert.readers import OWN_NAMES, read_foreign
from tubelet.convert.rules import Renamed, Rule, Shapes, Table, account, rename
from tubelet.errors import CheckpointError
from tubelet.labels import LabelSpace
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.create import TASKS, Labels, as_labels, model_config
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.hr2o import HR2OHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig

FAMILIES: tuple[Family, ...] = (
    pyslowfast.SLOWFAST,
    pyslowfast.X3D,
    pyslowfast.SINGLE,
    pytorchvideo.SLOWFAST,
    pytorchvideo.R2PLUS1D,
    pytorchvideo.CSN,
    pytorchvideo.POOLED,
    pytorchvideo.RESNET,
    acar.SLOWFAST,
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
    vmz.R3D,
    vmz.IR_CSN,
    vivit.SCENIC,
    vivit.HUGGING_FACE,
    vivit.HUGGING_FACE_MODULES,
    videomae.VIDEOMAE,
    videomae.UMT,
    videomae.MMACTION,
    videomae.HUGGING_FACE,
)
POSES, POSE_COUNT = "pose", 13
"""The poses among AVA's 60 counted classes."""
CAFFE2 = Said(source="its Caffe2 format (AVA/c2: ALIGNED False)", facts=Facts(aligned=False))
_ELSEWHERE = (
    (
        r"roi_head\.shared_head\.fbo\..*",
        "MMAction2's long-term feature bank (its head reads features that another network wrote "
        "beforehand; our memory bank holds the tokens of its own head)",
    ),
    (r".*\.attn\.pool_q\.weight", "MViT"),
    (r".*relative_position_bias_table", "Video Swin"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A foreign checkpoint in our terms.

    `state` fits `config.build()` exactly; `dropped`: source name → reason; `settled`: what the
    weights do not determine, and its source.
    """

    family: str
    config: ActionModelConfig
    state: dict[str, Tensor]
    dropped: dict[str, str]
    settled: Settled
    source: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, in sentences."""
        assumed = recorded(self.settled)["assumed"]
        return (*(f"assumed {line}" for line in assumed), *self.settled.against)

    def save(self, path: Path, *, release: Mapping[str, Any] | None = None) -> None:
        """Write a tubelet weights file; `release`: what is known of the published original."""
        provenance = {
            "family": self.family,
            "file": Path(self.source).name,
            "dropped": self.dropped,
            **recorded(self.settled),
        }
        tensors = {n: t for n, t in self.state.items() if not n.endswith("num_batches_tracked")}
        header = {"model": encode(self.config), "source": provenance}
        save_checkpoint(
            path, tensors, header if release is None else {**header, "release": release}
        )


def recognise(state: Mapping[str, Tensor]) -> Family:
    """The family whose names these are. Raises CheckpointError for none, naming strangers."""
    for pattern, name in _ELSEWHERE:
        if any(re.fullmatch(pattern, key) for key in state):
            raise CheckpointError(
                f"unsupported architecture: this is a checkpoint of {name}",
                expected=f"one of: {', '.join(f.name for f in FAMILIES)}",
            )
    for family in FAMILIES:
        if _is_of(state, family):
            return family
    raise CheckpointError(
        "unknown checkpoint family: no known one has these names",
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
    said: Sequence[Said] = (),
    config_file: Path | None = None,
    assume: Sequence[str] = (),
    labels: Labels | None = None,
) -> Converted:
    """Read a foreign weights file and convert it.

    `said`: what is known of it from outside, as a release's row; `config_file`: the config it was
    trained with (`configs.said_by_file`), read and never run; `assume`: `KEY=VALUE` texts.
    The config that the checkpoint holds is read too. `name` and `labels` as `convert_state`.
    Raises OpenQuestions where all of these leave something open.
    """
    outside = list(said)
    if config_file is not None:
        outside.append(said_by_file(config_file))
    if assume:
        outside.append(Said(source=ASSUMED, facts=assumptions(assume)))
    foreign = read_foreign(path, weights=settle(outside).facts.weights)
    statements = [*outside, *foreign.said]
    state, dropped = foreign.state, foreign.dropped
    house = next((h for h in (pyslowfast, vmz) if h.is_caffe2(state)), None)
    if house is not None:
        blobs = Table(rules=(Rule(source=r"(?P<blob>.*)", target="{blob}"),), drops=CAFFE2_DROPS)
        kept = rename(state, blobs)
        names = house.caffe2_names(kept.state)
        state = {names[key]: value for key, value in kept.state.items()}
        dropped = dropped | kept.dropped
        statements += [CAFFE2] if house is pyslowfast else []
    converted = convert_state(state, name=name, said=statements, labels=labels, where=path)
    return replace(converted, source=foreign.path, dropped=dropped | converted.dropped)


def convert_state(
    state: Mapping[str, Tensor],
    *,
    name: str | None = None,
    said: Sequence[Said] = (),
    labels: Labels | None = None,
    config: ActionModelConfig | None = None,
    where: object = None,
) -> Converted:
    """Convert tensors under their source names.

    `name` fixes the architecture to one of `tubelet models`, `config` to any; otherwise it is read
    from the tensors. `said`: facts that tensors cannot tell, and who states them. `where` names the
    file in errors. Raises CheckpointError unless every source tensor is used once and every target
    filled, OpenQuestions if a fact that changes the scores is stated by nobody.
    """
    family = recognise(state)
    renamed = _without_computed(rename(state, family.table), family)
    shapes: Shapes = {n: tuple(t.shape) for n, t in renamed.state.items()}
    stated, fixed = settle(said).facts, config
    task = _task(family, state, stated)
    guess = task or _guess(shapes)  # where it is open, for the questions' sake
    config = _config(family, shapes, name, guess, stated) if fixed is None else fixed
    if name is not None:
        said = [*said, Said(source=f"the architecture {name}", facts=_architecture(config))]
    wanted = _shapes(config)
    account(renamed, wanted)
    other = None
    if task is None and fixed is None:
        other = _config(family, shapes, name, next(t for t in TASKS if t != guess), stated)
    asked = family.asked if fixed is None else ON_TENSORS
    settled = answered(said, family, asked=asked, config=config, other=other, where=where)
    if fixed is None:
        config = apply_facts(config, settled.facts)
        config = replace(config, labels=_labels(shapes, settled, labels, guess))
    complete = apply_to_tensors(_complete(renamed, wanted), settled.facts, config)
    account(replace(renamed, state=complete), _shapes(config))
    return Converted(
        family=family.name,
        config=config,
        state=complete,
        dropped=renamed.dropped | _background(renamed, settled.facts),
        settled=settled,
    )


def _shapes(config: ActionModelConfig) -> Shapes:
    """Name → shape of every tensor of the model."""
    with torch.device("meta"):
        return {n: tuple(t.shape) for n, t in config.build().state_dict().items()}


def _without_computed(renamed: Renamed, family: Family) -> Renamed:
    """Without tensors that hold no more than the model computes by itself."""
    state, dropped = dict(renamed.state), dict(renamed.dropped)
    for name, (same, reason) in family.computed.items():
        if name in state and same(state[name]):
            del state[name]
            dropped[renamed.origin[name]] = reason
    return replace(renamed, state=state, dropped=dropped)


def _complete(renamed: Renamed, wanted: Shapes) -> dict[str, Tensor]:
    """The tensors in the model's order; batch counters that the source lacks start at zero."""
    return {n: renamed.state.get(n, torch.zeros((), dtype=torch.int64)) for n in wanted}


def _background(renamed: Renamed, facts: Facts) -> dict[str, str]:
    if not facts.background:
        return {}
    origins = (renamed.origin[f"head.classifier.{part}"] for part in ("weight", "bias"))
    return {f"{source}[0]": "the background class, which is never scored" for source in origins}


def _task(family: Family, state: Mapping[str, Tensor], facts: Facts) -> Task | None:
    """By the names, else as stated, else None. Raises CheckpointError where the two differ."""
    named: Task = "classification"
    if family.detection is not None:
        if any(re.fullmatch(family.detection, key) for key in state):
            named = "detection"
    elif not family.classifies:
        return facts.task
    if facts.task not in (None, named):
        raise CheckpointError(
            "the names in this checkpoint are not of the task that was stated",
            expected=facts.task,
            got=f"{named}, by the names of {family.name}",
        )
    return named


def _guess(shapes: Shapes) -> str:
    """AVA has 80 classes, and no set of clips that weights were released for has."""
    classes = shapes.get("head.classifier.weight", (0,))[0]
    return "detection" if classes == 80 else "classification"


def _labels(shapes: Shapes, settled: Settled, labels: Labels | None, task: str) -> LabelSpace:
    facts, source = settled.facts, settled.sources.get("labels")
    classes = shapes["head.classifier.weight"][0] - bool(facts.background)
    # mmcv keeps the dataset's names, whatever the width of the head.
    own = facts.labels is not None and source == OWN_NAMES and len(facts.labels) != classes
    given = labels if labels is not None or own else facts.labels
    space = as_labels(classes if given is None else given, task)
    if len(space) != classes:
        raise CheckpointError(
            "the labels do not fit the checkpoint's classifier",
            expected=f"{classes} classes",
            got=f"{len(space)} labels",
            hint="convert with the labels it was trained on, then replace them",
        )
    space = space if facts.exclusive is None else replace(space, exclusive=facts.exclusive)
    if not facts.pose_softmax:
        return space
    groups = {**space.groups, POSES: space.ids[:POSE_COUNT]}
    return replace(space, groups=groups, exclusive_groups=(POSES,))


def _architecture(config: ActionModelConfig) -> Facts:
    """What a model's name says: its backbone and its clip, nothing of its head."""
    habits = usual(config)
    of_the_head: Any = dict.fromkeys(("aligned", "temporal_pool", "roi_bins", "context"))
    return replace(habits, task=None, exclusive=None, **of_the_head)


def _channels(backbone: BackboneConfig) -> int:
    """Channels of all its maps together."""
    with torch.device("meta"):
        return sum(o.channels for o in backbone.build().outputs)


def _head(family: Family, shapes: Shapes, task: str, channels: int) -> HeadConfig:
    hidden = shapes.get("head.hidden.weight")
    width = 0 if hidden is None else hidden[0]
    if task == "classification":
        return replace(family.clip_head, hidden=width)
    head = family.detection_head
    if isinstance(head, HR2OHeadConfig):
        return _high_order(head, shapes)
    assert isinstance(head, LinearHeadConfig)
    if "head.relate.conv.weight" in shapes:
        width = shapes["head.relate.conv.weight"][0]
        return ACRNHeadConfig(
            resolution=head.resolution,
            aligned=head.aligned,
            width=None if width == channels else width,
        )
    pooled = (hidden or shapes["head.classifier.weight"])[1]
    twice = "context" in family.asked and pooled == 2 * channels
    return replace(head, whole_frame=twice, hidden=width)


def _high_order(head: HR2OHeadConfig, shapes: Shapes) -> HR2OHeadConfig:
    depth = sum(re.fullmatch(r"head\.hr2o\.\d+\.mix\.weight", name) is not None for name in shapes)
    mix = shapes["head.hr2o.0.mix.weight"]
    reduced = shapes["head.reduce.weight"][0]
    return replace(head, width=mix[0], mix_kernel=mix[-1], reduced=reduced, depth=depth)


def _config(
    family: Family, shapes: Shapes, name: str | None, task: str, stated: Facts
) -> ActionModelConfig:
    """The architecture with the upstream defaults, with as many nameless classes as the classifier
    has rows."""
    if "head.classifier.weight" not in shapes:
        raise CheckpointError(
            "the checkpoint has a backbone but no classifier", hint="use it as initial weights"
        )
    labels = as_labels(shapes["head.classifier.weight"][0], task)
    if name is not None:
        named = model_config(name, task=task, labels=labels)
        return replace(named, head=_head(family, shapes, task, _channels(named.backbone)))
    backbone = infer_backbone(shapes, family.backbone, stated)
    backbone = family.habits(backbone, task == "detection")
    backbone = replace(backbone, detection=task == "detection")
    return model_config(
        backbone=backbone,
        head=_head(family, shapes, task, _channels(backbone)),
        input=family.input,
        task=task,
        labels=labels,
    )
