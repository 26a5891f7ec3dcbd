"""Notes on 001's settings."""

from __future__ import annotations

from tubelet.data.sources import JoinedSource
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.recipes.notes.base import Notes, PaperNotes, assume, cite
from tubelet.recipes.notes.kinetics import CROPS, PYSLOWFAST, SGD, of_001
from tubelet.testing.config import Test
from tubelet.train.recipe import Stage


def stage_notes(stage: Stage) -> Notes:
    """Of a stage on AVA or on Kinetics, by its name."""
    assert stage.model is not None
    notes = _on_ava(stage) if stage.name == "ava" else of_001(stage)
    return notes | _blocks(stage)


def _on_ava(stage: Stage) -> Notes:
    notes = (
        cite("001 §2", "data", "steps", "start", "optimizer.weight_decay", "schedule")
        | cite('001 §2, "all other hyper-parameters" as in §3', "batch", *SGD, "norms", *CROPS)
        | cite('001 §2, "all other hyper-parameters" as in §3', "augment.crop_at")
        | cite("001 §1.1, Table 1", "model.backbone", "model.input")
        | cite("001 §2", "model.head")
        | assume(
            'printed is "when validation error saturates": half and three quarters of the steps, '
            "to be moved by whoever sees the curve",
            "schedule.milestones",
        )
        | assume(
            "not printed: whom the crop shows at all stays, their box cut to it",
            "augment.min_visible",
        )
        | PYSLOWFAST
    )
    parts = stage.data.parts if isinstance(stage.data, JoinedSource) else None
    for path in ["data"] if parts is None else [f"data.parts.{n}" for n in range(len(parts))]:
        notes |= cite("001 §2, §2.1", f"{path}.proposal_iou", f"{path}.score_threshold")
    if stage.model is not None and isinstance(stage.model.head, NonlocalContextHeadConfig):
        notes |= cite("001 §2.1", "model.head") | assume(
            "not printed: half the channels and a batch norm, as in its non-local blocks",
            "model.head.width",
            "model.head.norm",
        )
    return notes


def _blocks(stage: Stage) -> Notes:
    """How many blocks of res4 look along time: two printed figures that disagree."""
    assert stage.model is not None
    backbone = stage.model.backbone
    if not isinstance(backbone, SlowFastConfig):
        return assume(
            "printed is β = 1 (§1.1), not which blocks of res4 look along time: as many as meet "
            "the 552 GFLOPs of Table 3",
            "model.backbone",
        )
    paths = ("model.backbone.slow_temporal", "model.backbone.fast_temporal")
    if backbone.slow_temporal is None:
        return cite("001 Table 1", *paths)
    return assume(
        "Table 1 draws temporal kernels in all 23 blocks, Table 3's 115 and 234 GFLOPs are those "
        "of 6, as in PySlowFast's models; ava22_slowfast_r101_101_nl_8x8 has all 23",
        *paths,
    )


def test_notes(test: Test) -> Notes:
    """On AVA or on Kinetics."""
    if test.metric == "topk":
        return cite("001 §3", "data", "views")
    notes = cite("001 §2", "data", "views")
    if test.views.scales:
        notes |= cite("001 §2.1, Table 2", "views") | assume(
            'printed is "multi-scale": the three scales of 000 §3.1', "views.scales"
        )
    return notes


NOTES = PaperNotes(
    stage=stage_notes,
    test=test_notes,
    ensembles={
        "ava22_slowfast_ensemble7": cite("001 §2.1", "weights")
        | assume(
            "printed is in what the five 16×8 differ, not which has what: each but the first "
            "changes one thing",
            "members",
        ),
        "k700_slowfast_ensemble3": cite("001 §3.1", "members")
        | assume("not printed of Kinetics: equal, as on AVA (001 §2)", "weights"),
    },
)
