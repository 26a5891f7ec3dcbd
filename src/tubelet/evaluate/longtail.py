"""Classes by how often they occur in training: the long tail of an action set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tubelet.errors import ConfigError
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable
from tubelet.evaluate.curves import mean
from tubelet.evaluate.report import FrameReport

HEAD_ABOVE = 10_000
TAIL_BELOW = 1_000
ENDS = 20
GROUPS = ("head", "mid", "tail", f"top-{ENDS}", f"bottom-{ENDS}")
"""The groups of `frequency_groups`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencySplit:
    """Class ids by training labels, each list by falling count: `head` has more than
    `head_above`, `tail` fewer than `tail_below`, `mid` the rest, both limits included."""

    head: tuple[int, ...]
    mid: tuple[int, ...]
    tail: tuple[int, ...]
    head_above: int
    tail_below: int

    def groups(self) -> dict[str, tuple[int, ...]]:
        return {"head": self.head, "mid": self.mid, "tail": self.tail}


def frequency_split(
    counts: Mapping[int, int], *, head_above: int = HEAD_ABOVE, tail_below: int = TAIL_BELOW
) -> FrequencySplit:
    """Head, Mid and Tail of `counts` (class id → training labels).

    The limits are those of the co-finetuning paper's Table 9, where AVA v2.2 splits into 8, 23
    and 29 classes. Raises ConfigError if the limits overlap.
    """
    if tail_below > head_above + 1:
        raise ConfigError(
            "a class would be both in the head and in the tail",
            expected=f"tail_below of at most {head_above + 1}",
            got=tail_below,
        )
    ranked = sorted(counts, key=lambda i: (-counts[i], i))
    return FrequencySplit(
        head=tuple(i for i in ranked if counts[i] > head_above),
        mid=tuple(i for i in ranked if tail_below <= counts[i] <= head_above),
        tail=tuple(i for i in ranked if counts[i] < tail_below),
        head_above=head_above,
        tail_below=tail_below,
    )


def frequency_groups(counts: Mapping[int, int]) -> dict[str, tuple[int, ...]]:
    """The five `GROUPS` of `counts` (class id → training labels): Head, Mid and Tail, and the 20
    classes with most and those with fewest labels, which overlap among fewer than 40 (the
    AVA-Kinetics 2021 winner's Table 3)."""
    ranked = sorted(counts, key=lambda i: (-counts[i], i))
    ends = (tuple(ranked[:ENDS]), tuple(ranked[-ENDS:]))
    return frequency_split(counts).groups() | dict(zip(GROUPS[3:], ends, strict=True))


def label_counts(training: BoxTable, ids: Iterable[int]) -> dict[int, int]:
    """Rows of each of `ids` in a training table; a class that never occurs counts 0."""
    present, rows = np.unique(training.labels[training.labels != NO_LABEL], return_counts=True)
    found = dict(zip(present.tolist(), rows.tolist(), strict=True))
    return {i: found.get(i, 0) for i in ids}


def group_means(report: FrameReport, groups: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Mean AP of each group's evaluated classes; NaN for a group without a defined AP.

    The groups can be a `FrequencySplit.groups()` or any of a label space's.
    """
    by_id = {c.id: c.ap for c in report.classes}
    return {
        name: mean(np.array([by_id[i] for i in members if i in by_id], np.float64))
        for name, members in groups.items()
    }
