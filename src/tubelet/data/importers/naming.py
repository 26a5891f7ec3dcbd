"""Which film each name of a file means, so that two films never become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from tubelet.data.annotations import Annotations
from tubelet.data.importers.records import Imported
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError
from tubelet.film_ids import EXTENSIONS, film_id, same_films, tails


def shortened(names: Iterable[str]) -> dict[str, str]:
    """Each name's last part, or as many parts before it as tell it from the others."""
    listed = list(dict.fromkeys(names))
    ending: dict[str, set[str]] = {}
    for name in listed:
        for tail in tails(name):
            ending.setdefault(tail, set()).add(name)
    return {
        name: next((t for t in reversed(tails(name)) if len(ending[t]) == 1), name)
        for name in listed
    }


def ids_in(folder: Path, names: Iterable[str], where: object = None) -> dict[str, str]:
    """The id of each name's film in the folder of videos; a name without a film keeps itself.

    A name may be the film's id, its file, a longer path, or, where no other film ends so, the end
    of its path in a subfolder. Raises DataError where a name fits several films, and where two
    names would be one film.
    """
    listed = list(dict.fromkeys(names))
    found: dict[str, str] = {}
    for name in listed:
        own = next((t for t in tails(name) if find_video(folder, t) is not None), None)
        if own is not None:
            found[name] = own
    rest = [name for name in listed if name not in found]
    if rest and folder.is_dir():
        below = [p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
        ids = list(dict.fromkeys(film_id(p.relative_to(folder).as_posix()) for p in below))
        found |= same_films(rest, ids)
        _refuse_several(rest, found, ids, folder)
    return {name: found.get(name, name) for name in listed} | _apart(found, folder, where)


def _refuse_several(
    names: Iterable[str], found: Mapping[str, str], ids: Iterable[str], folder: Path
) -> None:
    for name in names:
        fitting = [own for own in ids if film_id(name) in tails(own)]
        if name not in found and len(fitting) > 1:
            raise DataError(
                f"{name!r} could be several films",
                where=folder,
                expected="the path of one",
                got=", ".join(fitting[:5]),
                hint="name films in the annotations by their paths in the folder of videos",
            )


def _apart(found: Mapping[str, str], folder: Path, where: object) -> dict[str, str]:
    """Names that would share an id: their own, if those are files that differ in the suffix."""
    sharing: dict[str, list[str]] = {}
    for name, own in found.items():
        sharing.setdefault(own, []).append(name)
    kept: dict[str, str] = {}
    for own, names in sharing.items():
        if len(names) == 1:
            continue
        if all((folder / name).is_file() for name in names):
            kept |= {name: name for name in names}
            continue
        raise DataError(
            "two films of the same name: only one of them is there",
            where=where,
            expected=f"a film for each in {folder}",
            got=f"{', '.join(names[:4])}, and {own!r} alone",
            hint="keep the films in the folders that the annotations name",
        )
    return kept


def named_films(
    imported: Imported, folder: Path | None, *, tool: bool, where: object = None
) -> Imported:
    """The same with each film's id in `folder`; without a folder, names of a labelling `tool` are
    shortened, and others stay as they are."""
    table = imported.table
    if not isinstance(table, Annotations) or (folder is None and not tool):
        return imported
    names = table.videos()
    ids = shortened(names) if folder is None else ids_in(folder, names, where)
    if all(name == own for name, own in ids.items()):
        return imported
    frame = table.frame.with_columns(pl.col("video").replace(ids))
    subsets = {ids.get(name, name): found for name, found in imported.report.subsets.items()}
    return imported._replace(
        table=Annotations(frame=frame, source=table.source),
        report=replace(imported.report, subsets=subsets),
    )
