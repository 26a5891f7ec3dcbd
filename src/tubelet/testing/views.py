"""The views of a clip that testing looks at: scales, mirrorings, crops and moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.media.transforms import View
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Scores are joined over scales × flip × moments × crops.

    `scales`: short sides in pixels; empty is the model's own (001, 000: 256, 288, 320). The long
    side's limit and the model's crop grow alike. `flip`: also each view mirrored, boxes with it.
    For classification, `moments` clips spread evenly over the video, each cropped `crops` times
    along its longer side (10 × 3: 001 §3; the 3 crops are squares of the scale's short side, at
    both ends and between). `join`: "mean" of the scores, or "max" over them (Charades). A model
    with collaborative memory takes its memory from the centre crops, shared by all (004 §4.1).
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
        """How many views a clip (or video) has."""
        return max(1, len(self.scales)) * self.moments * len(self.looks())

    def specs(self, spec: InputSpec) -> tuple[InputSpec, ...]:
        """The clip to take at each scale, for a model that expects `spec`."""
        return tuple(self._scaled(spec, side) for side in self.scales or (spec.short_side,))

    def looks(self) -> tuple[View, ...]:
        """The crops and mirrorings of each clip."""
        places = (0.0, 0.5, 1.0) if self.crops == 3 else (0.5,)
        flips = (False, True) if self.flip else (False,)
        return tuple(View(flip=flip, place=place) for flip in flips for place in places)

    def times(self) -> tuple[float, ...]:
        """Where in a video its clips lie: 0 begins with the first frame, 1 ends with the last."""
        if self.moments == 1:
            return (0.5,)
        return tuple(i / (self.moments - 1) for i in range(self.moments))

    def _scaled(self, spec: InputSpec, side: int) -> InputSpec:
        grown = side / spec.short_side
        crop = None if spec.crop is None else round(spec.crop * grown)
        return replace(
            spec,
            short_side=side,
            long_side=None if spec.long_side is None else round(spec.long_side * grown),
            crop=side if self.crops == 3 else crop,
        )
