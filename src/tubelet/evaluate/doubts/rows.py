"""What rows by themselves show: repeats, unknown classes, scores that rank nothing, the truth.

Legend: N rows of a table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tubelet.evaluate.boxtable import NO_LABEL, BoxTable
from tubelet.evaluate.doubts.doubt import Doubt
from tubelet.evaluate.matching import Matches, columns_of
from tubelet.labels import LabelSpace
from tubelet.types import Ints

_SAME_BOX = 0.98
_ODD = np.random.default_rng(0).integers(-(1 << 63), 1 << 63, 7, np.int64) | 1


def repeated(table: BoxTable, name: str) -> Doubt | None:
    """Rows of one video, time, box and class that stand there more than once."""
    count = len(table) - _distinct(table)
    if not count:
        return None
    return Doubt(
        kind="repeated rows",
        message=f"{count} of {len(table)} rows of the {name} repeat an earlier one (same video, "
        f"time, box and class): "
        + (
            "each counts as a false alarm"
            if name == "detections"
            else "each counts as one more person, who cannot be found"
        ),
        count=count,
    )


def _distinct(table: BoxTable) -> int:
    """How many rows differ, by a multilinear hash of 64 bits: of ten million rows, two differ and
    agree in it once in 10⁵ files."""
    mixed = table.video * _ODD[0]
    columns = [table.time_us, table.labels, *(table.boxes[:, i] for i in range(4))]
    for column, odd in zip(columns, _ODD[1:], strict=True):
        mixed += np.ascontiguousarray(column).view(np.int64) * odd
    mixed = mixed[~np.isnan(table.boxes[:, 0])]
    mixed.sort()
    empty = len(table) - len(mixed)
    return empty + (int(np.count_nonzero(mixed[1:] != mixed[:-1])) + 1 if len(mixed) else 0)


def unknown_classes(table: BoxTable, name: str, labels: LabelSpace) -> Doubt | None:
    """Ids that the label map does not have: their rows are left out."""
    outside = (columns_of(table.labels, labels.ids) < 0) & (table.labels != NO_LABEL)
    if not outside.any():
        return None
    strange = [int(i) for i in np.unique(table.labels[outside])]
    count = int(np.count_nonzero(outside))
    message = (
        f"{count} rows of the {name} have action ids missing from the label map, "
        f"and are left out: {strange[:5]}"
    )
    if min(strange) == min(labels.ids) - 1 or strange == [max(labels.ids) + 1]:
        message += "; are the ids counted from 0 in one file and from 1 in the other?"
    return Doubt(kind="unknown classes", message=message, count=count)


def missing_classes(found: Matches, labels: LabelSpace, ids: tuple[int, ...]) -> Doubt | None:
    """Classes of which the truth has no box: they are not in the mean."""
    absent = [i for i, instances in zip(ids, found.instances, strict=True) if not instances]
    if not absent or len(absent) == len(ids):
        return None
    names = [labels.names[labels.column(i)] for i in absent]
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return Doubt(
        kind="classes without truth",
        message=f"{len(absent)} of {len(ids)} classes have no box in the truth, so the mean says "
        f"nothing about them: {listed}",
        count=len(absent),
    )


def constant_scores(found: Matches) -> Doubt | None:
    """Scores that put nothing before anything else."""
    if len(found) < 2:
        return None
    if np.ptp(found.score) <= 1e-6 * np.abs(found.score).max():
        told = "all scores are equal: the order of the file decides the precision"
        return Doubt(kind="constant scores", message=told, count=len(found))
    low, high = np.full(len(found.instances), np.inf), np.full(len(found.instances), -np.inf)
    for rows in (slice(1000), slice(None)):  # most files show at once that they are in order
        np.minimum.at(low, found.column[rows], found.score[rows])
        np.maximum.at(high, found.column[rows], found.score[rows])
        if (high > low).any():
            return None
    told = (
        "all scores of a class are equal, in every class: the order of the file decides the "
        "precision"
    )
    return Doubt(kind="constant scores", message=told, count=len(found))


def one_class(found: Matches, labels: LabelSpace) -> Doubt | None:
    """A single exclusive class: its score is 1 whatever is seen."""
    if not (labels.exclusive and len(labels) == 1):
        return None
    return Doubt(
        kind="one exclusive class",
        message=f"{labels.names[0]!r} is the only class and classes exclude one another: every box "
        "scores 1.0 whatever the model sees, so the figure says nothing about the action",
        count=len(found),
    )


def truth_as_detections(found: Matches) -> Doubt | None:
    """A file of detections without one wrong row, box by box the truth's own."""
    if not len(found) or not found.hit.all() or not (found.iou >= _SAME_BOX).all():
        return None
    if found.dropped.get("frame without truth") or not _almost_all_seen(found):
        return None
    if len(found.instances) == 1:
        told = (
            "every detection is a box of the truth, and there is one class only: the figure "
            "cannot be other than 1 and says nothing about the action"
        )
        return Doubt(kind="one class on true boxes", message=told, count=len(found))
    return Doubt(
        kind="truth as detections",
        message=f"all {len(found)} detections are boxes of the truth with its classes and nothing "
        "else: is this the truth itself, or a copy of it?",
        count=len(found),
    )


def _almost_all_seen(found: Matches) -> bool:
    """Whether the frames that have detections have all of their truth found."""
    frames: Ints = np.unique(found.frame)
    wanted = np.isin(found.truths.frame, frames).sum()
    return bool(len(found) >= 0.95 * wanted)


def of_rows(found: Matches, labels: LabelSpace, ids: tuple[int, ...]) -> Iterator[Doubt]:
    """Every doubt of this file."""
    tables = (("detections", found.detections), ("truth", found.truth))
    for name, table in tables:
        if (doubt := unknown_classes(table, name, labels)) is not None:
            yield doubt
    for name, table in tables:
        if (doubt := repeated(table, name)) is not None:
            yield doubt
    more = (
        truth_as_detections(found),
        one_class(found, labels),
        missing_classes(found, labels, ids),
        constant_scores(found),
    )
    yield from (doubt for doubt in more if doubt is not None)
