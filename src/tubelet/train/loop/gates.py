"""The gates of collaborative memories while a stage trains: reported each step, told when dead."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tubelet.models.memory.collaborative import CollaborativeMemory
from tubelet.models.memory.gates import SATURATED, GateReport

DEAD = 0.5
"""Share of saturated gates from which a run says so."""


class GateWatch:
    """Reads the gates of every memory in `models`, and notes, once, that most of them saturate."""

    def __init__(self, models: nn.Module, note: Callable[[str], None]) -> None:
        self._memories = [m for m in models.modules() if isinstance(m, CollaborativeMemory)]
        self._note, self._told = note, False

    def step(self) -> GateReport | None:
        """The gates of the step just finished, of this process's clips; None without a gate. Of
        several memories that of the most saturated."""
        found = [r for r in (memory.gates.take() for memory in self._memories) if r is not None]
        if not found:
            return None
        worst = max(found, key=lambda report: report.saturation)
        if worst.saturation > DEAD and not self._told:
            self._told = True
            self._note(
                f"{worst.saturation:.0%} of the memory's gates are within {SATURATED} of 0 or 1 "
                f"(they differ by {worst.spread:.2g} between clips): hardly any gradient passes "
                "them, and what the clips share is lost; lower the learning rate, or set the "
                "memory's norm to batch"
            )
        return worst
