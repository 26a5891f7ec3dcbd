"""The training checkpoint: everything that a resumed run needs to continue bit for bit.

Random numbers need no saving: the loader draws them from (seed, position) and the loop reseeds
torch with (seed, step), so step n is the same whether or not the run was interrupted before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tubelet.errors import CheckpointError
from tubelet.files import atomic_path


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Where a run stands. `step` counts finished steps of stage `stage`."""

    recipe: dict[str, Any]
    stage: int
    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    average: dict[str, torch.Tensor] | None
    scaler: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write atomically; a crash at any moment leaves the previous state whole."""
        with atomic_path(path) as part:
            torch.save({name: getattr(self, name) for name in self.__slots__}, part)

    @classmethod
    def load(cls, path: Path) -> TrainState:
        """Read without running any pickled code. Raises CheckpointError."""
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:
            raise CheckpointError(
                "cannot read the training checkpoint",
                where=path,
                got=error,
                hint="start again without resuming, or restore the file",
                arguments=("resume",),
            ) from error
