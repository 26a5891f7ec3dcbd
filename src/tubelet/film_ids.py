"""What a film is called in tables, and when two names mean one film: decided here alone.

An id is the film's path below the folder of videos, without a film's suffix: `clip.v1`,
`park/monday`. Other names of it are its file (`clip.v1.mp4`), a longer path
(`videos/park/monday.mp4`), and, while no other film has it, a shorter one (`monday`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "3gp", "3g2", "mkv", "webm", "avi", "wmv", "asf", "flv"),
        *("mpg", "mpeg", "ts", "m2ts", "mts", "vob", "mxf", "ogv", "gif"),
    )
)
"""Suffixes of films, in lower case."""


def film_id(name: str) -> str:
    """The id that a name or a relative path stands for: slashes, no leading ones, and without the
    suffix of a film (`a.b` keeps its dot)."""
    path = name.strip().replace("\\", "/")
    path = "/".join(part for part in path.split("/") if part not in ("", "."))
    stem, dot, suffix = path.rpartition(".")
    known = f"{dot}{suffix}".lower() in EXTENSIONS
    return stem if known and stem and not stem.endswith("/") else path


def ids_of(paths: Sequence[Path], folders: Mapping[Path, Path] | None = None) -> list[str]:
    """The id of each of several films, no two alike.

    `folders`: the folder in which a film was found; its id is its path below it. Of a film that was
    named by itself it is its file's name. Where two films would be called alike, these get as much
    of their paths as tells them apart, and those that differ in the suffix only keep it.
    """
    folders = folders or {}
    names = [
        path.relative_to(folders[path]).as_posix() if path in folders else path.name
        for path in paths
    ]
    ids = [
        name if path.is_dir() else film_id(name) for name, path in zip(names, paths, strict=True)
    ]
    if not _repeated(ids):
        return ids
    full = [path.absolute() for path in paths]
    top = Path(os.path.commonpath([path.parent for path in full]))
    longer = [path.relative_to(top).as_posix() for path in full]
    twice = _repeated(ids)
    ids = [film_id(long) if own in twice else own for own, long in zip(ids, longer, strict=True)]
    twice = _repeated(ids)
    return [long if own in twice else own for own, long in zip(ids, longer, strict=True)]


def _repeated(ids: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(ids).items() if count > 1}


def tails(name: str) -> list[str]:
    """An id and every shorter path that it ends with: `a/b/c`, `b/c`, `c`."""
    parts = film_id(name).split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def same_films(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Which of the `known` ids each of `names` means.

    Equal ids come first, then equal but for a film's suffix, then one that ends with the other,
    folder by folder. A name that could mean two, and two names that could mean one, mean none.
    """
    left, right = list(dict.fromkeys(names)), dict.fromkeys(known)
    found = {name: name for name in left if name in right}
    for same in (_but_for_suffix, _but_for_folders):
        taken = set(found.values())
        rest = [name for name in left if name not in found]
        free = [name for name in right if name not in taken]
        if not rest or not free:
            break
        found |= _mutual(same(rest, free))
    return found


def _but_for_suffix(names: Sequence[str], known: Sequence[str]) -> dict[str, set[str]]:
    of: dict[str, set[str]] = {}
    for name in known:
        of.setdefault(film_id(name), set()).add(name)
    return {name: of.get(film_id(name), set()) for name in names}


def _but_for_folders(names: Sequence[str], known: Sequence[str]) -> dict[str, set[str]]:
    whole: dict[str, set[str]] = {}
    ending: dict[str, set[str]] = {}
    for name in known:
        whole.setdefault(film_id(name), set()).add(name)
        for tail in tails(name):
            ending.setdefault(tail, set()).add(name)
    return {
        name: ending.get(film_id(name), set()).union(*(whole.get(t, ()) for t in tails(name)))
        for name in names
    }


def _mutual(candidates: Mapping[str, set[str]]) -> dict[str, str]:
    """The pairs in which each has no other."""
    one = {name: next(iter(found)) for name, found in candidates.items() if len(found) == 1}
    asked = Counter(other for found in candidates.values() for other in found)
    return {name: other for name, other in one.items() if asked[other] == 1}
