"""Notes on 002's settings."""

from __future__ import annotations

from tubelet.data.sources import VideoSource
from tubelet.recipes.notes.base import Notes, PaperNotes, assume, cite
from tubelet.testing.config import Test
from tubelet.train.data.mixture import Mixture
from tubelet.train.recipe import Stage


def stage_notes(stage: Stage) -> Notes:
    """Of any stage: one set or several."""
    notes = (
        cite("002 A.1", "epochs", "batch", "optimizer.kind", "optimizer.rate", "schedule")
        | cite("002 A.1", "optimizer.per_clips", "optimizer.momentum", "loss.label_smoothing")
        | cite("002 A.1", "augment.scale", "augment.box_jitter", "model.backbone.drop_path")
        | cite("002 §4.1", "model.backbone", "model.input")
        | cite("002 A.2", "model.input.long_side", "augment.crop")
        | cite("002 §3.1", "model.head")
        | cite("002 §3.2" if isinstance(stage.data, Mixture) else "002 §4.2", "data")
        | cite("002 §4.1" if stage.start.weights else "002 §3.2", "start")
        | assume(
            "not printed: none, and the gradient's limit of Scenic's ViViT",
            "optimizer.weight_decay",
            "optimizer.decay_all",
            "clip_norm",
        )
        | assume("not printed: plain momentum", "optimizer.nesterov")
        | assume("printed are neither mirroring nor colour: none", "augment.flip")
        | assume("not printed: none, stochastic depth regularises", "model.head.dropout")
        | assume(
            "printed are only the sizes of pictures: a position for every token of its own, from "
            "those of the weights at 224 pixels, resized once",
            "model.backbone.positions",
        )
    )
    first = stage.mixture.parts[0].data
    path = "data.parts.0.data" if isinstance(stage.data, Mixture) else "data"
    if isinstance(first, VideoSource):
        notes |= cite("002 A.1", f"{path}.score_threshold") | assume(
            'printed is "trained on detected person boxes", not how they get their labels: from '
            "the person that they overlap by more than 0.9, as in 001 §2",
            f"{path}.boxes",
            f"{path}.proposal_iou",
        )
    for number in range(len(first.joins())):
        notes |= cite("002 A.1", f"{path}.parts.{number}.boxes")
    return notes


def test_notes(test: Test) -> Notes:
    """A single view."""
    notes = cite("002 §4.1", "data", "views")
    parts = test.data.joins()
    paths = [f"data.parts.{n}" for n in range(len(parts))] if parts else ["data"]
    if test.training is not None:
        notes |= cite("002 §4.2, A.3", "training")
    if test.metric == "frame":
        for path in paths:
            notes |= cite("002 A.1", f"{path}.boxes", f"{path}.score_threshold")
    return notes


NOTES = PaperNotes(stage=stage_notes, test=test_notes)
