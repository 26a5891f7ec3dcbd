"""Co-finetuning on classification and detection at once (002): Tables 1 to 8.

A recipe is a chain of finetunings, each on one set or on several at once. Classification averages
every token of the backbone (002 §3.1), so both tasks train all of its dense form. Where each
setting is printed, or why it is assumed: `recipes.notes.cofinetuning`.

Every model starts from image weights, or from WTS, whose videos are not public: both are files that
the user provides, `weights/vivit_{b,l}_16x2_{in21k,wts}.safetensors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from tubelet.data.sources import ClipSource, JoinedSource, VideoSource
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.models.backbones.vivit import VARIANTS
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.recipes import datasets
from tubelet.recipes.classes import AVA, KINETICS, MOMENTS, SOMETHING
from tubelet.testing.config import PaperRow, Test
from tubelet.train.data.mixture import Mixture, Part
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage, Start

PAPER = "arXiv:2207.03807"
Size = Literal["b", "l"]
Task = Literal["ava", "ava_kinetics", "k400", "k700", "mit", "ssv2"]
Sampling = Literal["weighted", "alternating"]

_CLASSES: dict[Task, LabelSpace] = {
    "ava": AVA,
    "ava_kinetics": AVA,
    "k400": KINETICS[400],
    "k700": KINETICS[700],
    "mit": MOMENTS,
    "ssv2": SOMETHING,
}


def experiments() -> Iterator[Recipe]:
    """Every row of the tables; one that is printed in several of them comes once."""
    yield from _tables_1_and_2()
    yield _recipe(
        "cofinetune_b224_k400_mit_ssv2_ava", [("ava", "k400", "mit", "ssv2")],
        table="3", scores={"ava mAP": 26.8, "ava head": 66.7, "ava mid": 34.1, "ava tail": 10.1},
    )  # fmt: skip
    yield _recipe(
        "cofinetune_b224_k400_mit_ava_alternating", [("ava", "k400", "mit")],
        sampling="alternating", table="4",
        scores={"ava mAP": 25.0, "k400 top-1": 76.4, "mit top-1": 34.8},
    )  # fmt: skip
    yield from _large_pictures()
    yield from _ava_kinetics()
    for side, baseline, together in ((352, 26.9, 29.1), (416, 27.5, 30.1), (512, 28.5, 31.0)):
        yield _recipe(
            f"finetune_b{side}_k400_to_ava", [("k400",), ("ava",)], side=side,
            table="8", scores={"ava mAP": baseline},
        )  # fmt: skip
        yield _recipe(
            f"cofinetune_b{side}_k400_mit_ava", [("ava", "k400", "mit")], side=side,
            table="8", scores={"ava mAP": together},
        )  # fmt: skip


def _tables_1_and_2() -> Iterator[Recipe]:
    ava: list[tuple[str, list[tuple[Task, ...]], str, dict[str, float]]] = [
        ("finetune_b224_k400", [("k400",)], "1a", {"k400 top-1": 74.9}),
        ("finetune_b224_k400_to_ava", [("k400",), ("ava",)], "1a, 3, 8",
         {"ava mAP": 23.4, "ava head": 65.5, "ava mid": 29.7, "ava tail": 6.9}),
        ("cofinetune_b224_k400_ava", [("ava", "k400")], "1a, 3",
         {"ava mAP": 25.2, "k400 top-1": 76.2, "ava head": 65.6, "ava mid": 31.8, "ava tail": 8.9}),
        ("finetune_b224_mit", [("mit",)], "1b", {"mit top-1": 36.8}),
        ("finetune_b224_mit_to_ava", [("mit",), ("ava",)], "1b", {"ava mAP": 24.8}),
        ("cofinetune_b224_mit_ava", [("ava", "mit")], "1b", {"ava mAP": 26.1, "mit top-1": 38.1}),
        ("finetune_b224_k400_to_mit", [("k400",), ("mit",)], "2", {"mit top-1": 37.2}),
        ("finetune_b224_mit_to_k400", [("mit",), ("k400",)], "2", {"k400 top-1": 76.3}),
        ("finetune_b224_k400_to_mit_to_ava", [("k400",), ("mit",), ("ava",)], "2",
         {"ava mAP": 25.3}),
        ("finetune_b224_mit_to_k400_to_ava", [("mit",), ("k400",), ("ava",)], "2",
         {"ava mAP": 25.1}),
        ("cofinetune_b224_k400_mit_ava", [("ava", "k400", "mit")], "2, 3, 4, 8",
         {"ava mAP": 26.3, "k400 top-1": 76.7, "mit top-1": 38.9, "ava head": 66.1,
          "ava mid": 33.7, "ava tail": 9.5}),
    ]  # fmt: skip
    for name, chain, table, scores in ava:
        yield _recipe(name, chain, table=table, scores=scores)


def _large_pictures() -> Iterator[Recipe]:
    """Tables 5 and 6: 512 pixels, larger models, WTS."""
    many: tuple[Task, ...] = ("ava", "k400", "mit", "ssv2")
    most: tuple[Task, ...] = ("ava", "k700", "mit", "ssv2")
    yield _recipe(
        "finetune_b512_wts_to_ava", [("ava",)], side=512, wts=True,
        table="5", scores={"ava mAP": 33.3},
    )  # fmt: skip
    for size, wts, tasks, table, score in (
        ("b", False, many, "6", 31.2),
        ("l", False, most, "6", 32.8),
        ("b", True, many, "5, 6", 34.2),
        ("l", True, most, "6", 36.1),
    ):
        given: Size = "b" if size == "b" else "l"
        yield _recipe(
            f"cofinetune_{size}512_{'wts_' if wts else ''}{tasks[1]}_mit_ssv2_ava", [tasks],
            size=given, side=512, wts=wts, table=table, scores={"ava mAP": score},
        )  # fmt: skip


def _ava_kinetics() -> Iterator[Recipe]:
    """Table 7, and below it the annotated boxes instead of CenterNet's."""
    chain: list[tuple[Task, ...]] = [("ava_kinetics", "k700", "mit", "ssv2")]
    plain = _recipe(
        "cofinetune_l512_k700_mit_ssv2_ava_kinetics", chain, size="l", side=512,
        table="7", scores={"ava_kinetics mAP": 33.1},
    )  # fmt: skip
    yield plain
    yield _recipe(
        "cofinetune_l512_wts_k700_mit_ssv2_ava_kinetics", chain, size="l", side=512, wts=True,
        table="7", scores={"ava_kinetics mAP": 36.2},
    )  # fmt: skip
    kinetics = datasets.kinetics_boxes("val")
    both = datasets.joined("ava_kinetics_val", datasets.ava("val"), kinetics)
    assert plain.published is not None
    yield replace(
        plain,
        name=f"{plain.name}_on_truth",
        summary=f"{plain.summary}, tested on the annotated boxes",
        tests=(Test(name="ava_kinetics", data=both), Test(name="kinetics", data=kinetics)),
        published=replace(
            plain.published,
            table="§4.3",
            scores={"ava_kinetics mAP": 47.0, "kinetics mAP": 47.0},
        ),
    )


def _recipe(
    name: str,
    chain: list[tuple[Task, ...]],
    *,
    size: Size = "b",
    side: int = 224,
    wts: bool = False,
    sampling: Sampling = "weighted",
    table: str,
    scores: dict[str, float],
) -> Recipe:
    """One stage for each link of the chain; a link of several sets is co-finetuned."""
    weights = f"weights/vivit_{size}_16x2_{'wts' if wts else 'in21k'}.safetensors"
    stages = [
        _stage(tasks, first=number == 0, weights=weights, size=size, side=side, sampling=sampling)
        for number, tasks in enumerate(chain)
    ]
    way = " → ".join(" + ".join(tasks) for tasks in chain)
    last = chain[-1]
    return Recipe(
        name=name,
        summary=f"ViViT-{size.upper()}/16×2, {side} px, {'WTS' if wts else 'ImageNet-21K'} → {way}"
        + (", alternating" if sampling == "alternating" else ""),
        model=_model(last[0], size, side),
        stages=tuple(stages),
        tests=tuple(_test(task, part=number > 0) for number, task in enumerate(last)),
        published=PaperRow(paper=PAPER, table=table, row=way, scores=scores),
    )


def _stage(
    tasks: tuple[Task, ...],
    *,
    first: bool,
    weights: str,
    size: Size,
    side: int,
    sampling: Sampling,
) -> Stage:
    """SGD, rate 0.2 for 128 clips, 15 epochs of which 2.5 warm up; 20 on AVA alone (002 A.1)."""
    epochs = 20 if tasks in (("ava",), ("ava_kinetics",)) else 15
    data = _train(tasks[0])
    parts = [Part(data=data)]
    parts += [Part(data=_train(task), model=_model(task, size, side)) for task in tasks[1:]]
    return Stage(
        name="_".join(tasks),
        data=Mixture(parts=tuple(parts), sampling=sampling) if len(parts) > 1 else data,
        model=_model(tasks[0], size, side),
        start=Start(weights=weights if first else None, parts=("backbone.*",)),
        epochs=epochs,
        batch=128,
        optimizer=Optimizer(
            kind="sgd", rate=0.2, per_clips=128, nesterov=False, weight_decay=0.0
        ),
        schedule=CosineSchedule(warmup=2.5 / epochs),
        loss=ActionLoss(label_smoothing=0.1),
        augment=Augment(scale=(0.65, 1.1), crop=side, box_jitter=0.15),
        clip_norm=1.0,
    )  # fmt: skip


def _model(task: Task, size: Size, side: int) -> ActionModelConfig:
    """The longer side is `side`, the shorter one zero-padded; stochastic depth 0.2. Positions are
    those of its own pictures, resized once as the image weights come in, and learnt from there."""
    named = VARIANTS[f"vivit_{size}_16x2"]
    head = LinearHeadConfig(dropout=0.0) if _detects(task) else ClipHeadConfig(dropout=0.0)
    t, h, w = named.detection.tubelet
    positions = (named.input.frames // t, side // h, side // w)
    return ActionModelConfig(
        backbone=replace(named.detection, drop_path=0.2, positions=positions),
        head=head,
        input=replace(named.input, short_side=side, long_side=side, crop=side),
        labels=_CLASSES[task],
    )


def _detects(task: Task) -> bool:
    return task in ("ava", "ava_kinetics")


def _train(task: Task) -> VideoSource | JoinedSource | ClipSource:
    """AVA on its detected people of 0.8 or more, AVA-Kinetics on the annotated ones (002 A.1)."""
    match task:
        case "ava":
            return datasets.ava("train", boxes="matched", threshold=0.8)
        case "ava_kinetics":
            truth = datasets.ava("train"), datasets.kinetics_boxes("train")
            return datasets.joined("ava_kinetics_train", *truth)
        case _:
            return _clips(task, "train")


def _clips(task: Task, split: Literal["train", "val"]) -> ClipSource:
    match task:
        case "k400":
            return datasets.kinetics(400, split)
        case "k700":
            return datasets.kinetics(700, split)
        case "mit":
            return datasets.moments(split)
        case _:
            return datasets.something(2, split)


def _test(task: Task, *, part: bool) -> Test:
    """A single view of everything. AVA is tested on Faster R-CNN's detections of 0.8 or more,
    AVA-Kinetics, both its parts, on CenterNet's of 0.2 or more (002 §4.1, A.1); AVA also by Head,
    Mid and Tail classes (A.3)."""
    trained = _train(task).name if part else None
    if not _detects(task):
        return Test(name=task, data=_clips(task, "val"), part=trained, metric="topk")
    if task == "ava":
        ava = datasets.ava("val", boxes="proposals", threshold=0.8)
        return Test(name="ava", data=ava, training=datasets.ava("train"))
    both = datasets.joined(
        "ava_kinetics_val",
        datasets.ava("val", boxes="proposals", threshold=0.2, detector="centernet"),
        datasets.kinetics_boxes("val", boxes="proposals", threshold=0.2, detector="centernet"),
    )
    return Test(name="ava_kinetics", data=both)
