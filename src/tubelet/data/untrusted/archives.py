"""Zip archives whose names and contents are untrusted: listed and read, never unpacked to disk.

`export.zip/annotations.xml` names a file inside an archive wherever a path is read.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from tubelet.errors import DataError, InputError

MAX_BYTES = 4 << 30
_MOST_MEMBERS = 1_000_000
_ZIP_MAGIC = b"PK\x03\x04"


def is_archive(path: str | Path) -> bool:
    """Whether there is a zip file at `path`."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == _ZIP_MAGIC
    except (OSError, ValueError):
        return False


def in_archive(path: str | Path) -> tuple[Path, str] | None:
    """(archive, name inside) where `path` leads into a zip file; None for every other path."""
    path = Path(path)
    try:
        if path.exists():
            return None
        for parent in path.parents:
            if parent.is_file():
                inside = path.relative_to(parent).as_posix()
                return (parent, inside) if is_archive(parent) else None
            if parent.is_dir():
                return None
    except (OSError, ValueError):
        return None  # a name that the file system refuses
    return None


def members(archive: str | Path) -> list[Path]:
    """The files of an archive as paths that lead into it, in its order, without folders and what
    macOS adds. Raises DataError for a damaged archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            listed = opened.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError("the zip archive is damaged", where=archive, got=error) from error
    if len(listed) > _MOST_MEMBERS:
        raise DataError("the zip archive holds too many files", where=archive, got=len(listed))
    names = [info.filename for info in listed if not info.is_dir()]
    return [Path(archive) / n for n in names if n and not n.startswith(("__MACOSX/", "/"))]


def read_member(archive: Path, name: str, *, limit: int = MAX_BYTES) -> bytes:
    """The bytes of one file of an archive. Raises InputError if it is not there, DataError if it is
    damaged, encrypted or larger than `limit`."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(name) as file:
            data = file.read(limit + 1)
    except KeyError:
        raise InputError("cannot read the file: not in the archive", where=archive / name) from None
    except (OSError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile,
            NotImplementedError) as error:  # fmt: skip
        raise DataError(
            "the file in the archive is damaged", where=archive / name, got=str(error)[:200]
        ) from error
    if len(data) > limit:
        raise DataError(
            "the file is too large", where=archive / name, expected=f"at most {limit} bytes"
        )
    return data
