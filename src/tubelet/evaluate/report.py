"""The result of a frame-mAP evaluation: figures per class, the protocol they follow, warnings."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tubelet.evaluate.curves import Curve
from tubelet.evaluate.doubts.doubt import Doubt
from tubelet.evaluate.matching import Matches

HEADER = ("id", "action", "AP", "instances", "detections", "hits", "recall")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class: `ap` is NaN where the protocol leaves the class out of the mean.

    `detections` are the rows that were scored, `hits` the true positives among them, `recall`
    hits over instances.
    """

    id: int
    name: str
    ap: float
    instances: int
    detections: int
    hits: int

    @property
    def recall(self) -> float:
        return self.hits / self.instances if self.instances else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSummary:
    """How the figure was made: what was counted, and what was left out and why.

    `dropped` maps a reason to the number of detection rows that it removed.
    """

    name: str
    source: str
    iou: float
    cap: int | None
    match_order: str
    classes: int
    classes_counted: int
    classes_without_truth: tuple[int, ...]
    classes_without_detections: tuple[int, ...]
    frames_with_truth: int
    frames_scored: int
    frames_excluded: int
    instances: int
    detections: int
    detections_scored: int
    dropped: Mapping[str, int]

    def lines(self) -> tuple[str, ...]:
        """The protocol in plain sentences, for a terminal or a page."""
        cap = f"best {self.cap} rows of a frame" if self.cap else "all rows of a frame"
        lines = [
            f"protocol {self.name} ({self.source}), IoU ≥ {self.iou:g}",
            f"classes: {self.classes_counted} of {self.classes} in the mean; "
            f"{len(self.classes_without_truth)} without truth, "
            f"{len(self.classes_without_detections)} with truth but never detected",
            f"frames: {self.frames_with_truth} with truth, {self.frames_scored} with scored "
            f"detections, {self.frames_excluded} excluded",
            f"detections: {self.detections_scored} of {self.detections} rows scored ({cap}, "
            f"matched in {self.match_order} order) against {self.instances} instances",
        ]
        lines += [f"dropped: {rows} rows, {reason}" for reason, rows in self.dropped.items()]
        return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameReport:
    """Frame mAP with everything needed to read it.

    `map` is the mean AP in [0, 1] (NaN if no class has truth); `groups` the mean AP of each of
    the label space's groups; `curves` class id → curve, None unless asked for; `matches` feeds
    `error_breakdown` and `bootstrap`; `doubts`, reasons why it may not mean what it seems to.
    """

    map: float
    classes: tuple[ClassResult, ...]
    groups: Mapping[str, float]
    protocol: ProtocolSummary
    doubts: tuple[Doubt, ...]
    curves: Mapping[int, Curve] | None
    matches: Matches = field(repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The doubts in sentences."""
        return tuple(doubt.message for doubt in self.doubts)

    def ap(self, class_id: int) -> float:
        """AP of one class id. Raises KeyError for a class that is not evaluated."""
        return {c.id: c.ap for c in self.classes}[class_id]

    def table_rows(self) -> list[tuple[int, str, float, int, int, int, float]]:
        """One row per class in the order of `HEADER`."""
        return [
            (c.id, c.name, c.ap, c.instances, c.detections, c.hits, c.recall) for c in self.classes
        ]

    def to_csv(self) -> str:
        """The class table as CSV text with a header; an undefined figure is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows([["" if _is_nan(v) else v for v in row] for row in self.table_rows()])
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """A plain dict; an undefined figure is None."""
        result: dict[str, Any] = {
            "map": self.map,
            "groups": dict(self.groups),
            "classes": [self._class_json(c) for c in self.classes],
            "protocol": {**asdict(self.protocol), "dropped": dict(self.protocol.dropped)},
            "warnings": list(self.warnings),
            "doubts": [doubt.to_json() for doubt in self.doubts],
        }
        return {key: jsonable(value) for key, value in result.items()}

    def _class_json(self, result: ClassResult) -> dict[str, Any]:
        """A class's figures, and `pr`, its [recall, precision] points, if curves were kept."""
        plain = asdict(result) | {"recall": result.recall}
        if self.curves is not None and result.id in self.curves:
            curve = self.curves[result.id]
            points = np.stack([curve.recall, curve.precision], axis=1)
            plain["pr"] = points.round(6).tolist()
        return plain


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def jsonable(value: Any) -> Any:
    """`value` with NaN as None and tuples as lists, so that strict JSON can hold it."""
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return None if _is_nan(value) else value
