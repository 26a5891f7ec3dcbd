"""Collaborative memories on AVA (004): Tables 7 and 8.

A node's step has round(8/N) videos per GPU, N clips of each a second apart. Where each setting is
printed, or why it is assumed: `recipes.notes.collaborative`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tubelet.models.heads.mlp import MlpHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.recipes import datasets
from tubelet.recipes.collaborative_clips import (
    Printed,
    kinetics400_stages,
    kinetics700_stages,
    norms_of,
    videos_of_a_node,
)
from tubelet.recipes.protocols import (
    ONLY_BACKBONE,
    ava_jitter,
    ava_test,
    detector,
    schedule_of,
    sgd,
)
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.recipe import Recipe, Stage


def experiments() -> Iterator[Recipe]:
    """Every row of the tables; the row N = 9 of Table 8 is Table 7's SlowFast-50."""
    for version, model, label, base, ours, table in (
        ("2.1", "i3d_r50_nl_32x2", "R50+NL", 23.6, 26.3, "7a"),
        ("2.1", "slowfast_r50_4x16", "SlowFast-50 4×16", 23.6, 25.8, "7a"),
        ("2.2", "slowfast_r50_4x16", "SlowFast-50 4×16", 26.9, 29.8, "7b"),
        ("2.2", "slowfast_r101_101_8x8", "SlowFast-101 8×8", 29.0, 31.6, "7b"),
    ):
        name = f"ava{version.replace('.', '')}_{model}"
        tables = "7b, 8" if version == "2.2" and model == "slowfast_r50_4x16" else table
        yield _recipe(f"{name}_mlp", model, version, None, _printed(table, label, base))
        yield _recipe(
            f"{name}_cm", model, version, 9, _printed(tables, f"{label} with CM, N = 9", ours)
        )
    for clips, score in ((1, 26.9), (3, 27.4), (5, 28.3), (7, 29.3)):
        model, label = "slowfast_r50_4x16", f"SlowFast-50 4×16 with CM, N = {clips}"
        yield _recipe(
            f"ava22_{model}_cm_n{clips}", model, "2.2", clips, _printed("8", label, score)
        )


def _printed(table: str, row: str, score: float) -> Printed:
    return Printed(table=table, row=row, score=score, metric="ava mAP")


def _recipe(name: str, model: str, version: str, clips: int | None, printed: Printed) -> Recipe:
    """Kinetics-400 for AVA v2.1, Kinetics-700 for v2.2, then AVA with `clips` of a video."""
    backbone = kinetics400_stages(model) if version == "2.1" else kinetics700_stages(model)
    stage = _ava_stage(model, version, clips)
    assert stage.model is not None
    return Recipe(
        name=name,
        summary=f"{printed.row}: {' → '.join(s.name for s in backbone)} → AVA v{version}",
        model=stage.model,
        stages=(*backbone, stage),
        tests=(ava_test(version=version),),
        published=printed.row_of(),
    )


def _ava_stage(model: str, version: str, clips: int | None) -> Stage:
    """Rate 0.0018 for 8 videos, a tenth at epochs 11 and 15 of 18, focal loss;
    annotated people and proposals of 0.9 or more (B.4)."""
    memory = None if clips is None else CollaborativeMemoryConfig(clips=clips)
    together = clips or 1
    videos = videos_of_a_node(together)
    return Stage(
        name="ava",
        data=datasets.ava("train", version=version, boxes="truth+proposals", threshold=0.9),
        model=detector(model, head=MlpHeadConfig(), memory=memory),
        start=ONLY_BACKBONE,
        epochs=18,
        batch=videos * together,
        optimizer=sgd(
            0.0018 * videos / 8, per_clips=videos * together, weight_decay=1e-7
        ),
        schedule=schedule_of(18, drops=(11, 15)),
        loss=ActionLoss(focal_gamma=2.0),
        norms=norms_of(together),
        augment=ava_jitter(256, 320 if "r50" in model else 340),
        clip_norm=None,
    )  # fmt: skip
