"""AVA's columns as other programs write them, made into the form that `tables` reads.

Line by line, so that row numbers stay those of the file: UTF-16 (PowerShell), semicolons with
decimal commas (Excel in much of Europe), a column of row numbers (pandas), a separator at the end.
"""

from __future__ import annotations

import csv
import io
import re
from itertools import islice
from pathlib import Path

from tubelet.data.untrusted.reading import as_utf8
from tubelet.errors import DataError, did_you_mean
from tubelet.labels import LabelSpace

_SAMPLE = 200
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*")
_DECIMAL = re.compile(r"\s*[-+]?\d+,\d+([eE][-+]?\d+)?\s*")


def canonical(data: bytes) -> bytes:
    """The same rows in UTF-8 with commas (or tabs), without row numbers and empty last columns.

    What is in AVA's form already comes back as it is.
    """
    data = as_utf8(data)
    sample = [row for row in islice(io.BytesIO(data), _SAMPLE) if row.strip()]
    if not sample:
        return data
    lines = [row.decode("utf-8", "replace").rstrip("\r\n") for row in sample]
    semicolons = any(line.count(";") >= 5 for line in lines) and all(";" in x for x in lines)
    if semicolons:
        decimal = any(_DECIMAL.fullmatch(c) for line in lines for c in line.split(";")[1:])
        if decimal:
            data, lines = data.replace(b",", b"."), [x.replace(",", ".") for x in lines]
        if not any("," in line for line in lines):  # commas in names stay what they are
            data, lines = data.replace(b";", b","), [x.replace(";", ",") for x in lines]
    separator = b"\t" if "\t" in lines[0] and "," not in lines[0] else b","
    rows = [line.split(separator.decode()) for line in lines]
    index, ends = _has_index(rows), _has_ends(rows)
    return _cut(data, separator, index, ends) if index or ends else data


def _has_index(rows: list[list[str]]) -> bool:
    """Whether the first column numbers the rows, as pandas writes them."""
    head = rows[0][0].strip().strip('"').casefold()
    header = len(rows[0]) > 2 and not any(_NUMBER.fullmatch(cell) for cell in rows[0][1:])
    body = rows[1:] if header else rows
    firsts = [row[0].strip() for row in body]
    counted = all(f.isdecimal() and len(f) < 10 for f in firsts) and len(firsts) > 0
    named = all(len(row) > 2 and not _NUMBER.fullmatch(row[1]) for row in body)
    if header:
        return counted and head in ("", "index", "unnamed: 0")
    rising = counted and [int(f) for f in firsts] == list(
        range(int(firsts[0]), int(firsts[0]) + len(firsts))
    )
    return rising and named and firsts[0] in ("0", "1") and len(body) > 1


def _has_ends(rows: list[list[str]]) -> bool:
    """Whether rows end with a separator, so that their ninth (with row numbers, tenth) column is
    always empty."""
    longest = max(len(row) for row in rows)
    return longest > 8 and all(not row[-1].strip() for row in rows if len(row) == longest)


def _cut(data: bytes, separator: bytes, index: bool, ends: bool) -> bytes:
    lines = []
    for line in data.split(b"\n"):
        text, end = line.rstrip(b"\r"), b"\r" * line.endswith(b"\r")
        if index and separator in text:
            text = text.partition(separator)[2]
        if ends and text.endswith(separator):
            text = text[: -len(separator)]
        lines.append(text + end)
    return b"\n".join(lines)


def with_ids(data: bytes, labels: LabelSpace | None, path: str | Path) -> bytes:
    """The rows with class ids, where the seventh column holds class names; as they are elsewhere.

    Raises DataError for names without a label map, and for one that it lacks.
    """
    lines = data.decode("utf-8", "replace").splitlines()
    body = [x for x in lines[:_SAMPLE] if x.strip()]
    cells = [_cells(line) for line in body]
    # A word among ids is a mistake, which the reader reports with its row.
    numbered = any(len(row) > 6 and _NUMBER.fullmatch(row[6]) for row in cells)
    if numbered or not any(_names_class(row) for row in cells[1:] or cells):
        return data
    if labels is None:
        rows = [(number, _cells(line)) for number, line in enumerate(lines, 1)]
        number, row = next(one for one in rows if _names_class(one[1]))
        raise DataError(
            "the 7th column holds the names of actions, not their ids",
            where=f"{path}, row {number}",
            got=row[6][:60],
            hint="provide the label map that numbers them",
            arguments=("labels",),
        )
    known = {
        "".join(n.split()).casefold(): i for n, i in zip(labels.names, labels.ids, strict=True)
    }
    out = []
    for number, line in enumerate(lines, 1):
        row = _cells(line)
        if _names_class(row):
            name = "".join(row[6].split()).casefold()
            if name not in known:
                if number == 1:  # a header
                    out.append(line)
                    continue
                raise DataError(
                    f"unknown action {row[6].strip()[:60]!r}: not in the label map",
                    where=f"{path}, row {number}, column 7",
                    hint=did_you_mean(row[6].strip(), labels.names),
                    arguments=("labels",),
                )
            row[6] = str(known[name])
            buffer = io.StringIO()
            csv.writer(buffer, lineterminator="").writerow(row)
            line = buffer.getvalue()
        out.append(line)
    return "\n".join(out).encode()


def _cells(line: str) -> list[str]:
    try:
        return next(
            csv.reader([line], delimiter="\t" if "\t" in line and "," not in line else ","), []
        )
    except csv.Error:
        return []


def _names_class(row: list[str]) -> bool:
    """Whether a row that is otherwise AVA's has a word in its seventh column."""
    if len(row) not in (7, 8) or not all(_NUMBER.fullmatch(cell) for cell in row[1:6]):
        return False
    return any(char.isalpha() for char in row[6]) and not re.fullmatch(
        r"\s*(nan|inf|[-+\d.e]*)\s*", row[6], re.IGNORECASE
    )
