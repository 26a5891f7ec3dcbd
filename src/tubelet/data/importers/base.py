"""What a file format of annotations is, and how another package adds one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.importers.glance import Glance
from tubelet.data.importers.records import Imported, Options
from tubelet.data.importers.tools.marks import Export


@dataclass(frozen=True, slots=True)
class Sign:
    """Something by which a format's files are known: in words, and whether a file has it."""

    words: str
    holds: Callable[[Glance], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A named format.

    `signs`: what its files have, all of it, the most general first. `matches(head)`, for a format
    without signs, looks at the first 64 KiB of text. `write` is None where tubelet only reads it.
    `export`: for a labelling tool's files, what they hold before it is decided what of it are
    actions; several such files are decided together.
    """

    name: str
    about: str
    read: Callable[[str | Path, Options | None], Imported]
    write: Callable[[str | Path, Annotations, Options | None], None] | None = None
    matches: Callable[[str], bool] = lambda head: False
    signs: tuple[Sign, ...] = ()
    export: Callable[[str | Path, Options | None], Export] | None = None

    def fits(self, sample: Glance) -> bool:
        """Whether this is the file's format."""
        if self.signs:
            return all(sign.holds(sample) for sign in self.signs)
        return self.matches(sample.text)

    def missing(self, sample: Glance) -> tuple[float, str]:
        """The share of the signs that the file has, and the first that it has not."""
        lacking = [sign.words for sign in self.signs if not sign.holds(sample)]
        share = 1 - len(lacking) / len(self.signs) if self.signs else 0.0
        return share, lacking[0] if lacking else ""


class FormatFamily(ABC):
    """Formats from outside this folder: a subclass is found once it has been imported."""

    @classmethod
    @abstractmethod
    def formats(cls) -> tuple[Format, ...]:
        """Its formats, under names that no other has. `matches` is asked before our own, so that
        lines of words and numbers need not all be path lists; it must be sure of its file."""
