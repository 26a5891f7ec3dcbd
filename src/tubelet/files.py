"""Files that appear whole or not at all, and locks that one process at a time holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from filelock import FileLock

from tubelet.errors import InputError


def cache_folder() -> Path:
    """TUBELET_CACHE, else XDG_CACHE_HOME/tubelet, else ~/.cache/tubelet; it need not exist."""
    if own := os.environ.get("TUBELET_CACHE"):
        return Path(own).expanduser()
    # The XDG specification has relative paths ignored.
    if (xdg := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return xdg / "tubelet"
    try:
        return Path.home() / ".cache" / "tubelet"
    except RuntimeError as error:
        raise InputError(
            "no home folder for a cache", got=error, hint="set TUBELET_CACHE to a folder"
        ) from error


def make_parent(path: Path) -> None:
    """Make the folder of an output file. Raises InputError if it or the file cannot be created."""
    if path.is_dir():
        raise InputError("this output path is a folder", where=path, hint="name a file inside it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "cannot create the folder", where=path.parent, got=error.strerror
        ) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name only if the block ends well.

    What was written is flushed to the disk, then renamed; after an error nothing of it is left
    and an existing file of that name is untouched. Parent folders are made. Raises InputError
    where `path` is a folder or cannot be written.
    """
    make_parent(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch()
        mode = part.stat().st_mode
    except OSError as error:
        raise InputError(
            "cannot write here", where=path, got=error.strerror, hint="choose another folder"
        ) from error
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.chmod(mode)  # a library that writes by renaming may have made it private
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that appears as `atomic_path` says, for results that come in pieces."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as `atomic_path` says."""
    with atomic_text(path) as file:
        file.write(text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting while another process or thread holds it.

    The operating system releases it when a process dies. The empty file stays: removing it
    would let two processes lock two files of the same name. Raises InputError where it cannot be
    written.
    """
    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise InputError("cannot write here", where=path, got=error.strerror) from error
    try:
        yield
    finally:
        lock.release()
