"""Tables of several files as one: the same class name is the same class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.importers.records import Imported
from tubelet.data.importers.report import Report
from tubelet.errors import DataError
from tubelet.labels import LabelSpace


def joined_tables(parts: Sequence[Imported], sources: Sequence[str | Path]) -> Imported:
    """The rows of all parts, class ids made those of one label space.

    Raises DataError where lists of clips, or classes without names, stand beside others that they
    cannot be joined with.
    """
    if len(parts) == 1:
        return parts[0]
    tables = [part.table for part in parts if isinstance(part.table, Annotations)]
    lists = [part.table for part in parts if isinstance(part.table, ClipLabels)]
    if lists:
        raise DataError(
            "lists of whole clips cannot be joined with other files",
            where=", ".join(map(str, sources))[:200],
        )
    named = [part.labels for part in parts if part.labels is not None]
    if named and len(named) < len(parts):
        bare = next(p.table for p in parts if p.labels is None)
        if bare.frame["label"].null_count() < bare.frame.height:
            raise DataError(
                "some files name their classes and some only number them",
                where=bare.source,
                hint="provide the label map",
                arguments=("labels",),
            )
    space = _united(named) if named else None
    if space is not None:
        tables = [
            _renumbered(table, part.labels, space)
            for table, part in zip(tables, parts, strict=True)
        ]
    report = Report.joined(part.report for part in parts)
    return Imported(Annotations.concat(tables, source=str(sources[0])), space, report)


def _united(spaces: Sequence[LabelSpace]) -> LabelSpace:
    if all((s.ids, s.names) == (spaces[0].ids, spaces[0].names) for s in spaces):
        return spaces[0]
    names = dict.fromkeys(name for space in spaces for name in space.names)
    return LabelSpace.of(names, exclusive=all(space.exclusive for space in spaces))


def _renumbered(table: Annotations, old: LabelSpace | None, new: LabelSpace) -> Annotations:
    if old is None or (old.ids, old.names) == (new.ids, new.names):
        return table
    ids = {i: new.ids[new.column_of(name)] for i, name in zip(old.ids, old.names, strict=True)}
    label = pl.col("label").replace_strict(ids, default=pl.col("label"), return_dtype=pl.Int64)
    return Annotations(frame=table.frame.with_columns(label), source=table.source)
