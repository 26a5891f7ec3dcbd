"""The three evaluators that published AVA numbers come from, as values.

They share one idea (PASCAL average precision at IoU 0.5) and differ in what they leave out. Each
difference is a field here, read from the originals and checked against what they print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tubelet.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationProtocol:
    """What an evaluator counts.

    - `cap`: rows kept for a frame, best scores first, all classes together; None keeps all.
    - `match_by_score`: detections claim truth in order of score; otherwise in file order.
    - `frames`: which frames' detections count: those with any truth row, those with truth of an
      evaluated class, or all (a detection on a frame without truth is then a false positive).
    - `excluded_truth_counts`: truth on excluded frames still adds to the number of instances.
    - `skip_undetected`: a class with truth but without a detection is left out of the mean.
    - `drop_empty_boxes`: zero-area and inverted detections are dropped; otherwise a zero-area one
      is a false positive and an inverted one an error.
    - `heap_order`: ties within a frame fall as the official script's binary heap leaves them.
    - `single_precision`: boxes and scores are rounded to float32 before they are compared.
    - `strict_files`: only whole seconds, and no rows without a box.
    - `needs_scores`: a detection without a score is an error; otherwise its score is 1.
    """

    name: str
    source: str
    cap: int | None
    match_by_score: bool
    frames: Literal["any truth", "evaluated truth", "all"]
    excluded_truth_counts: bool
    skip_undetected: bool
    drop_empty_boxes: bool
    heap_order: bool
    single_precision: bool
    strict_files: bool
    needs_scores: bool


AVA = EvaluationProtocol(
    name="ava",
    source="activitynet/ActivityNet get_ava_performance.py",
    cap=50,
    match_by_score=True,
    frames="any truth",
    excluded_truth_counts=False,
    skip_undetected=False,
    drop_empty_boxes=True,
    heap_order=True,
    single_precision=False,
    strict_files=False,
    needs_scores=False,
)
PYSLOWFAST = EvaluationProtocol(
    name="pyslowfast",
    source="facebookresearch/SlowFast ava_eval_helper.py",
    cap=None,
    match_by_score=False,
    frames="all",
    excluded_truth_counts=False,
    skip_undetected=False,
    drop_empty_boxes=True,
    heap_order=False,
    single_precision=False,
    strict_files=True,
    needs_scores=True,
)
MMACTION2 = EvaluationProtocol(
    name="mmaction2",
    source="open-mmlab/mmaction2 ava_utils.py",
    cap=None,
    match_by_score=True,
    frames="evaluated truth",
    excluded_truth_counts=True,
    skip_undetected=True,
    drop_empty_boxes=False,
    heap_order=False,
    single_precision=True,
    strict_files=True,
    needs_scores=False,
)
PROTOCOLS: Mapping[str, EvaluationProtocol] = MappingProxyType(
    {p.name: p for p in (AVA, PYSLOWFAST, MMACTION2)}
)


def protocol_named(name: str | EvaluationProtocol) -> EvaluationProtocol:
    """The protocol called `name`. Raises ConfigError naming the known ones."""
    if isinstance(name, EvaluationProtocol):
        return name
    if name not in PROTOCOLS:
        raise ConfigError(
            f"unknown evaluation protocol {name!r}", expected="one of " + ", ".join(PROTOCOLS)
        )
    return PROTOCOLS[name]
