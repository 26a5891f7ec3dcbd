"""Every experiment, in the order of the page."""

from __future__ import annotations

from benchmarks.claims import detection_memory, exactness, video_memory
from benchmarks.claims.boxes import BOXES
from benchmarks.claims.claim import Experiment
from benchmarks.claims.cofinetuning import COFINETUNING
from benchmarks.claims.context import CONTEXT
from benchmarks.claims.long_tail import LONG_TAIL
from benchmarks.claims.memory_bank import MEMORY_BANK
from benchmarks.claims.pathways import PATHWAYS
from benchmarks.claims.relations import RELATIONS
from benchmarks.claims.views import ENSEMBLES, VIEWS_AND_ENSEMBLES

EXPERIMENTS: tuple[Experiment, ...] = (
    video_memory.EXPERIMENT,
    detection_memory.EXPERIMENT,
    exactness.COST,
    exactness.EXPERIMENT,
    RELATIONS,
    MEMORY_BANK,
    LONG_TAIL,
    BOXES,
    PATHWAYS,
    CONTEXT,
    VIEWS_AND_ENSEMBLES,
    ENSEMBLES,
    COFINETUNING,
)


def experiment_named(name: str) -> Experiment:
    """Raises KeyError for an unknown name."""
    return {e.name: e for e in EXPERIMENTS}[name]
