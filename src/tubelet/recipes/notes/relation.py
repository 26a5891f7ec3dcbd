"""Notes on 000's settings."""

from __future__ import annotations

from tubelet.data.sources import VideoSource
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.recipes.notes.base import Notes, PaperNotes, assume, cite
from tubelet.recipes.notes.kinetics import of_001
from tubelet.testing.config import Test
from tubelet.train.recipe import Stage


def stage_notes(stage: Stage) -> Notes:
    """Of a stage, by its name: Kinetics-700, the first, with a full bank, or decoupled."""
    if stage.name == "k700":
        return _pretraining(stage)
    notes = (
        cite("000 §3.1", "data", "steps", "batch", "optimizer.kind", "optimizer.rate")
        | cite("000 §3.1", "optimizer.per_clips", "optimizer.weight_decay", "schedule", "norms")
        | cite("000 §3.1", "start", "model.input", "model.input.long_side")
        | cite("000 §3.1, Table 1", "model.backbone")
        | assume(
            "printed is SGD: with momentum, Nesterov's, and no decay of norms and biases, as 001's "
            "code has it",
            "optimizer.momentum",
            "optimizer.nesterov",
            "optimizer.decay_all",
        )
        | assume("not printed: none", "clip_norm")
        | assume(
            'printed is "color jitter and box jitter", not how much',
            "augment.brightness",
            "augment.contrast",
            "augment.saturation",
            "augment.box_jitter",
        )
        | assume("not printed for training; testing mirrors", "augment.flip")
        | assume(
            "not printed: on the annotated people, whom relation heads then relate",
            *_boxes(stage),
        )
        | _model_notes(stage)
    )
    if stage.name == "with_bank":
        notes |= _with_bank(stage)
    if stage.name == "decoupled":
        notes |= (
            cite("000 §2.4", "trainable", "sampler")
            | cite("000 §3.3, Table 3", "data")
            | assume("not printed: as long and as fast as the first", "steps", "optimizer.rate")
            | assume("not printed: as in the first stage", "schedule", "batch")
        )
    return notes


def _pretraining(stage: Stage) -> Notes:
    assert stage.model is not None
    notes = of_001(stage).borrowed("000 prints the dataset alone: as 001 trains on Kinetics")
    notes |= cite("000 §3.1", "data") | cite("000 §3.1, Table 1", "model.backbone", "model.input")
    if isinstance(stage.model.backbone, CSNConfig):
        notes |= cite("000 §3.2", "model.backbone.detection")
    return notes


def _boxes(stage: Stage) -> list[str]:
    parts = stage.mixture.parts[0].data.joins()
    return [f"data.parts.{n}.boxes" for n in range(len(parts))] if parts else ["data.boxes"]


def _model_notes(stage: Stage) -> Notes:
    assert stage.model is not None
    notes = cite("000 §3.1", "model.head")
    if isinstance(stage.model.backbone, CSNConfig) and stage.start.weights is not None:
        notes |= cite("000 Table 1", "start.weights")
    if isinstance(stage.model.head, LinearHeadConfig):
        return notes
    notes |= cite("000 §2.1, §2.2", "model.head") | assume(
        "not printed: sizes of a usual encoder block; a mean, one of the two aggregates it names; "
        "two convolutions after the concatenation",
        "model.head.width",
        "model.head.heads",
        "model.head.mlp",
        "model.head.aggregate",
        "model.head.resolution",
        "model.head.dropout",
        "model.head.fusion.width",
        "model.head.fusion.kernel",
    )
    if stage.model.memory is not None:
        notes |= cite("000 §2.3", "model.memory") | assume(
            'printed is "a long-range" of timestamps: 10 s either way, 5 people of each',
            "model.memory.before_ms",
            "model.memory.after_ms",
            "model.memory.people",
        )
    return notes


def _with_bank(stage: Stage) -> Notes:
    notes = (
        cite("000 §2.3", "data", "bank", "bank_data", "trainable")
        | cite("000 §2.3, Table 2", "start")
        | assume("not printed: as long and as fast as the first", "steps", "optimizer.rate")
        | assume("not printed: as in the first stage", "schedule", "batch")
    )
    return notes | assume(
        "the fusion decides what the bank holds, so it is frozen with the backbone", "trainable"
    )


def test_notes(test: Test) -> Notes:
    """On AVA, Kinetics or both, at three scales and mirrored; or of the boxes alone."""
    notes = cite("000 §3.1", "views") | cite("000 §3.2, Table 1", "data")
    if test.metric == "boxes":
        return notes | cite("000 §3.3, Table 4", "data")
    joined = test.data.joins()
    for number, source in enumerate(joined or (test.data,)):
        path = f"data.parts.{number}" if joined else "data"
        if isinstance(source, VideoSource) and source.boxes == "truth":
            notes |= cite("000 §3.3, Table 4", f"{path}.boxes")
        else:
            notes |= assume(
                "not printed: GFocalV2's score estimates the IoU, and Table 4 counts a box from "
                "IoU 0.5 on",
                f"{path}.score_threshold",
            )
    if test.stage is not None or test.against is not None:
        notes |= cite("000 §3.3, Table 3", "stage", "against", "training")
    if test.bank_data is not None:
        notes |= assume("not printed: at test as in training", "bank_data")
    return notes | assume("not printed: not multiplied", "person_scores")


NOTES = PaperNotes(
    stage=stage_notes,
    test=test_notes,
    ensembles={
        "relation_ensemble15": cite("000 §3.2", "weights")
        | assume(
            "printed is \"we select 15 models\": Table 1's 14, and Table 3's, the only other one",
            "members",
        )
    },
)
