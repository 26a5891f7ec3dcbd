"""Label maps: pbtxt (AVA, TensorFlow), MMAction2 `label_map.txt`, plain name lists and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.data.untrusted.reading import read_text, write_atomic
from tubelet.errors import DataError, TubeletError
from tubelet.labels import LabelSpace

# AVA's names for its three groups, and the short ones that people write in their own files.
_GROUP_OF = {
    "PERSON_MOVEMENT": "pose",
    "POSE": "pose",
    "OBJECT_MANIPULATION": "person_object",
    "PERSON_OBJECT": "person_object",
    "PERSON_INTERACTION": "person_person",
    "PERSON_PERSON": "person_person",
}
_TYPE_OF = {
    "pose": "PERSON_MOVEMENT",
    "person_object": "OBJECT_MANIPULATION",
    "person_person": "PERSON_INTERACTION",
}
_LARGEST = 16 << 20
_BLOCK = re.compile(r"(?:^|\})[ \t]*(?:item|label)[ \t]*:?[ \t]*\{", re.MULTILINE)
_FIELD = re.compile(
    r"""(?P<name>[A-Za-z_]\w*)\s*:\s*(?:"(?P<text>(?:[^"\\]|\\.)*)"|'(?P<quoted>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<bare>[^\s{}"',;]+))"""
)
_NUMBERED = (
    re.compile(r"^(?P<id>\d+)\s*(?::|\t|,)\s*(?P<name>\S.*)$"),  # 1: walk (MMAction2)
    re.compile(r"^c(?P<id>\d{3})\s+(?P<name>\S.*)$"),  # c001 walk (Charades)
    re.compile(r"^(?P<name>[^,]*\S)\s*,\s*(?P<id>\d+)$"),  # walk,1 (Moments in Time)
)
# What a line of plain names cannot be: the mark with which code, markup, a path or prose begins or
# ends, the separators of tables, an assignment, an address.
_NO_NAME = re.compile(
    r"""^[^\w"'(\[]|[.,:;?/\\]$|[{}\t;|=\0]|://"""
    r"""|\.(?:mp4|avi|mkv|mov|webm|jpe?g|png|csv|json|xml|txt)\b""",  # a list of files
    re.IGNORECASE,
)
_LONGEST_NAME = 120


def read_label_map(path: str | Path, *, exclusive: bool = False) -> LabelSpace:
    """Read any label map; the content, not the extension, decides what it is.

    pbtxt: `item {}` or `label {}` blocks with `id` or `label_id`; `label_type` becomes
    `LabelSpace.groups` (pose, person_object, person_person, or the file's own word in lower
    case). Lines `1: name`, `c001 name` and `name,1` keep their ids; plain names are numbered
    from 1. JSON is a list of names, `{id: name}`, `{name: id}`, or what `LabelSpace.to_json`
    writes. Raises DataError with the row, and with the file's first lines if it contains no
    label.
    """
    text = read_text(path, limit=_LARGEST)
    try:
        if text.lstrip().startswith(("{", "[")):
            return _from_json(text, path, exclusive)
        if _BLOCK.search(text):
            return _from_pbtxt(text, path, exclusive)
        return _from_lines(text, path, exclusive)
    except TubeletError as error:
        if error.where is not None:
            raise
        raise DataError(
            error.what, where=path, expected=error.expected, got=error.got, hint=error.hint
        ) from error


def write_pbtxt(path: str | Path, labels: LabelSpace) -> None:
    """Write a label map as AVA's `label {}` blocks; `read_label_map` reads the same back
    (but for `evaluated` and `exclusive`, which the format cannot say)."""
    group_of = {i: name for name, members in labels.groups.items() for i in members}
    blocks = []
    for label_id, name in zip(labels.ids, labels.names, strict=True):
        fields = [f"  name: {json.dumps(name, ensure_ascii=False)}", f"  label_id: {label_id}"]
        if label_id in group_of:
            group = group_of[label_id]
            fields.append(f"  label_type: {_TYPE_OF.get(group, group.upper())}")
        blocks.append("\n".join(["label {", *fields, "}"]))
    write_atomic(path, "\n".join(blocks) + "\n")


def _space(
    entries: list[tuple[int, str, int]],
    path: str | Path,
    exclusive: bool,
    groups: Mapping[str, tuple[int, ...]] | None = None,
) -> LabelSpace:
    """A LabelSpace of (id, name, row) entries; the error for a repeated id names both

    rows. A name used by two ids gets its id appended: MMAction2's own sample does that.
    """
    row_of_id: dict[int, int] = {}
    for label_id, _, row in entries:
        if label_id in row_of_id:
            raise DataError(
                f"duplicate label id {label_id}",
                where=f"{path}, row {row}",
                expected=f"an id other than that of row {row_of_id[label_id]}",
            )
        row_of_id[label_id] = row
    taken: set[str] = set()
    names = []
    for label_id, name, _ in entries:
        while name in taken:
            name = f"{name} ({label_id})"
        taken.add(name)
        names.append(name)
    return LabelSpace(
        ids=tuple(row_of_id), names=tuple(names), exclusive=exclusive, groups=groups or {}
    )


def _nothing(text: str, path: str | Path) -> DataError:
    first = [line[:80] for line in text.splitlines() if line.strip()][:3]
    return DataError(
        "no label found in the label map",
        where=path,
        expected='label { name: "walk" label_id: 1 } blocks, "1: walk" lines, names, or JSON',
        got="an empty file" if not first else "first lines " + " | ".join(first),
    )


def _from_pbtxt(text: str, path: str | Path, exclusive: bool) -> LabelSpace:
    text = re.sub(r"^[ \t]*#[^\n]*", "", text, flags=re.MULTILINE)
    entries: list[tuple[int, str, int]] = []
    groups: dict[str, list[int]] = {}
    starts = list(_BLOCK.finditer(text))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        row = text.count("\n", 0, start.end()) + 1
        where = f"{path}, row {row}"
        fields = _fields(text[start.end() : following.start() if following else len(text)])
        raw_id = fields.get("id", fields.get("label_id"))
        name = fields.get("name", fields.get("display_name"))
        if raw_id is None or name is None or not re.fullmatch(r"-?\d{1,18}", raw_id):
            raise DataError(
                "incomplete block in the label map",
                where=where,
                expected='name: "…" and an integer id or label_id',
                got=fields or "no field",
            )
        entries.append((int(raw_id), name, row))
        kind = fields.get("label_type")
        if kind is not None:
            groups.setdefault(_GROUP_OF.get(kind.upper(), kind.lower()), []).append(int(raw_id))
    if not entries:
        raise _nothing(text, path)
    return _space(entries, path, exclusive, {name: tuple(ids) for name, ids in groups.items()})


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for match in _FIELD.finditer(block):
        text = match["text"] if match["text"] is not None else match["quoted"]
        value = match["bare"] if text is None else _unescaped(text)
        fields.setdefault(match["name"], value)
    return fields


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return re.sub(r"\\(.)", r"\1", text)


def _from_lines(text: str, path: str | Path, exclusive: bool) -> LabelSpace:
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise _nothing(text, path)
    pattern = max(_NUMBERED, key=lambda p: sum(p.match(line) is not None for _, line in lines))
    matches = [pattern.match(line) for _, line in lines]
    if not any(matches):
        _check_names(lines, text, path)
        plain = enumerate(lines, 1)
        return _space([(i, name, row) for i, (row, name) in plain], path, exclusive)
    entries = []
    for (row, line), match in zip(lines, matches, strict=True):
        if match is None or len(match["id"]) > 18:
            raise DataError(
                "missing id in a line of the label map",
                where=f"{path}, row {row}",
                expected="1: name",
                got=line[:80],
            )
        entries.append((int(match["id"]), match["name"], row))
    return _space(entries, path, exclusive)


def _check_names(lines: list[tuple[int, str]], text: str, path: str | Path) -> None:
    """Raise DataError at the first line that is not a class name: any text has lines."""
    seen: set[str] = set()
    for row, line in lines:
        numbers = [cell for cell in line.split(",") if re.fullmatch(r"\s*-?[\d.]+\s*", cell)]
        named = any(char.isalpha() for char in line) and len(numbers) < 2
        if not named or line in seen or len(line) > _LONGEST_NAME or _NO_NAME.search(line):
            raise _nothing(text, f"{path}, row {row}")
        seen.add(line)


def _from_json(text: str, path: str | Path, exclusive: bool) -> LabelSpace:
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _BLOCK.search(text):
            return _from_pbtxt(text, path, exclusive)
        raise DataError("invalid JSON in the label map", where=path, got=error) from error
    pairs: list[tuple[Any, Any]]
    if isinstance(data, dict) and {"ids", "names"} <= set(data):
        return _own_json(data, path)
    if isinstance(data, list):
        pairs = list(enumerate(data, 1))
    elif isinstance(data, dict) and all(_is_id(value) for value in data.values()):
        pairs = [(value, name) for name, value in data.items()]
    else:
        pairs = list(data.items()) if isinstance(data, dict) else []
    entries = []
    for position, (label_id, name) in enumerate(pairs, 1):
        if not _is_id(label_id) or not isinstance(name, str) or not name.strip():
            raise DataError(
                "invalid entry in the label map: expected an id and a name",
                where=f"{path}, entry {position}",
                expected='["walk", …], {"1": "walk"} or {"walk": 1}',
                got=f"{label_id!r}: {name!r}"[:80],
            )
        entries.append((int(label_id), name.strip(), position))
    if not entries:
        raise _nothing(text, path)
    return _space(entries, path, exclusive)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?\d{1,18}", value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18


def _own_json(data: dict[str, Any], path: str | Path) -> LabelSpace:
    try:
        space = LabelSpace.from_json(data)
        bad = [i for i in space.ids if not isinstance(i, int)] + [
            n for n in space.names if not isinstance(n, str)
        ]
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError("malformed JSON in the label map", where=path, got=error) from error
    if bad:
        raise DataError("invalid label: expected an integer id and a name", where=path, got=bad[0])
    return space
