"""How an online bank goes back to what it was at a checkpoint.

A killed run leaves rows in the bank that its last checkpoint knows nothing of; a resumed run must
not see them. So the first time a place is written after a checkpoint, what stood there goes to the
checkpoint's undo file first. Writes of a process that is killed still reach the file in order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.errors import CheckpointError
from tubelet.files import writing

_NAME = "undo_{:010d}.bin"

Rows = npt.NDArray[Any]


class UndoJournal:
    """Undo files of `rows`, a structured array `(L,)`, one for each checkpoint, in `folder`.

    An undo file holds records of (place, the row that stood there).
    """

    def __init__(self, folder: Path, rows: Rows) -> None:
        self._folder, self._rows = folder, rows
        self._kind = np.dtype([("place", np.int64), ("row", rows.dtype)])
        self._kept: set[int] = set()
        self._path: Path | None = None

    def keep(self, place: int) -> None:
        """Call before `rows[place]` is changed."""
        if self._path is None or place in self._kept:
            return
        record = np.zeros(1, self._kind)
        record["place"], record["row"] = place, self._rows[place]
        with writing(self._path), self._path.open("ab") as file:
            file.write(record.tobytes())
        self._kept.add(place)

    def mark(self, step: int) -> None:
        """From now on keep what is needed to restore this state, called `step`."""
        self._path = self._folder / _NAME.format(step)
        with writing(self._path):
            self._path.write_bytes(b"")
        self._kept.clear()

    def settle(self, step: int) -> None:
        """No state before `step` will be restored."""
        for path in self._files():
            if path.name < _NAME.format(step):
                path.unlink()

    def restore(self, step: int) -> None:
        """Make the rows what they were at `step`, and mark it again; step 0 of a bank that nobody
        has written to is now.

        Raises CheckpointError if that moment was never marked, or is settled.
        """
        later = [p for p in self._files() if p.name >= _NAME.format(step)]
        if step == 0 and not self._files():
            self.mark(0)
            return
        if not later or later[0].name != _NAME.format(step):
            raise CheckpointError(
                "the memory bank cannot go back to where training continues",
                where=self._folder,
                expected=_NAME.format(step),
                got=", ".join(p.name for p in self._files()) or "no undo file",
                hint="start the stage again in another output folder",
                arguments=("out",),
            )
        for path in reversed(later):
            data = path.read_bytes()
            whole = len(data) // self._kind.itemsize * self._kind.itemsize  # the last may be cut
            for record in np.frombuffer(data[:whole], self._kind):
                self._rows[record["place"]] = record["row"]
        # Newest first, and the step's own last: whatever is left when this is cut short still
        # undoes everything that was written after the step.
        for path in reversed(later[1:]):
            path.unlink()
        self.mark(step)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(_NAME.replace("{:010d}", "*")))
