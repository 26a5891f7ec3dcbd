"""Precision–recall curves from hits in order of score, as the PASCAL development kit draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.evaluate.boxtable import F64, Bools


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A precision–recall curve at its hits, the only points where recall grows.

    `scores`, `recall`, `precision`, `envelope`: each `(hits,)`, best score first; `envelope` is
    the precision made monotonous, whose area is the average precision.
    """

    scores: F64
    recall: F64
    precision: F64
    envelope: F64


def curve(hits: Bools, scores: F64, instances: int) -> Curve:
    """Curve of detections in order of score; `instances` truths, at least as many as hits."""
    at = np.flatnonzero(hits)
    found = np.arange(1, len(at) + 1)
    precision = found / (at + 1)
    return Curve(
        scores=scores[at],
        recall=found / max(instances, 1),
        precision=precision,
        envelope=np.maximum.accumulate(precision[::-1])[::-1],
    )


def mean(values: npt.NDArray[Any]) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
