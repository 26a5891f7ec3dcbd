"""What is asked about a checkpoint, in words, and where each question applies."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tubelet.convert.facts import (
    ASSUMED,
    Facts,
    Question,
    Said,
    Settled,
    settle,
    spell,
)
from tubelet.convert.family import Family
from tubelet.errors import CheckpointError, InputError, OpenQuestions
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.hr2o import HR2OHeadConfig

TEXTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "task": (
        "does it find what each person does, or name the whole clip? Both have the same names.",
        {
            "detection": "trained with boxes (AVA and own detectors; DETECTION.ENABLE True)",
            "classification": "one answer for the clip (Kinetics, SSv2, Charades)",
        },
    ),
    "exclusive": (
        "do the classes exclude one another?",
        {
            "true": "exactly one holds: scores are a softmax (Kinetics, SSv2, JHMDB, MultiSports)",
            "false": "each is an independent yes or no: sigmoids (AVA, Charades)",
        },
    ),
    "background": (
        "is column 0 of the classifier a background class, to be left out?",
        {
            "true": "AVA heads of MMAction2: 81 columns for 80 classes",
            "false": "every column is a class (background_class=False, as for MultiSports' 66)",
        },
    ),
    "colour": (
        "in which channel order did the network see its frames?",
        {
            "rgb": "REVERSE_INPUT_CHANNEL False, as for Kinetics and AVA",
            "bgr": "REVERSE_INPUT_CHANNEL True, as for Charades and SSv2",
        },
    ),
    "frames": (
        "how many frames does a clip have? (A SlowFast's Fast pathway: 32 for 4×16 and 8×8.)",
        {},
    ),
    "stride": ("every how many source frames is one taken?", {}),
    "alpha": ("how many frames has the Fast pathway for one of the Slow?", {}),
    "slow_select": (
        "which frames does the Slow pathway see?",
        {
            "linspace": "spread evenly, first and last included (slow_full_span True)",
            "stride": "every alpha-th (the default)",
        },
    ),
    "join": (
        "in which order does the classifier join the pathways?",
        {
            "fast_slow": "classifiers of MMAction2 1.x",
            "slow_fast": "detectors, PySlowFast, and MMAction2's older classifiers",
        },
    ),
    "time_strides": (
        "temporal strides of the stem's convolution, of its pool, and of the pool after res2?",
        {
            "1,1,1": "Slow-only, C2D without pool",
            "1,1,2": "PySlowFast's and PyTorchVideo's I3D and C2D; MMAction2's I3D heavy",
            "2,2,2": "MMAction2's I3D (conv1_stride_t 2, pool1_stride_t 2, with_pool2)",
        },
    ),
    "temporal_pool": (
        "how are a person's features pooled over time?",
        {
            "mean": "temporal_pool_mode 'avg', the default",
            "max": "temporal_pool_mode 'max' (configs named temporal-max, and the tricks)",
        },
    ),
    "aligned": (
        "is RoIAlign aligned, that is shifted by half a pixel?",
        {
            "true": "DETECTION.ALIGNED True (AVA/*.yaml), MMAction2",
            "false": "DETECTION.ALIGNED False (AVA/c2/*.yaml: 29.1 and 29.4), PyTorchVideo's hub",
        },
    ),
    "context": (
        "the classifier is twice as wide as a person's features: what is beside them?",
        {
            "frame": "the whole frame, pooled (with_global True; configs named context, tricks)",
            "feature_bank": "a long-term feature bank (FBOHead avg or max), which no file holds",
        },
    ),
    "pose_softmax": (
        "are the first 13 classes poses that exclude one another?",
        {"true": "pose_softmax True (ACAR's AVA configs)", "false": "all are sigmoids"},
    ),
    "roi_bins": ("how many bins per side does RoIAlign have?", {}),
    "nonlocal_kind": (
        "how do the non-local blocks weight their inputs?",
        {
            "softmax": "PySlowFast's R50 and I3D; embedded Gaussian in MMAction2",
            "dot_product": "PySlowFast's SlowFast R101 and AVA",
        },
    ),
    "nonlocal_pool": (
        "by how much do the non-local blocks shrink their keys (time, height, width)?",
        {"1,2,2": "the default", "2,2,2": "PySlowFast's AVA R101"},
    ),
    "norm_eps": (
        "batch norm's epsilon?",
        {"1e-05": "torch's default", "0.001": "VMZ, and MMAction2's CSN"},
    ),
    "heads": ("how many attention heads has a layer?", {}),
    "positions": ("which grid (time, height, width) do the position embeddings stand for?", {}),
    "train_crop": (
        "side of the training crop in pixels? At test time the classifier averages windows of that "
        "size.",
        {},
    ),
    "short_side": ("short side of a test frame in pixels?", {}),
    "mean": ("mean of the pixels, three numbers in [0, 1]?", {}),
    "std": ("standard deviation of the pixels, three numbers in [0, 1]?", {}),
}
"""Key of `Facts` → what is asked, and what each answer means."""


ON_TENSORS = ("background", "colour", "join")
"""Facts that change tensors, and so are needed even where the configuration is given."""
ALWAYS = (
    "task", "exclusive", "colour", "frames", "stride", "fps", "mean", "std", "short_side", "labels",
    "weights", "preprocessing",
)  # fmt: skip
"""Facts that mean something for every model."""


def usual(config: ActionModelConfig) -> Facts:
    """The facts as a configuration has them: the family's habits, before any statement."""
    known: dict[str, Any] = {}
    for part in (config.input, config.backbone, config.head):
        for field in dataclasses.fields(part):
            if field.name in TEXTS:
                known[field.name] = getattr(part, field.name)
    backbone, head = config.backbone, config.head
    if isinstance(backbone, ResNet3dConfig):
        known["nonlocal_kind"] = backbone.attention.kind
        known["nonlocal_pool"] = backbone.attention.pool
        known["time_strides"] = (
            *getattr(backbone, "stem_time_strides", (1, 1)),
            2 if backbone.pool_time else 1,
        )
    if hasattr(head, "resolution"):
        known["roi_bins"] = head.resolution
    if getattr(head, "whole_frame", False):
        known["context"] = "frame"
    known["exclusive"] = config.labels.exclusive
    return Facts(**known)


def applies(key: str, config: ActionModelConfig) -> bool:
    """Whether a fact means anything to this architecture."""
    backbone, head = config.backbone, config.head
    clip = isinstance(head, ClipHeadConfig)
    slowfast = isinstance(backbone, SlowFastConfig)
    if key in ALWAYS:
        return True
    if key == "background":
        return not clip
    if key in ("join", "train_crop", "crop"):
        return clip and (slowfast or key != "join")
    if key in ("nonlocal_kind", "nonlocal_pool"):
        return _has_nonlocal(config)
    if key == "time_strides":
        return isinstance(backbone, ResNet3dConfig)
    if key == "roi_bins":
        return hasattr(head, "resolution")
    if key == "pose_softmax":
        return isinstance(head, HR2OHeadConfig)
    if key == "context":
        return bool(getattr(head, "whole_frame", False))
    return hasattr(backbone, key) or hasattr(head, key)


def _has_nonlocal(config: ActionModelConfig) -> bool:
    backbone = config.backbone
    if isinstance(backbone, SlowFastConfig):
        return bool(backbone.nonlocal_res3 or backbone.nonlocal_res4)
    return isinstance(backbone, ResNet3dConfig) and any(backbone.nonlocal_after)


def answered(
    said: Sequence[Said],
    family: Family,
    *,
    asked: Collection[str],
    config: ActionModelConfig,
    other: ActionModelConfig | None,
    where: object,
) -> Settled:
    """All that is stated, then what the family itself settles, of what means something here.

    `asked`: keys that some source has to state. `other`: the configuration for the other task,
    where the task is open. Raises OpenQuestions for what stays open, InputError for an assumption
    that means nothing here.
    """
    settled = settle(said)
    _refuse_feature_bank(settled, where)
    own = {k: v for k, v in family.settles(config).given().items() if k not in settled.sources}
    sources = {**settled.sources, **dict.fromkeys(own, f"the tensors of {family.name}")}
    open_ = [_question(k, config, other) for k in family.asked if k in asked and k not in sources]
    if questions := [q for q in open_ if q is not None]:
        raise OpenQuestions(questions, where=where, family=family.name)
    _refuse_idle(said, config, family, where)
    given = {**settled.facts.given(), **own}
    _refuse_lost(given, config, where)
    stated = {k: v for k, v in given.items() if applies(k, config)}
    return Settled(
        facts=Facts(**stated),
        sources={k: sources[k] for k in stated},
        against=settled.against,
    )


def _refuse_feature_bank(settled: Settled, where: object) -> None:
    if settled.facts.context == "feature_bank":
        raise CheckpointError(
            "its head reads a long-term feature bank, which is not in the checkpoint",
            where=where,
            expected="a head that reads the clip alone; beside a person at most its whole frame",
            got=f"context={settled.facts.context} by {settled.sources['context']}",
            hint="the features were written by another network beforehand; "
            "our memory bank holds the tokens of its own head",
        )


def _refuse_idle(
    said: Sequence[Said], config: ActionModelConfig, family: Family, where: object
) -> None:
    for statement in said:
        idle = [k for k in statement.facts.given() if not applies(k, config)]
        if statement.source == ASSUMED and idle:
            raise InputError(
                f"nothing in this checkpoint has {', '.join(idle)}",
                where=where,
                hint=f"it is one of {family.name}: leave the assumption out",
            )


NEUTRAL: Mapping[str, object] = {"temporal_pool": "mean", "time_strides": (1, 1, 1)}
"""Facts that say something even of a network whose configuration has no field for them."""


def _refuse_lost(given: Mapping[str, Any], config: ActionModelConfig, where: object) -> None:
    """Raise CheckpointError for a stated fact that matters and that our model could not follow."""
    clip = isinstance(config.head, ClipHeadConfig)
    for key, neutral in NEUTRAL.items():
        meant = key in given and not applies(key, config) and not (clip and key == "temporal_pool")
        if meant and given[key] != neutral:
            part = config.head if key == "temporal_pool" else config.backbone
            raise CheckpointError(
                f"{type(part).__name__.removesuffix('Config')} has no {key} here",
                where=where,
                expected=spell(neutral),
                got=spell(given[key]),
            )


def _question(
    key: str, config: ActionModelConfig, other: ActionModelConfig | None
) -> Question | None:
    """The question about one fact, with the family's habit beside it; None where it means nothing.
    While the task is open, what only one of the two needs is asked under that condition."""
    meant = next((c for c in (config, other) if c is not None and applies(key, c)), None)
    if meant is None:
        return None
    text, choices = TEXTS[key]
    if other is not None and not (applies(key, config) and applies(key, other)):
        task = "classification" if isinstance(meant.head, ClipHeadConfig) else "detection"
        text = f"if the task is {task}: {text}"
    value = getattr(usual(meant), key)
    return Question(
        key=key, text=text, choices=choices, usual="" if value is None else spell(value)
    )
