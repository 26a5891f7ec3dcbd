"""SlowFast on AVA, the 2019 entry (001, 003): Table 2 on AVA, Table 3 and §3.1 on Kinetics.

Where each setting is printed, or why it is assumed: `recipes.notes.slowfast_ava`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.recipes import datasets
from tubelet.recipes.protocols import (
    EIGHT_CLIPS,
    ONLY_BACKBONE,
    SCALES_AND_FLIP,
    TEN_BY_THREE,
    ava_jitter,
    ava_test,
    detector,
    kinetics_stage,
    kinetics_test,
    sgd,
)
from tubelet.testing.config import Ensemble, PaperRow, Test
from tubelet.testing.views import Views
from tubelet.train.loop.schedules import StepSchedule
from tubelet.train.recipe import Experiment, Recipe, Stage

PAPER = "AVA 2019 entry"
_SF8, _SF16, _FAST = "slowfast_r101_nl_8x8", "slowfast_r101_nl_16x8", "fast_r101_nl_32x2"

_DRAWN = "slowfast_r101_101_nl_8x8"
"""Table 1 draws temporal kernels in all 23 blocks of res4. Table 3's 115 and 234 GFLOPs are those
of kernels in the first six, which the rows therefore have; this one has them all (135 GFLOPs)."""


def experiments() -> Iterator[Experiment]:
    """Every row of the tables, the members that the ensembles need, and Table 1 as it is drawn."""
    yield _on_ava("ava21_slowfast_r101_nl_8x8", _SF8, version="2.1", published=(28.2, "8×8, v2.1"))
    yield _on_ava("ava22_slowfast_r101_nl_8x8", _SF8, published=(29.0, "8×8"))
    yield _on_ava("ava22_slowfast_r101_101_nl_8x8", _DRAWN)
    yield _on_ava("ava22_fast_r101_nl_32x2", _FAST, published=(27.4, "Fast (β=1) 32×2"))
    long = _on_ava("ava22_slowfast_r101_nl_16x8", _SF16, context=True, published=(29.8, "16×8"))
    yield long
    yield replace(
        long,
        name="ava22_slowfast_r101_nl_16x8_plus",
        summary=f"{long.summary}, tested at three scales and mirrored (SlowFast++)",
        tests=(ava_test(views=SCALES_AND_FLIP),),
        published=_row("2", "SlowFast++, 16×8", {"ava mAP": 30.7}),
    )
    yield from _submission()
    yield from _on_kinetics()


def _row(table: str, row: str, scores: dict[str, float], gflops: float | None = None) -> PaperRow:
    return PaperRow(paper=PAPER, table=table, row=row, scores=scores, gflops=gflops)


def _on_ava(
    name: str,
    model: str,
    *,
    version: str = "2.2",
    context: bool = False,
    iou: float = 0.9,
    steps: int = 12_000,
    widest: int | None = None,
    trainval: bool = False,
    published: tuple[float, str] | None = None,
) -> Recipe:
    """K600, then AVA (001 §2). The submission trains on both of AVA's splits."""
    long_clip = model == _SF16
    config = detector(model, head=NonlocalContextHeadConfig() if context else None)
    splits = [
        datasets.ava(s, version=version, boxes="truth+proposals", threshold=0.8, iou=iou)
        for s in (("train", "val") if trainval else ("train",))
    ]
    stage = Stage(
        name="ava",
        data=datasets.joined("ava_trainval", *splits) if trainval else splits[0],
        model=config,
        start=ONLY_BACKBONE,
        steps=steps,
        batch=1024,
        optimizer=sgd(0.8, per_clips=1024, weight_decay=1e-7),
        schedule=StepSchedule(milestones=(steps / 2, steps * 3 / 4), warmup=1000),
        norms=EIGHT_CLIPS,
        augment=ava_jitter(256, widest or (360 if long_clip else 340)),
        clip_norm=None,
    )
    return Recipe(
        name=name,
        summary=f"{model}{' with context' if context else ''}, K600 → AVA v{version}"
        + (f", train+val, IoU > {iou}, {steps} steps, up to {widest} px" if trainval else ""),
        model=config,
        stages=(kinetics_stage("k600", 600, model=model, batch=1024, long_clip=long_clip), stage),
        tests=(_submitted(model) if trainval else ava_test(version=version),),
        published=None if published is None else _row("2", published[1], {"ava mAP": published[0]}),
    )


def _submitted(model: str = _SF16) -> Test:
    """AVA's test films, whose labels only the server has, so that the run ends with a submission;
    SlowFast++ is the 16×8."""
    data = datasets.ava_hidden(threshold=0.8)
    return Test(name="ava_test", data=data, views=SCALES_AND_FLIP if model == _SF16 else Views())


def _submission() -> Iterator[Experiment]:
    """Seven models (001 §2.1). The paper says in what the five 16×8 differ, not which has what:
    here each but the first changes one thing. Train+val takes 1.5 times as long."""
    members = [
        _on_ava(f"ava22_trainval_{model}", model, trainval=True, steps=18_000, widest=340)
        for model in (_SF8, _FAST)
    ]
    for suffix, context, iou, steps, widest in (
        ("", True, 0.9, 18_000, 360),
        ("_iou75", True, 0.75, 18_000, 360),
        ("_no_context", False, 0.9, 18_000, 360),
        ("_16k", True, 0.9, 16_000, 360),
        ("_340", True, 0.9, 18_000, 340),
    ):
        member = _on_ava(
            f"ava22_trainval_{_SF16}{suffix}",
            _SF16,
            trainval=True,
            context=context,
            iou=iou,
            steps=steps,
            widest=widest,
        )
        members.append(member)
    yield from members
    yield Ensemble(
        name="ava22_slowfast_ensemble7",
        summary="SlowFast 8×8, Fast 32×2 and five SlowFast++ 16×8, trained on train+val",
        members=tuple(member.name for member in members),
        tests=(_submitted(),),
        published=_row("2", "SlowFast++, ensemble", {"ava_test mAP": 34.3}),
    )


def _on_kinetics() -> Iterator[Experiment]:
    """K700 from K600's weights, and K400 and K600 from scratch (001 §3.1)."""
    members = []
    for model, gflops, top1, top5, error in (
        (_SF8, 115, 70.6, 89.7, 19.9),
        (_FAST, 552, 70.6, 89.7, 19.9),
        (_SF16, 234, 71.0, 89.6, 19.7),
    ):
        scores = {"k700 top-1": top1, "k700 top-5": top5, "k700 mean error": error}
        stages = [
            kinetics_stage("k600", 600, model=model, batch=1024, long_clip=model == _SF16),
            kinetics_stage(
                "k700", 700, model=model, batch=1024, long_clip=model == _SF16, start=ONLY_BACKBONE
            ),
        ]
        members.append(f"k700_{model}")
        yield replace(
            _kinetics_recipe(f"k700_{model}", stages, 700, _row("3", model, scores, gflops)),
            tests=(kinetics_test(700), _hidden_kinetics()),
        )
    yield Ensemble(
        name="k700_slowfast_ensemble3",
        summary="SlowFast 8×8, Fast 32×2 and SlowFast 16×8; published is of the test set",
        members=tuple(members),
        tests=(kinetics_test(700), _hidden_kinetics()),
        published=_row("3", "SlowFast ensemble", {"k700_test mean error": 18.95}),
    )
    for classes, top1, top5 in ((400, 79.8, 93.9), (600, 81.1, 95.1)):
        number: datasets.Kinetics = 400 if classes == 400 else 600
        stages = [kinetics_stage(f"k{number}", number, model=_SF16, batch=1024, long_clip=True)]
        scores = {f"k{number} top-1": top1, f"k{number} top-5": top5}
        row = _row("§3.1", f"SlowFast 16×8 on K{number}", scores, 234)
        yield _kinetics_recipe(f"k{number}_{_SF16}", stages, number, row)


def _hidden_kinetics() -> Test:
    """Kinetics-700's test clips, whose classes only the challenge's server has."""
    data = datasets.kinetics_hidden(700)
    return Test(name="k700_test", data=data, metric="topk", views=TEN_BY_THREE)


def _kinetics_recipe(
    name: str, stages: list[Stage], classes: datasets.Kinetics, row: PaperRow
) -> Recipe:
    model = stages[-1].model
    assert model is not None
    way = " → ".join(stage.name.upper() for stage in stages)
    return Recipe(
        name=name,
        summary=f"{name.partition('_')[2]}, {way}, from scratch",
        model=model,
        stages=tuple(stages),
        tests=(kinetics_test(classes),),
        published=row,
    )
