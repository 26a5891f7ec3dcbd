"""`JoinedSource`: several sources with the same classes as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tubelet.data.dataset import ClipDataset
from tubelet.data.joined import JoinedDataset
from tubelet.data.sources.base import SourceConfig
from tubelet.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedSource(SourceConfig):
    """Sets with the same classes as one, such as the two parts of AVA-Kinetics."""

    summary: ClassVar[str] = "several sources with the same classes as one: AVA-Kinetics"

    parts: tuple[SourceConfig, ...]

    def __post_init__(self) -> None:
        for part in self.parts:
            if part.labelled != "people" or part.joins():
                raise ConfigError(
                    f"{self.name!r} cannot join {part.name!r}",
                    expected="sources of labelled people that are not themselves joined",
                    got=type(part).__name__,
                )
        hidden = [part.name for part in self.parts if part.hidden]
        if hidden and len(hidden) < len(self.parts):
            raise ConfigError(
                f"{self.name!r} joins sets with labels and sets whose labels are not public",
                expected="labels of all parts, or of none",
                got=f"none of {', '.join(hidden)}",
            )

    def build(self, root: Path) -> ClipDataset:
        return JoinedDataset(name=self.name, parts=[part.build(root) for part in self.parts])

    @property
    def hidden(self) -> bool:
        return any(part.hidden for part in self.parts)

    def joins(self) -> tuple[SourceConfig, ...]:
        return self.parts
