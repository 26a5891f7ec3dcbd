"""Detections and truths on their way to a match, as parallel columns.

Shape legend: M detection rows still in play, T instances, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.evaluate.boxtable import I32, Bools

Columns = npt.NDArray[np.int16]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truths:
    """Instances in order of (frame, class, original order): `row (T,)` in the truth table,
    `frame (T,)`, `column (T,)`, `box (T, 4)`."""

    row: Rows
    frame: I32
    column: Columns
    box: npt.NDArray[np.floating]


@dataclass(slots=True, kw_only=True, eq=False)
class Candidates:
    """Detections on their way through the filters, grouped by frame."""

    row: Rows
    frame: I32
    column: Columns

    def keep(self, mask: Bools) -> int:
        """Keep the rows in `mask`; return how many were dropped."""
        kept = np.flatnonzero(mask)
        gone = len(mask) - len(kept)
        if gone:
            self.row, self.frame, self.column = self.row[kept], self.frame[kept], self.column[kept]
        return gone

    def groups(self) -> tuple[Rows, Rows]:
        """Start and size of the run of each frame."""
        starts = np.flatnonzero(np.diff(self.frame, prepend=-1))
        return starts, np.diff(np.append(starts, len(self.frame)))


def flags(count: int, index: npt.NDArray[Any]) -> Bools:
    """A mask `(count,)` that is True at `index`."""
    mask = np.zeros(count, np.bool_)
    mask[index] = True
    return mask
