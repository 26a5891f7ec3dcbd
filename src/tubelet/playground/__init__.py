"""A rendered world of people with exact labels: test data, demo and training set."""

from tubelet.playground.actions import LABELS, MOTION_ACTIONS
from tubelet.playground.make import (
    DEMO,
    DEMO_SEED,
    PlaygroundClip,
    PlaygroundFiles,
    PlaygroundWindow,
    clip_seed,
    keyframes_ms,
    make_clip,
    render_window,
    world_of,
    write_dataset,
    write_demo,
)
from tubelet.playground.world import PlaygroundConfig, label_space

__all__ = [
    "DEMO",
    "DEMO_SEED",
    "LABELS",
    "MOTION_ACTIONS",
    "PlaygroundClip",
    "PlaygroundConfig",
    "PlaygroundFiles",
    "PlaygroundWindow",
    "clip_seed",
    "keyframes_ms",
    "label_space",
    "make_clip",
    "render_window",
    "world_of",
    "write_dataset",
    "write_demo",
]
