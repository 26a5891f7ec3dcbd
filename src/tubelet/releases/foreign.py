"""From the name of a published checkpoint to its weights in our format, once.

The original is downloaded, checked, converted, and removed again; the converted file stays in the
cache. The first conversion records the original's sha256 and the converted file's; from then on
both are checked. One process works on a name at a time, others wait for it. What was killed half
way leaves parts that the next call continues or sweeps away.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tubelet.config import decode
from tubelet.errors import CheckpointError, InputError
from tubelet.files import cache_folder, locked, make_parent, offline, write_text
from tubelet.labelsets import label_set
from tubelet.releases.download import (
    Progress,
    check_url,
    difference,
    download,
    sha256_of,
    unreachable,
)
from tubelet.releases.published import PublishedWeights

if TYPE_CHECKING:
    from tubelet.convert import Converted

MIRROR = "TUBELET_MIRROR"
Record = dict[str, Any]


def converted_path(row: PublishedWeights) -> Path:
    """Where the converted weights of a row are, or will be."""
    return cache_folder() / "published" / f"{row.name}-{row.key}.safetensors"


def original_path(row: PublishedWeights) -> Path:
    """Where the original is looked for before anything is downloaded."""
    return cache_folder() / "originals" / row.name / row.file


def cached(row: PublishedWeights) -> bool:
    """Whether the row can be used without a connection."""
    return converted_path(row).is_file() or (
        original_path(row).is_file() and not _marker(row).is_file()
    )


def address(row: PublishedWeights) -> str:
    """Where the original is downloaded from: its own address, or its place on TUBELET_MIRROR.

    A mirror lays files out by host and path, as `wget -x` does. Raises InputError for an address
    that is refused.
    """
    mirror = os.environ.get(MIRROR, "").strip().rstrip("/")
    if not mirror:
        return row.url
    check_url(mirror)
    parts = urlsplit(row.url)
    return f"{mirror}/{parts.netloc}{parts.path}"


def published_weights(
    row: PublishedWeights, *, keep: bool = False, progress: Progress | None = None
) -> Path:
    """The converted weights of `row`, made now if they are not in the cache.

    `keep`: whether the downloaded original stays in the cache too. Raises InputError offline, for
    what has to be downloaded by hand and for a full disk; CheckpointError for a file that is not
    the published one or that cannot be converted.
    """
    target = converted_path(row)
    make_parent(target)
    with locked(target.parent / f"{row.name}.lock"):
        known = _read_record(row)
        wrong = _damage(target, known)
        if target.is_file() and wrong is None:
            return target
        _sweep(target)
        original = _original(row, known, wrong, progress)
        _convert(row, known, original, target)
        if keep:
            _marker(row).unlink(missing_ok=True)
        elif _marker(row).is_file():
            _remove(row)
    return target


def _damage(target: Path, known: Record) -> tuple[str, str] | None:
    """What is wrong with a converted file that is in the cache."""
    sha256 = known.get("converted", {}).get(target.name)
    if not target.is_file():
        return None
    if sha256 is None:
        return "a converted file with its record", "no record of it"
    return difference(target, sha256=sha256, size=None)


def _sweep(target: Path) -> None:
    """Remove what a killed conversion left; nobody else writes while the lock is held."""
    if _work(target).is_dir():
        shutil.rmtree(_work(target))


def _work(target: Path) -> Path:
    """The folder that a conversion works in: safetensors writes under random names first, which
    could not be told from other rows' beside them."""
    return target.with_name(f".{target.stem}")


def _original(
    row: PublishedWeights,
    known: Record,
    wrong: tuple[str, str] | None,
    progress: Progress | None,
) -> Path:
    """The published file, from where somebody put it or downloaded, and the one it should be."""
    path = original_path(row)
    said = known.get("original", {})
    sha256, size = said.get("sha256", row.prefix), said.get("bytes")
    if path.is_file() and not _marker(row).is_file():
        if (other := difference(path, sha256=sha256, size=size)) is not None:
            raise CheckpointError(
                "not the published file",
                where=path,
                expected=other[0],
                got=other[1],
                hint=f"download {row.url} again and put it there",
            )
        return path
    if row.by_hand:
        raise InputError(
            f"{row.name} can only be downloaded by hand",
            where=path,
            hint=f"open {row.url} in a browser, download the file and put it at that path",
        )
    if offline():
        if wrong is not None:
            raise CheckpointError(
                "the converted file in the cache is damaged",
                where=converted_path(row),
                expected=wrong[0],
                got=wrong[1],
                hint=f"go online to make it anew, or put {row.url} at {path}",
            )
        raise unreachable(address(row), "offline by TUBELET_OFFLINE or HF_HUB_OFFLINE", target=path)
    make_parent(path)
    _marker(row).touch()
    download(address(row), path, sha256=sha256, size=size, progress=progress)
    return path


def _convert(row: PublishedWeights, known: Record, original: Path, target: Path) -> None:
    """Write `target` and the record of both files' hashes; the record is there first."""
    found = {"sha256": sha256_of(original), "bytes": original.stat().st_size}
    try:
        converted = convert_row(row, original)
    except CheckpointError:
        if _marker(row).is_file():  # a damaged download, of which no hash was known
            _remove(row)
        raise
    try:
        made = _work(target) / target.name
        converted.save(made, release=release_facts(row, **found))
        write_text(
            _record(row),
            json.dumps({"original": found, "converted": {target.name: sha256_of(made)}}, indent=1),
        )
        made.replace(target)
    finally:
        _sweep(target)
    for name in known.get("converted", {}):  # made from the same file by an earlier table
        if name != target.name:
            target.with_name(name).unlink(missing_ok=True)


def convert_row(row: PublishedWeights, original: Path) -> Converted:
    """The published file `original` in our terms, with what the row says of it."""
    from tubelet.convert import Facts, Said, convert
    from tubelet.media import originals

    facts = decode(Facts, row.facts, where=f"release row {row.name}")
    if row.labels is not None:
        facts = replace(facts, labels=label_set(row.labels))
    if row.originals is not None:
        facts = replace(facts, preprocessing=getattr(originals, row.originals))
    return convert(original, said=[Said(source=f"release row {row.name}", facts=facts)])


def release_facts(row: PublishedWeights, **original: Any) -> dict[str, Any]:
    """What the header of the converted file says of its origin."""
    told = ("name", "source", "data", "url", "licence", "metric", "score", "protocol", "config")
    kept = {key: getattr(row, key) for key in told}
    return {k: v for k, v in kept.items() if v is not None} | original | {"notes": list(row.notes)}


def _marker(row: PublishedWeights) -> Path:
    """Stands beside an original that was downloaded, and may be removed when it is converted."""
    path = original_path(row)
    return path.with_name(f"{path.name}.downloaded")


def _remove(row: PublishedWeights) -> None:
    """Remove a downloaded original."""
    original_path(row).unlink(missing_ok=True)
    _marker(row).unlink(missing_ok=True)


def _record(row: PublishedWeights) -> Path:
    return cache_folder() / "published" / f"{row.name}.json"


def _read_record(row: PublishedWeights) -> Record:
    path = _record(row)
    if not path.is_file():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(
            "the record of what was downloaded is damaged",
            where=path,
            got=error,
            hint="remove it: the file is then downloaded and converted anew",
        ) from error
    return found if isinstance(found, dict) else {}
