"""A rendered world of people with exact labels: test data, demo and training set."""

from tubelet.playground.actions import LABELS, MOTION_ACTIONS
from tubelet.playground.make import (
    PlaygroundClip,
    PlaygroundWindow,
    make_clip,
    render_window,
    write_dataset,
)
from tubelet.playground.world import PlaygroundConfig, label_space

__all__ = [
    "LABELS",
    "MOTION_ACTIONS",
    "PlaygroundClip",
    "PlaygroundConfig",
    "PlaygroundWindow",
    "label_space",
    "make_clip",
    "render_window",
    "write_dataset",
]
