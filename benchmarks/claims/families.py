"""Every experiment, in the order of the page."""

from __future__ import annotations

from benchmarks.claims import detection_memory, exactness, video_memory
from benchmarks.claims.claim import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    video_memory.EXPERIMENT,
    detection_memory.EXPERIMENT,
    exactness.COST,
    exactness.EXPERIMENT,
)


def experiment_named(name: str) -> Experiment:
    """Raises KeyError for an unknown name."""
    return {e.name: e for e in EXPERIMENTS}[name]
