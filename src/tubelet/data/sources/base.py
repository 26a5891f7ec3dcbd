"""What every data source declares: what its labels describe, and the dataset that it builds.

A source is one file: a subclass of `SourceConfig`, which is what a recipe's stages and tests name.
Listed in this folder's `__init__` or only imported, both work alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tubelet.config import Extensible
from tubelet.data.dataset import ClipDataset

Labelled = Literal["people", "video", "events"]
"""What labels describe: people in keyframes; a video as a whole, which shows one class; or a video
in which any number of classes occur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig(Extensible, ABC):
    """Where a stage's or a test's data comes from, and all that the rest of the package needs.

    `name`: what its samples call their dataset. A subclass is a frozen dataclass.
    """

    name: str

    @abstractmethod
    def build(self, root: Path) -> ClipDataset:
        """The dataset; paths are relative to `root`. Raises InputError for what is missing there,
        DataError for what is wrong with it."""

    @property
    def labelled(self) -> Labelled:
        """What its labels describe."""
        return "people"

    @property
    def hidden(self) -> bool:
        """Whether its labels are not public: a test of it writes a submission, and no figure."""
        return False

    @property
    def detected(self) -> bool:
        """Whether its people are all a detector's, without targets."""
        return False

    def joins(self) -> tuple[SourceConfig, ...]:
        """The sources that it joins as one; empty for a single source."""
        return ()

    def dataset_names(self) -> tuple[str, ...]:
        """What its samples call their dataset; those of joined sources keep their own names."""
        return (self.name, *(part.name for part in self.joins()))

    def folders(self) -> tuple[str, ...]:
        """The folders below the data folder that it reads, for `tubelet recipes`."""
        return tuple(dict.fromkeys(name for part in self.joins() for name in part.folders()))

    def tiny(self, *, clips: int, seconds: float) -> Self | None:
        """The same source with so many clips of so many seconds, if it needs no files for them; or
        None, and smoke runs render clips of the playground in its place."""
        return None
