"""ACAR-Net's pickles: `([{'video', 'time', 'labels': […]}, …], idx_to_class)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet.data.annotations import seconds_to_us
from tubelet.data.importers.records import (
    Imported,
    Options,
    Rows,
    as_box,
    as_float,
    as_int,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
)
from tubelet.data.untrusted.pickles import load_pickle
from tubelet.errors import DataError
from tubelet.labels import LabelSpace


def read(path: str | Path, options: Options | None = None) -> Imported:
    """Boxes in fractions; a label is an index into `idx_to_class`, which names the real id."""
    content = as_sequence(load_pickle(path), path)
    if len(content) != 2:
        raise DataError(
            "the pickle is not a pair of samples and classes",
            where=path,
            got=f"{len(content)} parts",
        )
    samples, classes = content
    labels = _classes(classes, path)
    rows = Rows()
    for number, sample in enumerate(as_sequence(samples, path), 1):
        where = f"{path}, entry {number}"
        record = as_mapping(sample, where)
        video = as_text(field_of(record, "video", where), where)
        time_us = seconds_to_us(as_float(field_of(record, "time", where), where), where)
        people = as_sequence(field_of(record, "labels", where), where)
        if not people:
            rows.add(video, time_us, None)
        for person in people:
            one = as_mapping(person, where)
            score = one.get("score", one.get("confidence"))
            rows.add(
                video,
                time_us,
                as_box(field_of(one, "bounding_box", where), where),
                labels=[_label(i, labels, where) for i in as_sequence(one.get("label", ()), where)],
                person=as_int(one["person_id"], where) if "person_id" in one else None,
                score=None if score is None else as_float(score, where),
            )
    return Imported(rows.table(path), labels)


def _classes(classes: Any, path: str | Path) -> LabelSpace:
    where = f"{path}, classes"
    items = classes.items() if isinstance(classes, dict) else enumerate(as_sequence(classes, where))
    named: dict[int, tuple[int, str]] = {}
    for index, value in items:
        record = as_mapping(value, where)
        label_id = as_int(field_of(record, "id", where), where)
        named[as_int(index, where)] = (label_id, as_text(record.get("name", str(label_id)), where))
    if sorted(named) != list(range(len(named))):
        raise DataError("the class indices have gaps", where=where, got=sorted(named)[:8])
    return LabelSpace(
        ids=tuple(named[i][0] for i in range(len(named))),
        names=tuple(named[i][1] for i in range(len(named))),
    )


def _label(index: Any, labels: LabelSpace, where: str) -> int:
    column = as_int(index, where)
    if not 0 <= column < len(labels):
        raise DataError(
            "invalid label: not an index of the classes",
            where=where,
            expected=f"0 to {len(labels) - 1}",
            got=column,
        )
    return labels.ids[column]
