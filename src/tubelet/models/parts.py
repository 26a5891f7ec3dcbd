"""Public names of heads and memories, for the edge where a user types them; inside, they are
configurations."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from tubelet.models.detector import HeadConfig, MemoryConfig
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.mlp import MlpHeadConfig
from tubelet.models.heads.none import NoHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.types import ConfigError

Part = TypeVar("Part")

HEADS: Mapping[str, HeadConfig] = {
    "linear": LinearHeadConfig(),
    "mlp": MlpHeadConfig(),
    "nonlocal_context": NonlocalContextHeadConfig(),
    "spatial_relation": SpatialRelationHeadConfig(),
    "temporal_relation": TemporalRelationHeadConfig(),
    "acrn": ACRNHeadConfig(),
    "grid": GridHeadConfig(),
    "none": NoHeadConfig(),
    "clip": ClipHeadConfig(),
}
MEMORIES: Mapping[str, MemoryConfig | None] = {
    "none": None,
    "collaborative": CollaborativeMemoryConfig(),
    "collaborative_avgpool": CollaborativeMemoryConfig(kind="avgpool"),
    "bank": MemoryBankConfig(),
}


def head_named(name: str) -> HeadConfig:
    """The head of that name with its defaults. Raises ConfigError naming the nearest ones."""
    return _named("head", name, HEADS)


def memory_named(name: str) -> MemoryConfig | None:
    """The memory of that name with its defaults; "none" is None. Raises ConfigError."""
    return _named("memory", name, MEMORIES)


def _named(kind: str, name: str, known: Mapping[str, Part]) -> Part:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        raise ConfigError(
            f"no {kind} is called {name!r}",
            expected=", ".join(known),
            hint=f"did you mean {' or '.join(near)}?" if near else None,
        )
    return known[name]
