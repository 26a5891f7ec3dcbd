"""What a file format of annotations is, and how another package adds one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.importers.records import Imported, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A named format. `matches(head)` looks at the first 64 KiB of text (None: a pickle's content
    or nothing decides); `write` is None where tubelet only reads it."""

    name: str
    about: str
    read: Callable[[str | Path, Options | None], Imported]
    write: Callable[[str | Path, Annotations, Options | None], None] | None = None
    matches: Callable[[str], bool] = lambda head: False


class FormatFamily(ABC):
    """Formats from outside this folder: a subclass is found once it has been imported."""

    @classmethod
    @abstractmethod
    def formats(cls) -> tuple[Format, ...]:
        """Its formats, under names that no other has. `matches` is asked before our own, so that
        lines of words and numbers need not all be path lists; it must be sure of its file."""
