"""The views of a clip that testing looks at: scales, mirrorings, crops and moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.types import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Scores are joined over scales × flip × moments × crops.

    `scales`: short sides in pixels; empty is the model's own (001, 000: 256, 288, 320). The long
    side's limit grows alike. `flip`: also each view mirrored, boxes with it. For classification,
    `moments` clips spread evenly over the video, each cropped `crops` times along its longer side
    (10 × 3: 001 §3; 3 crops take the whole of the longer side at `scales`' short side).
    `join`: "mean" of the scores, or "max" over them (Charades). A model with collaborative
    memory takes its memory from the centre crops, shared by all (004 §3.4).
    """

    scales: tuple[int, ...] = ()
    flip: bool = False
    moments: int = 1
    crops: int = 1
    join: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        if self.moments < 1 or self.crops not in (1, 3) or min(self.scales, default=1) < 1:
            raise ConfigError(
                "views need at least one moment, and 1 or 3 crops",
                got=f"moments {self.moments}, crops {self.crops}, scales {self.scales}",
            )

    @property
    def count(self) -> int:
        """How many views a clip (or a video) has."""
        return max(1, len(self.scales)) * (1 + self.flip) * self.moments * self.crops
