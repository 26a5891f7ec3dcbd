"""Notes on 004's settings."""

from __future__ import annotations

from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.recipes.notes.base import Notes, PaperNotes, assume, cite
from tubelet.recipes.notes.kinetics import CROPS, PYSLOWFAST, SGD, of_004
from tubelet.testing.config import Test
from tubelet.train.recipe import Stage

_PRINTED_CLIPS = {"with_memory": 5, "charades": 5, "ssv1": 5, "ava": 9}
_FINETUNING = {"charades": "004 B.2", "ssv1": "004 B.3", "ava": "004 B.4"}
_SCHEDULE = ("epochs", "batch", *SGD, "optimizer.weight_decay", "schedule")


def stage_notes(stage: Stage) -> Notes:
    """Of a stage, by its name: a backbone's on Kinetics, with the memory, or on a smaller set."""
    assert stage.model is not None
    if stage.name in _FINETUNING:
        notes = _on_ava() if stage.name == "ava" else _finetuned(stage)
    elif stage.name in ("with_memory", "from_scratch"):
        notes = _with_memory(stage)
    else:
        return of_004(stage)
    return notes | _memory(stage) | _other_clips(stage)


def _memory(stage: Stage) -> Notes:
    """The memory, and how many clips' norms count together."""
    assert stage.model is not None
    memory = stage.model.memory
    if not isinstance(memory, CollaborativeMemoryConfig):
        return Notes()
    notes = (
        cite("004 §3.2, §4.3", "model.memory")
        | cite("004 §3.3", "norms")
        | assume(
            "Eq. 2 sums over the positions of a clip: the mean differs by a constant, and does not "
            'grow with the pictures at test; "sum" is the letter',
            "model.memory.positions",
        )
        | assume(
            "not printed: without it the gates saturate at the printed rate within 500 steps "
            '(docs/experiments.md); "none" is the letter',
            "model.memory.norm",
        )
    )
    if memory.clips == 1:
        notes |= assume(
            'not printed: "conventional clip-level training" (§4.2), so 8 clips as in 001 §3',
            "norms",
        )
    return notes


def _other_clips(stage: Stage) -> Notes:
    """The schedule where N is not the one that is printed."""
    assert stage.model is not None
    printed, clips = _PRINTED_CLIPS.get(stage.name), stage.clips_of_a_video(stage.model)
    if printed is None or clips == printed:
        return Notes()
    if stage.model.memory is None and stage.name != "with_memory":
        why = "not printed without the memory"
        return assume(
            f"{why}: that of N = 9 with single clips"
            if stage.name == "ava"
            else f"{why}: PySlowFast's, of which the printed one is a multiple",
            "epochs",
            "batch",
            "optimizer.rate",
            "schedule",
        )
    return cite("004 §3.3", "batch") | assume(
        f"printed for N = {printed}: by the linear scaling rule (§4.1)", "optimizer.rate"
    )


def _with_memory(stage: Stage) -> Notes:
    notes = (
        cite("004 B.1", "data", *_SCHEDULE, *CROPS, "model.head")
        | cite("004 §4.1", "model.backbone", "model.input", "collaborative.mode")
        | cite("004 §4.3", "start")
        | cite("004 §3.3", "norms")
        | PYSLOWFAST
        | _video_loss(stage)
    )
    if stage.collaborative.mode == "multi_iteration":
        notes |= cite("004 §4.3, Table 2e", "collaborative.mode")
    if stage.collaborative.clips > 1:
        notes |= cite("004 §4.3, Table 2a", "collaborative.clips")
    if stage.trainable != ("*",):
        notes |= cite("004 §4.3, Table 2a", "trainable")
    if stage.name == "from_scratch":
        notes |= assume(
            'printed is "equivalent training iterations": the backbone\'s at 16 videos a step '
            "instead of 64, and the memory's 15 epochs",
            "epochs",
        ) | assume("not printed: the backbone's", "optimizer.rate", "schedule")
    return notes


def _video_loss(stage: Stage) -> Notes:
    if not stage.collaborative.video_weight:
        return assume(
            "of a single clip the video's loss is the clip's own: counted once",
            "collaborative.video_weight",
        )
    return assume("α of Eq. 1 is not printed: both losses alike", "collaborative.video_weight")


def _finetuned(stage: Stage) -> Notes:
    where = _FINETUNING[stage.name]
    notes = (
        cite(where, "data", "start", *_SCHEDULE)
        | cite("004 §4.1", "model.backbone", "model.input")
        | assume("not printed for this set: as on Kinetics", "norms", "model.head", *CROPS)
        | PYSLOWFAST
        | _video_loss(stage)
    )
    if stage.name == "ssv1":
        notes |= assume("not printed: PySlowFast's", "schedule.warmup")
        notes |= assume("not printed: left and right are in the labels, none", "augment.flip")
    return notes


def _on_ava() -> Notes:
    same = '004 B.4, "the same experimental setup as SlowFast": 001 §2'
    return (
        cite("004 B.4", "data", "start", *_SCHEDULE, "model.head", "loss.focal_gamma")
        | cite(same, "norms", "augment.crop_at", *CROPS)
        | cite("004 §4.5", "model.backbone", "model.input")
        | assume("not printed: the usual 2", "loss.focal_gamma")
        | assume("not printed", "model.head.hidden", "model.head.dropout")
        | assume("not printed: none", "schedule.warmup")
        | assume(
            "printed is the proposals' score, not when one shares a person's labels: 001 §2's IoU",
            "data.proposal_iou",
        )
        | assume(
            "not printed: whom the crop shows at all stays, their box cut to it",
            "augment.min_visible",
        )
        | PYSLOWFAST
    )


def test_notes(test: Test) -> Notes:
    """Thirty views of a video, one of a keyframe."""
    if test.metric == "frame":
        return cite("004 B.4", "data") | cite('004 B.4, as 001 §2 "on a single clip"', "views")
    if test.metric == "charades":
        return cite("004 B.2", "data", "views")
    return cite("004 §4.1", "data", "views")


NOTES = PaperNotes(stage=stage_notes, test=test_notes)
