"""The list of films of a run: a CSV, Parquet or JSON Lines file, or a folder or prefix of films.

A file has a column `path` (or `uri`, `url`, `film`): an address, or a path relative to the file.
A column `id` names the films; without it `tubelet.film_ids` does, and tells apart what would be
called alike. The order of the manifest is the order of the results.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from tubelet.bulk.stores import find_below, is_remote, local_path, read_address
from tubelet.errors import DataError, InputError
from tubelet.film_ids import EXTENSIONS, film_id, ids_of
from tubelet.media.video import find_films

PATHS, IDS = ("path", "uri", "url", "film"), ("id", "video", "name")
_LISTS = (".csv", ".parquet", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFilm:
    """A film of a manifest: its id in all results, and where it is."""

    name: str
    address: str


def read_manifest(address: str) -> list[ListedFilm]:
    """The films of a manifest, in its order.

    Raises InputError for one that cannot be read or lists nothing, DataError for a row without an
    address, an id that two films have and a film that is listed twice.
    """
    suffix = PurePosixPath(address.split("?")[0]).suffix.lower()
    if suffix in _LISTS:
        films = _listed(address, suffix)
    elif is_remote(address):
        films = _found(address)
    elif local_path(address).is_dir():
        found = find_films([local_path(address)])
        films = [ListedFilm(name=n, address=str(p.absolute())) for n, p in found.items()]
    else:
        raise InputError(
            "not a manifest",
            where=address,
            expected="a .csv, .parquet or .jsonl file, or a folder or prefix of films",
        )
    if not films:
        raise InputError("the manifest lists no film", where=address)
    _check_apart(films, address)
    return films


def _found(prefix: str) -> list[ListedFilm]:
    """Films below a prefix, called by their path below it."""
    root = prefix.rstrip("/") + "/"
    films = [a for a in find_below(root) if PurePosixPath(a).suffix.lower() in EXTENSIONS]
    below = {a: a.removeprefix(root) for a in films}
    shown = [a for a in films if not any(p.startswith(".") for p in below[a].split("/"))]
    ids = Counter(film_id(below[a]) for a in shown)
    return [
        # Those that differ in the suffix only keep it, as in a folder.
        ListedFilm(name=i if ids[i := film_id(below[a])] == 1 else below[a], address=a)
        for a in sorted(shown, key=lambda a: _natural(below[a]))
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _listed(address: str, suffix: str) -> list[ListedFilm]:
    rows = _rows(address, suffix)
    names = list(rows[0]) if rows else []
    paths = [name for name in names if name in PATHS]
    ids = [name for name in names if name in IDS]
    if rows and (len(paths) != 1 or len(ids) > 1):
        raise DataError(
            "a manifest needs one column of addresses, and at most one of ids",
            where=address,
            expected=f"one of {', '.join(PATHS)}; one of {', '.join(IDS)} or none",
            got=", ".join(names),
        )
    for number, row in enumerate(rows, 1):
        if any(not isinstance(row.get(c), str) or not row[c].strip() for c in (*paths, *ids)):
            raise DataError(
                "a row without a film",
                where=f"{address}, row {number}",
                expected=f"text in {' and '.join((*paths, *ids))}",
                got=row,
            )
    full = [_absolute(row[paths[0]].strip(), address) for row in rows]
    called = [row[ids[0]].strip() for row in rows] if ids else _called(full)
    return [ListedFilm(name=n, address=a) for n, a in zip(called, full, strict=True)]


def _rows(address: str, suffix: str) -> list[dict[str, Any]]:
    data = read_address(address)
    try:
        if suffix == ".csv":
            # Every column is text: an id of 0007 stays what it is.
            return pl.read_csv(io.BytesIO(data), infer_schema=False).to_dicts()
        if suffix == ".parquet":
            return pl.read_parquet(io.BytesIO(data)).to_dicts()
        lines = [json.loads(line) for line in data.decode().splitlines() if line.strip()]
    except (pl.exceptions.PolarsError, ValueError) as error:
        got = str(error).splitlines()[0][:160]
        raise DataError("cannot read the manifest", where=address, got=got) from error
    rows = [{"path": line} if isinstance(line, str) else line for line in lines]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            where = f"{address}, line {number}"
            raise DataError("a line of a manifest is an object or a path", where=where, got=row)
    return rows


def _absolute(path: str, manifest: str) -> str:
    if is_remote(path):
        return path
    if is_remote(manifest):
        folder = manifest.split("?")[0].rsplit("/", 1)[0]
        return path if path.startswith("/") else f"{folder}/{path}"
    return str((local_path(manifest).parent / local_path(path)).absolute())


def _called(addresses: Sequence[str]) -> list[str]:
    """Ids of films by their addresses; that of a remote one as if its store were a folder."""
    return ids_of([Path("/" + a.split("?")[0].split("://")[-1].lstrip("/")) for a in addresses])


def _check_apart(films: Sequence[ListedFilm], where: str) -> None:
    for what, values in (
        ("a film is listed twice", [film.address for film in films]),
        ("two films have one id", [film.name for film in films]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise DataError(
                what,
                where=where,
                got=", ".join(twice[:3]),
                hint="list each film once, with an id of its own in a column `id`",
            )
