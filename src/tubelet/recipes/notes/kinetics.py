"""Notes on how Kinetics is trained on, which 001 and 004 print and 000 does not."""

from __future__ import annotations

from tubelet.recipes.notes.base import Notes, assume, cite
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Stage, Start

SGD = ("optimizer.kind", "optimizer.rate", "optimizer.per_clips", "optimizer.momentum")
CROPS = ("augment.scale", "augment.crop", "augment.flip")
PYSLOWFAST = assume(
    "not printed: as in PySlowFast, in whose code the papers' models are published",
    "optimizer.nesterov",
    "optimizer.decay_all",
    "clip_norm",
)


def of_001(stage: Stage) -> Notes:
    """001 §3 and §3.1."""
    notes = (
        cite("001 §3", "data", "epochs", "batch", *SGD, "optimizer.weight_decay", "schedule")
        | cite("001 §3", "norms", "model.head", *CROPS)
        | cite("001 §1.1, Table 1", "model.backbone", "model.input")
        | assume(
            'printed is "for the initial phase of training": the 34 epochs of 004 B.1',
            "schedule.warmup",
        )
        | PYSLOWFAST
    )
    if stage.start != Start():
        notes |= cite("001 §3.1", "start")
    if stage.name == "k400":
        notes |= assume(
            "not printed for Kinetics-400: 004 B.1's 196 epochs and 0.1 for 64 clips",
            "epochs",
            "optimizer.rate",
        )
    return notes


def of_004(stage: Stage) -> Notes:
    """004 B.1."""
    notes = (
        cite("004 B.1", "data", "epochs", "batch", *SGD, "optimizer.weight_decay", "schedule")
        | cite("004 B.1", "model.head", *CROPS)
        | cite("004 §4.1", "model.backbone", "model.input")
        | assume('not printed but as "the recipe from" SlowFast: 001 §3\'s 8 clips', "norms")
        | PYSLOWFAST
    )
    if stage.start != Start():
        notes |= cite("004 B.1", "start")
    if not isinstance(stage.schedule, CosineSchedule):
        notes |= assume("I3D's warm-up is not printed: none", "schedule.warmup")
    if stage.name.startswith("k600"):
        notes = notes.borrowed(
            "004 starts from PySlowFast's weights of Kinetics-600; here they are trained, "
            "as Kinetics-700 is"
        )
    return notes
