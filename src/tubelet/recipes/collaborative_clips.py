"""Collaborative memories on Kinetics, Charades and Something-Something (004): Tables 1 to 6.

Backbones are trained by themselves, then with the memory (§4.1): each recipe has both stages. A
node has 64 clips; with N clips per video it takes round(8/N) videos on each of its 8 GPUs (B.1).
Where each setting is printed, or why it is assumed: `recipes.notes.collaborative`. Kinetics-600,
from which Kinetics-700 starts, is trained here as well; ImageNet's weights for I3D are a file that
the user provides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tubelet.data.sources import CharadesSource, ClipSource
from tubelet.labels import LabelSpace
from tubelet.models.backbones.slowfast import VARIANTS
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.recipes import datasets
from tubelet.recipes.classes import CHARADES, SOMETHING
from tubelet.recipes.protocols import (
    EIGHT_CLIPS,
    ONLY_BACKBONE,
    TEN_BY_THREE,
    jitter,
    kinetics_stage,
    kinetics_test,
    schedule_of,
    sgd,
)
from tubelet.testing.config import PaperRow, Test
from tubelet.train.learning.multi_clip import CollaborativeTraining
from tubelet.train.model.norms import Norms
from tubelet.train.recipe import Recipe, Stage, Start

PAPER = "arXiv:2104.01198"
IMAGENET = "weights/i3d_r50_in1k.safetensors"
_SLOW, _R2PLUS1D = "slow_r50_8x8", "r2plus1d_r50_16x2"
_DEFAULT = CollaborativeMemoryConfig()
_NONLOCAL = ("slowfast_r101_101_nl_8x8", "slowfast_r101_101_nl_16x8")


def experiments() -> Iterator[Recipe]:
    """Every row of the tables; one that is printed in several of them comes once."""
    yield from _table_1()
    yield from _components()
    yield from _figure_3()
    yield from _designs()
    yield from _strategies()
    yield from _strides()
    yield from _table_3()
    yield from _table_4()
    yield from _table_5()
    yield from _table_6()


def videos_of_a_node(clips: int) -> int:
    """Videos of a step on one node of eight GPUs, with so many clips of each (§3.3)."""
    return 8 * max(1, round(8 / clips))


def norms_of(clips: int) -> Norms:
    """Statistics over 8 clips (001 §3); with several clips of a video, over "only the clips from
    different videos" (§3.3), which training does slot by slot."""
    return EIGHT_CLIPS if clips == 1 else Norms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What the paper prints of a recipe."""

    table: str
    row: str
    score: float | None
    metric: str = "k400 top-1"
    gflops: float | None = None
    parameters: float | None = None
    ratio: float | None = None
    baseline: str | None = None

    def row_of(self) -> PaperRow:
        """The same as a row; a point of a figure that is only drawn has no score."""
        scores = {} if self.score is None else {self.metric: self.score}
        return PaperRow(
            paper=PAPER,
            table=self.table,
            row=self.row,
            scores=scores,
            gflops=self.gflops,
            parameters=self.parameters,
            cost_ratio=self.ratio,
            baseline=self.baseline,
        )


def kinetics400_stages(model: str, *, stride: int | None = None) -> tuple[Stage, ...]:
    """A backbone on Kinetics-400 by its own schedule (B.1)."""
    stage = kinetics_stage("k400", 400, model=model)
    if stride is not None:
        assert stage.model is not None
        spec = replace(stage.model.input, stride=stride)
        stage = replace(stage, model=replace(stage.model, input=spec))
    if model.startswith("r2plus1d"):
        stage = replace(
            stage,
            epochs=250,
            optimizer=sgd(0.4, per_clips=64),
            schedule=schedule_of(250, warmup=50),
        )
    if model.startswith("i3d"):
        stage = replace(
            stage,
            start=Start(weights=IMAGENET, parts=("backbone.*",)),
            epochs=118,
            optimizer=sgd(0.01, per_clips=64),
            schedule=schedule_of(118, drops=(44, 88)),
        )
    if model in _NONLOCAL:
        return (_without_nonlocal(stage, model), replace(stage, start=ONLY_BACKBONE))
    return (stage,)


def _without_nonlocal(stage: Stage, model: str) -> Stage:
    """Non-local models begin with the weights of their counterparts without (B.1)."""
    assert stage.model is not None
    backbone = replace(VARIANTS[model].backbone, nonlocal_res4=())
    return replace(stage, name=f"{stage.name}_plain", model=replace(stage.model, backbone=backbone))


def kinetics700_stages(model: str) -> tuple[Stage, ...]:
    """Kinetics-700 from Kinetics-600's weights (B.1)."""
    first = kinetics_stage("k600", 600, model=model)
    if model in _NONLOCAL:
        first = _without_nonlocal(first, model)
    return first, kinetics_stage("k700", 700, model=model, start=ONLY_BACKBONE)


def _memory_stage(before: Stage, memory: CollaborativeMemoryConfig | None = _DEFAULT) -> Stage:
    """Training on with the memory: 15 epochs, the same for every backbone (B.1)."""
    assert before.model is not None
    clips = 5 if memory is None else memory.clips
    videos = videos_of_a_node(clips)
    return replace(
        before,
        name="with_memory",
        model=replace(before.model, memory=memory),
        start=Start(),
        epochs=15,
        batch=videos * clips,
        optimizer=sgd(0.0125 * videos / 16, per_clips=videos * clips),
        schedule=schedule_of(15, warmup=2.25),
        norms=norms_of(clips),
        collaborative=CollaborativeTraining(
            # Of a single clip the video's loss is the clip's own, counted twice.
            video_weight=0.0 if clips == 1 else 1.0,
            clips=1 if memory is not None else clips,
        ),
    )


def _recipe(
    name: str, stages: tuple[Stage, ...], test: Test, printed: Printed, what: str = ""
) -> Recipe:
    model = stages[-1].model
    assert model is not None
    way = " → ".join(stage.name for stage in stages)
    return Recipe(
        name=name,
        summary=f"{printed.row}: {way}{what}",
        model=model,
        stages=stages,
        tests=(test,),
        published=printed.row_of(),
    )


def _k400(name: str, stages: tuple[Stage, ...], printed: Printed, what: str = "") -> Recipe:
    return _recipe(name, stages, kinetics_test(400), printed, what)


def _table_1() -> Iterator[Recipe]:
    for model, label, base, ours, ratio, tables in (
        (
            _SLOW,
            "Slow-only-50 8×8",
            74.4,
            76.8,
            1.03,
            ("1, 2f", "1, 2a, 2b, 2c, 2d, 2e, 2f, fig. 3"),
        ),
        ("i3d_r50_nl_32x2", "I3D-50+NL 32×2", 74.9, 77.5, 1.02, ("1", "1")),
        (_R2PLUS1D, "R(2+1)D-50 16×2", 75.7, 78.0, 1.01, ("1, 2f", "1, 2d, 2e, 2f")),
        ("slowfast_r50_4x16", "SlowFast-50 4×16", 75.6, 77.8, 1.02, ("1", "1")),
        ("slowfast_r50_8x8", "SlowFast-50 8×8", 76.8, 78.9, 1.03, ("1", "1")),
    ):
        stages = kinetics400_stages(model)
        printed = Printed(table=tables[0], row=label, score=base)
        yield _k400(f"k400_{model}", stages, printed)
        yield _k400(
            f"k400_{model}_cm",
            (*stages, _memory_stage(stages[-1])),
            replace(
                printed,
                table=tables[1],
                row=f"{label} with CM",
                score=ours,
                ratio=ratio,
                baseline=f"k400_{model}",
                parameters=36.7 if model == _SLOW else None,
            ),
        )


def _components() -> Iterator[Recipe]:
    """Table 2a: several clips, the memory, and training end to end."""
    stages = kinetics400_stages(_SLOW)
    cm = _memory_stage(stages[-1])
    alone = _memory_stage(stages[-1], replace(_DEFAULT, clips=1))
    frozen = replace(cm, trainable=("memory.*", "head.*"))
    several = _memory_stage(stages[-1], None)
    for name, stage, row, score in (
        ("one_clip", alone, "memory within a single clip", 74.5),
        ("no_memory", several, "several clips without memory", 75.5),
        ("frozen", frozen, "several clips and memory, frozen backbone", 75.9),
    ):
        tables = {"no_memory": "2a, 2b", "one_clip": "2a, fig. 3"}.get(name, "2a")
        yield _k400(
            f"k400_{_SLOW}_cm_{name}",
            (*stages, stage),
            Printed(table=tables, row=row, score=score),
        )


def _figure_3() -> Iterator[Recipe]:
    """Accuracy over the number of clips in training, for clips of 8×8 and of 8×2 frames. The text
    prints N = 1 and 9 (§4.2), Table 1 N = 5 of 8×8; the other points are only drawn."""
    drawn: dict[int, dict[int, float | None]] = {
        8: {3: None, 7: None, 9: 77.1},
        2: {1: 73.2, 3: None, 5: None, 7: None, 9: 76.4},
    }
    for stride, points in drawn.items():
        stages = kinetics400_stages(_SLOW, stride=stride)
        for clips, score in points.items():
            memory = replace(_DEFAULT, clips=clips)
            yield _k400(
                f"k400_slow_r50_8x{stride}_cm_n{clips}",
                (*stages, _memory_stage(stages[-1], memory)),
                Printed(table="fig. 3", row=f"8×{stride} with CM, N = {clips}", score=score),
            )


def _designs() -> Iterator[Recipe]:
    """Table 2b, how the memory works, and 2c, how wide it is."""
    stages = kinetics400_stages(_SLOW)
    for name, memory, row, score, parameters in (
        ("avgpool", replace(_DEFAULT, kind="avgpool"), "CM (avgpool)", 75.8, None),
        ("residual", replace(_DEFAULT, infusion="residual"), "CM (residual)", 76.0, None),
        ("reduction1", replace(_DEFAULT, reduction=1), "α = 1", 76.8, 49.2),
        ("reduction2", replace(_DEFAULT, reduction=2), "α = 2", 76.8, 40.9),
        ("reduction8", replace(_DEFAULT, reduction=8), "α = 8", 76.4, 34.6),
    ):
        yield _k400(
            f"k400_{_SLOW}_cm_{name}",
            (*stages, _memory_stage(stages[-1], memory)),
            Printed(
                table="2b" if parameters is None else "2c",
                row=row,
                score=score,
                parameters=parameters,
            ),
        )


def _strategies() -> Iterator[Recipe]:
    """Table 2d, everything from scratch in as many iterations, and 2e, one clip at a time."""
    for model, scratch, one_by_one in ((_SLOW, 76.1, 76.6), (_R2PLUS1D, 77.7, 77.9)):
        (first,) = kinetics400_stages(model)
        second = _memory_stage(first)
        videos = videos_of_a_node(_DEFAULT.clips)
        # The backbone's epochs are of 64 videos per step, those with memory of 16.
        epochs = 15 + (first.epochs or 0) * videos / 64
        whole = replace(
            second,
            name="from_scratch",
            epochs=epochs,
            optimizer=first.optimizer,
            schedule=first.schedule,  # shares: 34 of 196 epochs warm up, of R(2+1)D's 50 of 250
        )
        yield _k400(
            f"k400_{model}_cm_scratch",
            (whole,),
            Printed(table="2d", row="everything from scratch", score=scratch),
        )
        unrolled = replace(
            second, collaborative=replace(second.collaborative, mode="multi_iteration")
        )
        yield _k400(
            f"k400_{model}_cm_multi_iteration",
            (first, unrolled),
            Printed(table="2e", row="multi-iteration", score=one_by_one),
        )


def _strides() -> Iterator[Recipe]:
    """Table 2f: backbones whose clips are stretched over more time instead."""
    for model, own, rows in (
        (_SLOW, 8, ((2, 73.2), (4, 74.3), (16, 74.4))),
        (_R2PLUS1D, 2, ((4, 76.4), (8, 75.0), (16, 72.2))),
    ):
        for stride, score in rows:
            yield _k400(
                f"k400_{model.rsplit('x', 1)[0]}x{stride}",
                kinetics400_stages(model, stride=stride),
                Printed(table="2f", row=f"{model}, stride {stride} for {own}", score=score),
            )


def _table_3() -> Iterator[Recipe]:
    for model, label, gflops, score in (
        ("r2plus1d_r101_32x2", "R(2+1)D-101 32×2", 243, 80.5),
        ("slowfast_r101_101_8x8", "SlowFast-101 8×8", 128, 80.0),
        ("slowfast_r101_101_nl_8x8", "SlowFast-101+NL 8×8", 137, 81.4),
    ):
        stages = kinetics400_stages(model)
        printed = Printed(table="3", row=f"{label} with CM", score=score, gflops=gflops)
        yield _k400(f"k400_{model}_cm", (*stages, _memory_stage(stages[-1])), printed)


def _table_4() -> Iterator[Recipe]:
    for model, label, costs, scores in (
        ("slowfast_r50_4x16", "SlowFast-50 4×16", (36, 37), (66.1, 68.3)),
        ("slowfast_r101_101_8x8", "SlowFast-101 8×8", (126, 128), (69.2, 70.9)),
        ("slowfast_r101_101_nl_8x8", "SlowFast-101+NL 8×8", (135, 137), (70.2, 72.4)),
    ):
        stages = kinetics700_stages(model)
        printed = Printed(
            table="4", row=label, score=scores[0], gflops=costs[0], metric="k700 top-1"
        )
        test = kinetics_test(700)
        yield _recipe(f"k700_{model}", stages, test, printed)
        yield _recipe(
            f"k700_{model}_cm",
            (*stages, _memory_stage(stages[-1])),
            test,
            replace(printed, row=f"{label} with CM", score=scores[1], gflops=costs[1]),
        )


def _finetuned(
    name: str,
    before: Stage,
    data: ClipSource | CharadesSource,
    labels: LabelSpace,
    *,
    rate: float,
    epochs: float,
    drops: tuple[float, float],
    warmup: float,
    weight_decay: float,
    memory: bool,
) -> Stage:
    """A Kinetics-400 model on a smaller set; a node's step has 16 videos (B.2, B.3)."""
    assert before.model is not None
    mirrored = 0.0 if data.labelled == "video" else 0.5  # left and right mean something there
    clips = _DEFAULT.clips if memory else 1
    return replace(
        before,
        name=name,
        data=data,
        model=replace(before.model, labels=labels, memory=_DEFAULT if memory else None),
        start=ONLY_BACKBONE,
        epochs=epochs,
        batch=16 * clips,
        optimizer=sgd(rate, per_clips=16 * clips, weight_decay=weight_decay),
        schedule=schedule_of(epochs, warmup=warmup, drops=drops),
        norms=norms_of(clips),
        augment=replace(jitter(256, 340 if mirrored else 320), flip=mirrored),
        collaborative=CollaborativeTraining(video_weight=1.0 if memory else 0.0),
    )


def _table_5() -> Iterator[Recipe]:
    """Charades: the maximum over the clips of a video."""
    test = Test(
        name="charades",
        data=datasets.charades("test"),
        metric="charades",
        views=replace(TEN_BY_THREE, join="max"),
    )
    data = datasets.charades("train")
    for model, label, costs, scores in (
        ("slowfast_r50_16x8", "SlowFast-50 16×8", (131, 135), (39.4, 42.9)),
        ("slowfast_r101_101_nl_16x8", "SlowFast-101+NL 16×8", (273, 277), (41.3, 44.6)),
    ):
        stages = kinetics400_stages(model)
        plain = _finetuned(
            "charades", stages[-1], data, CHARADES, rate=0.0375, epochs=57, drops=(41, 49),
            warmup=4, weight_decay=1e-4, memory=False,
        )  # fmt: skip
        ours = _finetuned(
            "charades", stages[-1], data, CHARADES, rate=0.1875, epochs=24, drops=(16, 20),
            warmup=2, weight_decay=1e-4, memory=True,
        )  # fmt: skip
        printed = Printed(
            table="5", row=label, score=scores[0], gflops=costs[0], metric="charades mAP"
        )
        yield _recipe(f"charades_{model}", (*stages, plain), test, printed)
        yield _recipe(
            f"charades_{model}_cm",
            (*stages, ours),
            test,
            replace(printed, row=f"{label} with CM", score=scores[1], gflops=costs[1]),
        )


def _table_6() -> Iterator[Recipe]:
    test = Test(name="ssv1", data=datasets.something(1, "val"), metric="topk", views=TEN_BY_THREE)
    data = datasets.something(1, "train")
    for model, label, scores in (
        ("slowfast_r50_8x8", "SlowFast-50 8×8", (50.1, 52.3)),
        ("slowfast_r101_101_nl_8x8", "SlowFast-101+NL 8×8", (51.2, 53.7)),
    ):
        stages = kinetics400_stages(model)
        plain = _finetuned(
            "ssv1", stages[-1], data, SOMETHING, rate=0.03, epochs=22, drops=(14, 18),
            warmup=0.19, weight_decay=1e-6, memory=False,
        )  # fmt: skip
        ours = _finetuned(
            "ssv1", stages[-1], data, SOMETHING, rate=0.03, epochs=11, drops=(7, 9),
            warmup=0.19, weight_decay=1e-6, memory=True,
        )  # fmt: skip
        printed = Printed(table="6", row=label, score=scores[0], metric="ssv1 top-1")
        yield _recipe(f"ssv1_{model}", (*stages, plain), test, printed)
        yield _recipe(
            f"ssv1_{model}_cm",
            (*stages, ours),
            test,
            replace(printed, row=f"{label} with CM", score=scores[1]),
        )
