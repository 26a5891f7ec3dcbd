"""Where annotations come in: a file, a zip as it was downloaded, a folder, or several of these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tubelet.data.untrusted.archives import is_archive, members
from tubelet.errors import InputError

_SUFFIXES = frozenset({".xml", ".json", ".csv", ".txt", ".tsv", ".pkl"})
# Beside annotations in the archives and folders of tools, without annotations of their own.
_BESIDE = re.compile(
    r"(labels|classes|obj|train|val|valid|test|readme.*|license.*|seqinfo|dataset_?meta|"
    r"label_?map.*|notes|manifest)\.(txt|json)|.*\.pbtxt|dataset\.json|.*tubelet.*recipe\.json",
    re.IGNORECASE,
)
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_named(name: str) -> str | None:
    """The split that a subset of this name is: "train", "val" or "test"."""
    return _SPLITS.get(name.strip().casefold())


def split_of(path: str | Path) -> str | None:
    """The split that a file's place tells: Roboflow's `valid/_annotations.coco.json`, CVAT's
    `instances_Train.json`, `annotations/train.json`."""
    stem = Path(path).stem
    for part in (stem.rpartition("_")[2], stem, Path(path).parent.name):
        if (found := split_named(part)) is not None:
            return part if found else None
    return None


def documents(
    sources: Iterable[str | Path], written: Path | None = None
) -> tuple[list[Path], bool]:
    """The files that may hold annotations, and whether they had to be looked for (in a folder or
    an archive). Files given by name are all taken. `written`: a folder of results, in which nothing
    is looked for.

    Raises InputError for a folder or an archive without such a file.
    """
    found: list[Path] = []
    sought = False
    for source in map(Path, sources):
        if source.is_dir():
            inside = [
                part
                for p in sorted(source.rglob("*"))
                if p.is_file() and not _hidden(p.relative_to(source))
                if written is None or not p.resolve().is_relative_to(written.resolve())
                for part in (members(p) if is_archive(p) else [p])
            ]
        elif is_archive(source):
            inside = members(source)
            names = {p.relative_to(source).as_posix() for p in inside}
            if "xl/workbook.xml" in names:
                raise InputError(
                    "an Excel workbook", where=source, hint="save its sheet as CSV (UTF-8)"
                )
        else:
            found.append(source)
            continue
        sought = True
        listed = [p for p in inside if p.suffix.lower() in _SUFFIXES and not _is_beside(p)]
        if not listed:
            there = ", ".join(p.name for p in inside[:5])
            raise InputError(
                "no annotation file inside",
                where=source,
                expected="XML, JSON, CSV or text",
                got=there or "nothing",
            )
        found += listed
    return list(dict.fromkeys(found)), sought


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_beside(path: Path) -> bool:
    return (_BESIDE.fullmatch(path.name) is not None and split_of(path) is None) or (
        _BESIDE.fullmatch(path.name) is not None and path.suffix == ".txt"
    )
