"""Relations and memory banks on AVA-Kinetics, the 2021 winner (000): Tables 1 to 4.

Where each setting is printed, or why it is assumed: `recipes.notes.relation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tubelet.data.sources import JoinedSource, VideoSource
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.fusion import FusionConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.recipes import datasets
from tubelet.recipes.protocols import (
    CONSTANT,
    ONLY_BACKBONE,
    SCALES_AND_FLIP,
    detector,
    kinetics_stage,
    sgd,
)
from tubelet.testing.config import Ensemble, PaperRow, Test
from tubelet.train.data.samplers import ClassBalancedSampler
from tubelet.train.loop.schedules import StepSchedule
from tubelet.train.recipe import Experiment, Recipe, Stage, Start

PAPER = "AVA-Kinetics 2021 winner"
PROPOSALS = 0.5
"""Assumed: the score from which a proposal is tested. With none, every stray box of the detector
counts as a person, to whom relation heads, which have seen annotated people in training, relate the
others. The paper's detector is GFocalV2, whose score estimates a box's IoU with a person: from 0.5
on, a box is expected to match in the AP@0.5 of Table 4."""
IG65M = "weights/ir_csn_r152_ig65m_k400.safetensors"

_TOKENS = Start(parts=("backbone.*", "head.fusion.*"))
"""What decides the features that a bank holds; a new head begins above them."""
_NAMES = {"linear": "linear", "s_only": "S-only", "t_only": "T-only"}
_HEADS: dict[str, HeadConfig] = {
    "linear": LinearHeadConfig(),
    "s_only": SpatialRelationHeadConfig(fusion=FusionConfig()),
    "t_only": TemporalRelationHeadConfig(fusion=FusionConfig()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row of Table 1: `name` of the recipe, `model`, whether its backbone comes from IG65M, and
    the printed `scores` on AVA, Kinetics and both; None, no table has them."""

    name: str
    model: str
    head: str
    memory: bool = False
    ig65m: bool = False
    scores: tuple[float, float, float] | None
    table: str = "1"


_SF8, _SF16, _CSN32, _CSN64 = (
    "slowfast_r152_8x8", "slowfast_r152_16x4", "ir_csn_r152_32x2", "ir_csn_r152_64x1"
)  # fmt: skip
_TABLE_1 = (
    _Row(name="slowfast152_8x8_linear", model=_SF8, head="linear", scores=(35.29, 32.88, 36.26)),
    _Row(name="slowfast152_8x8_s_only", model=_SF8, head="s_only", scores=(36.16, 33.82, 36.92)),
    _Row(name="slowfast152_8x8_t_only", model=_SF8, head="t_only", scores=(36.34, 33.16, 36.88)),
    _Row(name="slowfast152_8x8_t_only_memory", model=_SF8, head="t_only", memory=True,
         scores=(36.88, 33.44, 37.35), table="1, 2"),
    _Row(name="slowfast152_16x4_t_only_memory", model=_SF16, head="t_only", memory=True,
         scores=(37.68, 35.54, 38.12)),
    _Row(name="csn152_ig65m_linear", model=_CSN32, head="linear", ig65m=True,
         scores=(35.38, 32.58, 36.20)),
    _Row(name="csn152_ig65m_s_only", model=_CSN32, head="s_only", ig65m=True,
         scores=(36.07, 32.62, 36.58)),
    _Row(name="csn152_ig65m_t_only", model=_CSN32, head="t_only", ig65m=True,
         scores=(36.29, 32.81, 36.58)),
    _Row(name="csn152_ig65m_t_only_memory", model=_CSN32, head="t_only", memory=True, ig65m=True,
         scores=(36.99, 33.44, 37.34)),
    _Row(name="csn152_k700_linear", model=_CSN32, head="linear", scores=(35.67, 33.20, 36.22)),
    _Row(name="csn152_k700_s_only", model=_CSN32, head="s_only", scores=(36.69, 34.12, 37.16)),
    _Row(name="csn152_k700_t_only", model=_CSN32, head="t_only", scores=(36.41, 34.80, 36.98),
         table="1, 4"),
    _Row(name="csn152_k700_t_only_memory", model=_CSN32, head="t_only", memory=True,
         scores=(37.32, 35.01, 37.78)),
    _Row(name="csn152_k700_64x1_t_only_memory", model=_CSN64, head="t_only", memory=True,
         scores=(37.95, 35.26, 38.43)),
)  # fmt: skip


_UNPRINTED = _Row(
    name="slowfast101_8x8_t_only", model="slowfast_r101_101_8x8", head="t_only", scores=None
)
"""SlowFast-101 is one of the three backbones that §3.1 lists, and has no row."""


def experiments() -> Iterator[Experiment]:
    """Every row of the four tables, and the backbone without one."""
    table_1 = [_with_boxes_alone(_of_table_1(row)) for row in _TABLE_1]
    decoupled = _decoupled()
    yield from table_1
    yield Ensemble(
        name="relation_ensemble15",
        summary="the mean of Table 1's 14 models and the decoupled one",
        members=(*(recipe.name for recipe in table_1), decoupled.name),
        tests=(*_tests(), _submitted()),
        published=_paper_row(
            "1", "ensemble",
            {"ava mAP": 40.52, "kinetics mAP": 37.04, "ava_kinetics mAP": 40.97,
             "ava_kinetics_test mAP": 40.67},
        ),
    )  # fmt: skip
    yield _of_table_1(_UNPRINTED)
    yield from _bank_strategies()
    yield decoupled
    yield from _boxes(next(r for r in table_1 if r.name == "relation_csn152_k700_t_only"))


def _paper_row(table: str, row: str, scores: dict[str, float]) -> PaperRow:
    return PaperRow(paper=PAPER, table=table, row=row, scores=scores)


def _model(name: str, head: str, *, memory: bool = False) -> ActionModelConfig:
    """Short side 256, long side at most 464 (000 §3.1)."""
    bank = MemoryBankConfig() if memory else None
    config = detector(name, head=_HEADS[head], memory=bank)
    return replace(config, input=replace(config.input, long_side=464))


def _ava_kinetics() -> JoinedSource:
    """ "We concatenate the data list of AVA and Kinetics for mixed learning." """
    return datasets.joined(
        "ava_kinetics_train", datasets.ava("train"), datasets.kinetics_boxes("train")
    )


def _people_to_remember() -> JoinedSource:
    """AVA's people and those of every second of Kinetics, not just of the annotated one."""
    return datasets.joined(
        "ava_kinetics_people", datasets.ava("train"), datasets.kinetics_every_second("train")
    )


def _remembering(tests: tuple[Test, ...]) -> tuple[Test, ...]:
    """Tests on Kinetics with the people of every second, as in training: its clips have a single
    keyframe, which alone would leave the memory empty. AVA is labelled every second."""
    people = {
        name: datasets.kinetics_every_second("test" if name == "ava_kinetics_test" else "val")
        for name in ("kinetics", "ava_kinetics", "ava_kinetics_test")
    }
    return tuple(
        replace(test, bank_data=people[test.name]) if test.name in people else test
        for test in tests
    )


def _stage(name: str, data: VideoSource | JoinedSource, model: ActionModelConfig) -> Stage:
    """The one schedule that the paper gives (000 §3.1)."""
    return Stage(
        name=name,
        data=data,
        model=model,
        start=ONLY_BACKBONE,
        steps=30_000,
        batch=64,
        optimizer=sgd(1e-2, per_clips=64, weight_decay=1e-7),
        schedule=StepSchedule(
            milestones=(13_500, 18_000, 22_500, 27_000), factor=0.66, warmup=1500
        ),
        norms=CONSTANT,
        augment=Augment(
            flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, box_jitter=0.1
        ),
        clip_norm=None,
    )  # fmt: skip


def _with_full_bank(data: JoinedSource, model: ActionModelConfig, *, start: Start) -> Stage:
    """The second stage of every memory strategy: the backbone is frozen, its features of all clips
    are extracted, and head and classifier learn with them (000 §2.3)."""
    return replace(
        _stage("with_bank", data, model),
        start=start,
        trainable=("head.embed.*", "head.block.*", "head.norm.*", "head.classifier.*"),
        bank="build",
        bank_data=_people_to_remember(),
    )


def _pretraining(model: str) -> Stage:
    """Kinetics-700. "ir-CSN-152 is pretrained with smaller downscale of 1/16, while SlowFast-152 is
    1/32" (000 §3.2): CSN classifies with the backbone that detects."""
    stage = kinetics_stage("k700", 700, model=model, batch=1024)
    assert stage.model is not None
    if model not in (_CSN32, _CSN64):
        return stage
    return replace(stage, model=replace(stage.model, backbone=stage.model.backbone.dense()))


def _tests(detector_name: str = "boxes") -> tuple[Test, Test, Test]:
    """AVA, Kinetics, and both as one, at three scales and mirrored."""
    ava = datasets.ava("val", boxes="proposals", detector=detector_name, threshold=PROPOSALS)
    kinetics = datasets.kinetics_boxes(
        "val", boxes="proposals", detector=detector_name, threshold=PROPOSALS
    )
    return _tested_on(ava, kinetics)


def _tested_on(ava: VideoSource, kinetics: VideoSource) -> tuple[Test, Test, Test]:
    return (
        Test(name="ava", data=ava, views=SCALES_AND_FLIP),
        Test(name="kinetics", data=kinetics, views=SCALES_AND_FLIP),
        Test(
            name="ava_kinetics",
            data=datasets.joined("ava_kinetics_val", ava, kinetics),
            views=SCALES_AND_FLIP,
        ),
    )


def _submitted() -> Test:
    """The challenge's test set, whose labels only its server has."""
    data = datasets.joined(
        "ava_kinetics_test",
        datasets.ava_hidden(threshold=PROPOSALS),
        datasets.kinetics_boxes_hidden(threshold=PROPOSALS),
    )
    return Test(name="ava_kinetics_test", data=data, views=SCALES_AND_FLIP)


def _boxes_alone(detector_name: str) -> tuple[Test, Test]:
    """Table 4's AP@0.5 of a detector: all of its boxes, by their scores, whatever a test takes."""
    return (
        Test(
            name="ava_boxes",
            data=datasets.ava("val", boxes="proposals", detector=detector_name),
            metric="boxes",
        ),
        Test(
            name="kinetics_boxes",
            data=datasets.kinetics_boxes("val", boxes="proposals", detector=detector_name),
            metric="boxes",
        ),
    )


def _with_boxes_alone(recipe: Recipe) -> Recipe:
    """Table 4's row of det-v3, the detector of all other tables, is one of Table 1's."""
    row = recipe.published
    assert row is not None
    if "4" not in row.table:
        return recipe
    scores = {**row.scores, "ava_boxes AP": 95.1, "kinetics_boxes AP": 82.3}
    tests = (*recipe.tests, *_boxes_alone("boxes"))
    return replace(recipe, tests=tests, published=replace(row, scores=scores))


def _of_table_1(row: _Row) -> Recipe:
    """+M is trained by the last strategy of Table 2, "used in our final version"."""
    model = _model(row.model, row.head, memory=row.memory)
    first = _stage("first", _ava_kinetics(), model)
    if row.ig65m:
        stages = [replace(first, start=Start(weights=IG65M, parts=("backbone.*",)))]
    else:
        stages = [_pretraining(row.model), first]
    if row.memory:
        stages.append(_with_full_bank(_ava_kinetics(), model, start=Start()))
    metrics = ("ava mAP", "kinetics mAP", "ava_kinetics mAP")
    pretrained = "IG65M + K400" if row.ig65m else "K700"
    tests = (*_tests(), _submitted())
    return Recipe(
        name=f"relation_{row.name}",
        summary=f"{row.model}, {pretrained} → AVA-Kinetics, {_NAMES[row.head]} head"
        + (" with memory bank" if row.memory else ""),
        model=model,
        stages=tuple(stages),
        tests=_remembering(tests) if row.memory else tests,
        published=None
        if row.scores is None
        else _paper_row(
            row.table,
            f"{row.model}, {pretrained}, {_NAMES[row.head]}",
            dict(zip(metrics, row.scores, strict=True)),
        ),
    )


def _bank_strategies() -> Iterator[Recipe]:
    """Table 2; its third row is Table 1's `relation_slowfast152_8x8_t_only_memory`."""
    banked, plain = _model(_SF8, "t_only", memory=True), _model(_SF8, "t_only")
    for name, first, start, what, scores in (
        ("ava_first", _stage("first", datasets.ava("train"), banked), Start(),
         "first on AVA alone with memory, then finetuned on both", (35.67, 28.59)),
        ("new_head", _stage("first", _ava_kinetics(), plain), _TOKENS,
         "first on both without memory, then a new head with it", (35.91, 33.35)),
    ):  # fmt: skip
        yield Recipe(
            name=f"relation_bank_{name}",
            summary=f"{_SF8}, T-only head, {what}",
            model=banked,
            stages=(
                _pretraining(_SF8),
                first,
                _with_full_bank(_ava_kinetics(), banked, start=start),
            ),
            tests=_remembering(_tests()),
            published=_paper_row("2", what, {"ava mAP": scores[0], "kinetics mAP": scores[1]}),
        )


def _decoupled() -> Recipe:
    """Table 3: the last layer once more, every class drawn as often (000 §2.4)."""
    model = _model(_CSN32, "t_only")
    first = _stage("first", datasets.ava("train"), model)
    second = replace(
        first,
        name="decoupled",
        start=Start(),
        trainable=("head.classifier.*",),
        sampler=ClassBalancedSampler(),
    )
    return Recipe(
        name="relation_csn152_k700_t_only_decoupled",
        summary=f"{_CSN32}, T-only head, on AVA, then its last layer on evenly drawn classes",
        model=model,
        stages=(_pretraining(_CSN32), first, second),
        tests=(*_against_the_first_stage(), *_tests()[1:], _submitted()),
        published=_paper_row(
            "3", "differences from the first stage: all, top-20 and bottom-20 classes, six classes",
            {
                "ava mAP difference": 0.14,
                "ava top-20 difference": -0.16,
                "ava bottom-20 difference": 1.05,
                **{f"ava AP of {name} difference": value for name, value in _CHANGED.items()},
            },
        ),
    )  # fmt: skip


_CHANGED = {
    "cut": 22.57,
    "write": 4.93,
    "text on/look at a cellphone": 3.66,
    "get up": -3.93,
    "give/serve (an object) to (a person)": -4.12,
    "work on a computer": -8.85,
}
"""The classes that Table 3 lists, by AVA's full names."""


def _against_the_first_stage() -> tuple[Test, Test]:
    """AVA before and after the last layer is trained once more; classes are ranked by their
    training labels."""
    test = replace(_tests()[0], training=datasets.ava("train"))
    return replace(test, name="ava_first", stage="first"), replace(test, against="ava_first")


def _boxes(trained: Recipe) -> Iterator[Recipe]:
    """Table 4: one model on the boxes of other detectors; det-v3 is Table 1's row."""
    for boxes, what, scores, found in (
        ("det_v1", "det-v1's boxes", (35.72, 32.70), (94.5, 77.0)),
        ("det_v2", "det-v2's boxes", (36.16, 33.84), (95.1, 81.7)),
        ("truth", "the annotated boxes", (43.53, 48.49), None),
    ):
        truth = _tested_on(datasets.ava("val"), datasets.kinetics_boxes("val"))
        tests: tuple[Test, ...] = (truth if found is None else _tests(boxes))[:2]
        printed = {"ava mAP": scores[0], "kinetics mAP": scores[1]}
        if found is not None:
            tests += _boxes_alone(boxes)
            printed |= {"ava_boxes AP": found[0], "kinetics_boxes AP": found[1]}
        yield replace(
            trained,
            name=f"relation_csn152_k700_t_only_on_{boxes}",
            summary=f"{_CSN32}, K700 → AVA-Kinetics, T-only head, tested on {what}",
            tests=tests,
            published=_paper_row("4", what, printed),
        )
