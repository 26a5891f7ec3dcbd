"""What issue 12 asks to be shown, as it lists it: eighteen claims, and then multi-iteration's
exactness."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ASKED: Mapping[str, str] = MappingProxyType(
    {
        "1": "004: one clip < several clips < avgpool < residual < gating",
        "2": "004: associative > avgpool",
        "3": "004: N = 1 < 3 < 5",
        "4": "004: CM gains stage-wise and from scratch",
        "5": "004: the memory costs at most 3 %",
        "6": "004: CM helps detection with clips at 1 s stride",
        "7": "000: S-only and T-only > linear on interactions",
        "8": "000: memory bank > none, and its three strategies",
        "9": "000: a decoupled stage raises the bottom classes",
        "10": "000: true boxes > detected ones, and mAP grows with the boxes' AP",
        "11": "001: SlowFast > Slow at equal cost",
        "12": "001: context > none",
        "13": "001: mirrored views at three scales > one view",
        "14": "001: ensemble > best member",
        "15": "001: more frames > fewer",
        "16": "002: co-finetuning > sequential at equal data, most on tail classes",
        "17": "002: weighted sampling ≥ alternating",
        "18": "002: more datasets help",
        "exactness": "004: multi-iteration = batch reduction over a whole run, memory flat",
    }
)
COUNTED = tuple(number for number in ASKED if number.isdigit())
"""The eighteen."""
