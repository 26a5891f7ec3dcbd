"""What is found but not shown: actions that harm when they are said wrongly need a higher score.

Shape legend: L moments of a tube, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tubelet.labelsets.sensitive import sensitive_columns
from tubelet.render.timeline import Spans, segments
from tubelet.results import Tube


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The tubes as they may be shown, and how many actions of which name were `withheld`."""

    tubes: tuple[Tube, ...]
    withheld: tuple[tuple[str, int], ...]

    def line(self, threshold: float) -> str | None:
        """What was withheld, in one line; None for nothing. `threshold`: of sensitive actions."""
        if not self.withheld:
            return None
        names = ", ".join(f"{count} × {name}" for name, count in self.withheld)
        return (
            f"withheld: {names}, which would harm if wrong and scored below {threshold:g}; "
            "the raw scores are in the detections and tubes"
        )


def shown(
    tubes: Iterable[Tube], *, spans: Spans, sensitive_threshold: float, every_ms: int
) -> Shown:
    """`tubes` in which sensitive actions that never reach `sensitive_threshold` score 0.

    One that reaches it keeps its scores for as long as the action lasts (down to 0.8 of that), so
    table, overlay and page show it as any other. Counted are the actions that `spans` would have
    shown. Results that are saved for evaluation are not made of these.
    """
    needed = Spans(on=max(spans.on, sensitive_threshold))
    kept, counts = [], Counter[str]()
    for tube in tubes:
        columns = sensitive_columns(tube.labels.names)
        if columns and len(tube):
            allowed = _allowed(tube, columns, needed, every_ms)
            scores = np.where(allowed, tube.action_scores, 0).astype(np.float32)
            masked = replace(tube, action_scores=scores)
            counts.update(_actions(tube, columns, spans, every_ms))
            counts.subtract(_actions(masked, columns, spans, every_ms))
            tube = masked
        kept.append(tube)
    return Shown(tubes=tuple(kept), withheld=tuple((n, c) for n, c in counts.items() if c > 0))


def _allowed(
    tube: Tube, columns: Sequence[int], spans: Spans, every_ms: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where scores `(L, K)` may be shown."""
    allowed = np.ones(tube.action_scores.shape, np.bool_)
    allowed[:, list(columns)] = False
    for part in segments(tube, spans, every_ms):
        if part.column in columns:
            within = (tube.times_ms >= part.start_ms) & (tube.times_ms < part.end_ms)
            allowed[within, part.column] = True
    return allowed


def _actions(tube: Tube, columns: Sequence[int], spans: Spans, every_ms: int) -> Iterable[str]:
    for part in segments(tube, spans, every_ms):
        if part.column in columns:
            yield tube.labels.names[part.column]
