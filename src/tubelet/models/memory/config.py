"""The memory bank as a part of a model's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBankConfig:
    """Person tokens of other moments of the video join the T-only head (000 §2.3).

    `before_ms`, `after_ms`: how far, by time and not by index; the moment itself is left out, for
    its people are in the clip. Detection in one pass is delayed by `after_ms`. `people`: most
    people remembered of a moment, the highest-scored first.
    """

    before_ms: int = 10_000
    after_ms: int = 10_000
    people: int = 5

    def __post_init__(self) -> None:
        if min(self.before_ms, self.after_ms) < 0 or self.people < 1:
            raise ConfigError(
                "a memory bank needs a window and room for people",
                expected="before_ms, after_ms ≥ 0 and people ≥ 1",
                got=f"{self.before_ms}, {self.after_ms}, {self.people}",
            )
