"""What every backbone declares, so that heads never guess a width."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One output map of a backbone: channels, and clip frames and pixels a cell."""

    channels: int
    time_stride: int
    space_stride: int
