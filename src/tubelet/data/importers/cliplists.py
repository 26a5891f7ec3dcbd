"""Lists that give whole clips a class: Kinetics, Something-Something v1/v2, Charades, Moments in
Time, and the `path label` lists of PySlowFast and MMAction2."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from tubelet.data.annotations import seconds_to_us
from tubelet.data.clips import ClipLabels
from tubelet.data.importers.records import (
    Imported,
    Options,
    Vocabulary,
    as_float,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
    read_json,
)
from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError
from tubelet.labels import LabelSpace

Row = tuple[str, str | None, int | None, int | None, int]


def read_kinetics(path: str | Path, options: Options | None = None) -> Imported:
    """Kinetics' CSV: `label,youtube_id,time_start,time_end,split`; a test list has no labels.

    The video id is the file name that every downloader writes: `id_000010_000020`.
    """
    header, cells_of = _table(path)
    youtube, start, end = (
        _column(header, n, path) for n in ("youtube_id", "time_start", "time_end")
    )
    label = header.index("label") if "label" in header else None
    rows: list[Row] = []
    for number, cells in cells_of:
        where = f"{path}, row {number}"
        first, last = (as_float(cells[i], where) for i in (start, end))
        if not 0 <= first < last < 1e6:
            raise DataError("the clip ends before it starts", where=where, got=(first, last))
        video = f"{as_text(cells[youtube], where)}_{int(first):06d}_{int(last):06d}"
        # The file holds only the clip, so the times are in its name and not in the table.
        rows.append((video, None if label is None else cells[label].strip(), None, None, number))
    return _named(rows, path, options)


def read_paths(path: str | Path, options: Options | None = None) -> Imported:
    """`path label`, `path,label` or MMAction2's `path frames label`; integer class ids.

    A path may hold spaces if the separator is a comma or a tab.
    """
    rows: list[tuple[str, int | None, int | None, int | None, int | None]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, row {number}"
        separator = next((s for s in ("\t", ",") if s in line), None)
        cells = [c.strip() for c in line.split(separator)]
        last = cells[-1]
        if len(cells) not in (2, 3) or not re.fullmatch(r"-?\d{1,9}", last) or not cells[0]:
            raise DataError(
                "invalid row: expected a path and a class",
                where=where,
                expected="path label",
                got=line[:80],
            )
        rows.append((cells[0], int(last), None, None, number))
    return _numbered(rows, path, options)


def read_ssv1(path: str | Path, options: Options | None = None) -> Imported:
    """Something-Something v1's CSV: `id;label`; a test list has ids only."""
    rows: list[Row] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        video, _, name = line.partition(";")
        if not line.strip():
            continue
        if not re.fullmatch(r"\s*\d+\s*", video):
            raise DataError(
                "invalid row: expected an id and a class",
                where=f"{path}, row {number}",
                expected="74225;Holding something",
                got=line[:80],
            )
        rows.append((video.strip(), name.strip() or None, None, None, number))
    return _named(rows, path, options)


def read_ssv2(path: str | Path, options: Options | None = None) -> Imported:
    """Something-Something v2's JSON: `[{"id", "template", …}]`; a test list has ids only."""
    rows: list[Row] = []
    for number, value in enumerate(as_sequence(read_json(path), path), 1):
        where = f"{path}, entry {number}"
        one = as_mapping(value, where)
        template = one.get("template")
        name = None if template is None else re.sub(r"[\[\]]", "", as_text(template, where))
        rows.append((as_text(field_of(one, "id", where), where), name, None, None, number))
    return _named(rows, path, options)


def read_charades(path: str | Path, options: Options | None = None) -> Imported:
    """Charades' CSV: `id,…,actions,length`; each `c092 11.90 21.20` is a row with its times."""
    header, cells_of = _table(path)
    video, actions = _column(header, "id", path), _column(header, "actions", path)
    rows: list[tuple[str, int | None, int | None, int | None, int | None]] = []
    for number, cells in cells_of:
        where = f"{path}, row {number}"
        name = as_text(cells[video], where)
        listed = [a.split() for a in cells[actions].split(";") if a.strip()]
        for action in listed:
            if len(action) != 3 or not re.fullmatch(r"c\d{3}", action[0]):
                raise DataError(
                    "malformed action",
                    where=where,
                    expected="c092 11.90 21.20",
                    got=" ".join(action)[:80],
                )
            start, end = (seconds_to_us(as_float(t, where), where) for t in action[1:])
            rows.append((name, int(action[0][1:]), start, end, number))
        if not listed:
            rows.append((name, None, None, None, number))
    return _numbered(rows, path, options)


def read_moments(path: str | Path, options: Options | None = None) -> Imported:
    """Moments in Time's CSV: `class/file.mp4,class[,agreeing,disagreeing]`, class names."""
    rows: list[Row] = []
    reader = _reader(path, None)
    for number, cells in reader:
        where = f"{path}, row {number}"
        if len(cells) not in (2, 4):
            raise DataError(
                "wrong number of columns",
                where=where,
                expected="path,class,agreeing,disagreeing",
                got=len(cells),
            )
        rows.append((as_text(cells[0], where), as_text(cells[1], where), None, None, number))
    return _named(rows, path, options)


def _named(rows: Sequence[Row], path: str | Path, options: Options | None) -> Imported:
    """Rows whose class is a name: ids from the label space, or sorted names numbered from 0."""
    given = options.labels if options is not None else None
    names = sorted({name for _, name, *_ in rows if name is not None})
    if given is None and names:
        given = LabelSpace.of(names, first_id=0, exclusive=True)
    vocabulary = Vocabulary([], given)
    numbered = [
        (
            video,
            None if name is None else vocabulary.id(name, f"{path}, row {row}"),
            start,
            end,
            row,
        )
        for video, name, start, end, row in rows
    ]
    return Imported(ClipLabels.of(numbered, source=path), given)


def _numbered(
    rows: Sequence[tuple[str, int | None, int | None, int | None, int | None]],
    path: str | Path,
    options: Options | None,
) -> Imported:
    """Rows whose class is an id already, checked against the label space if there is one."""
    labels = options.labels if options is not None else None
    known = set(labels.ids) if labels is not None else None
    for _, label, _, _, row in rows:
        if known is not None and label is not None and label not in known:
            raise DataError(
                f"unknown class id {label}",
                where=f"{path}, row {row}",
                expected=f"one of {len(known)} ids from {min(known)} to {max(known)}",
            )
    return Imported(ClipLabels.of(rows, source=path), labels)


def _reader(path: str | Path, header: int | None) -> list[tuple[int, list[str]]]:
    """Rows of a CSV that are not blank, with their line numbers, each `header` cells or more."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    rows = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is not None and len(cells) < header:
                raise DataError(
                    "the row is too short",
                    where=f"{path}, row {reader.line_num}",
                    expected=f"{header} columns",
                    got=len(cells),
                )
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(
            "invalid row: not comma-separated text",
            where=f"{path}, row {reader.line_num}",
            got=error,
        ) from None
    return rows


def _table(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    rows = _reader(path, None)
    if not rows:
        raise DataError("the file is empty", where=path, expected="a header line and rows")
    header = [name.strip().lower() for name in rows[0][1]]
    return header, _reader(path, len(header))[1:]


def _column(header: list[str], name: str, path: str | Path) -> int:
    if name not in header:
        raise DataError(
            f"missing column {name!r}", where=f"{path}, row 1", got=", ".join(header)[:200]
        )
    return header.index(name)
