"""The figures that a test gives, under the names that `published` and `reproduced` use for them.

A figure is in percent, as papers print it. `figure_names` says beforehand which a test gives, and
`figures_of` takes them out of its report: the one way from a run to a recipe's `reproduced`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tubelet.evaluate.longtail import GROUPS
from tubelet.labels import LabelSpace
from tubelet.testing.config import Test

Figures = dict[str, float | None]
"""Percent by name; None where it is undefined, as the mean of classes that do not occur is."""

_NAMES: Mapping[str, Mapping[str, str]] = {
    "frame": {"mAP": "map"},
    "topk": {"top-1": "top1", "top-5": "top5", "mean error": "mean_error"},
    "charades": {"mAP": "map", "weighted mAP": "weighted_map"},
    "boxes": {"AP": "ap", "recall": "recall"},
}
"""Of each metric the figures, and the report's field of each."""


def figure_names(test: Test, labels: LabelSpace) -> tuple[str, ...]:
    """What a run of `test` measures of a model with these classes; nothing where labels are hidden:
    those figures are the server's (`server_figures`)."""
    if test.data.hidden:
        return ()
    names = [*_NAMES[test.metric]]
    if test.metric == "frame":
        names += GROUPS if test.training is not None else ()
        ids = labels.evaluated or labels.ids
        names += [ap_of(labels.names[labels.column(i)]) for i in ids]
    compared = [difference(name) for name in names] if test.against is not None else []
    return (*names, *compared)


def server_figures(test: Test) -> tuple[str, ...]:
    """What the server of a hidden test set answers to the submission that a run of `test` writes;
    it is entered by hand. Nothing for a test with labels."""
    return tuple(_NAMES[test.metric]) if test.data.hidden else ()


def figures_of(test: Test, report: Mapping[str, Any]) -> Figures:
    """The figures of a test's report, but for differences."""
    if test.data.hidden:
        return {}
    found = {name: report[field] for name, field in _NAMES[test.metric].items()}
    if test.metric == "frame":
        found |= report.get("frequency", {})
        found |= {ap_of(one["name"]): one["ap"] for one in report["classes"]}
    return {name: None if value is None else 100 * value for name, value in found.items()}


def differences(figures: Mapping[str, float | None], before: Mapping[str, float | None]) -> Figures:
    """Each figure minus the same one of another test, in percentage points."""
    found: Figures = {}
    for name, value in figures.items():
        other = before.get(name)
        found[difference(name)] = None if value is None or other is None else value - other
    return found


def keys(test: str, names: Iterable[str]) -> list[str]:
    """Names of figures as a recipe's `published` and `reproduced` write them."""
    return [f"{test} {name}" for name in names]


def ap_of(name: str) -> str:
    """The figure of a single class."""
    return f"AP of {name}"


def difference(name: str) -> str:
    """The figure of a comparison with another test."""
    return f"{name} difference"
