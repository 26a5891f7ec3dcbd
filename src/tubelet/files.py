"""Files that appear whole or not at all, and locks that one process at a time holds."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from tubelet.errors import InputError, TubeletError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CAUSES = _NO_ROOM | {
    errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ENOENT, errno.EISDIR,
    errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EBUSY, errno.ESTALE, errno.ENXIO,
    errno.ENODEV, errno.ELOOP,
}  # fmt: skip
_HINTS = {
    "full": "make room on this disk, or choose a folder on another one",
    "closed": "choose a folder that you may write to",
}
# What safetensors, polars and (the last two) torch say of a write that the system refused.
_FULL = (
    "No space left", "Disk quota exceeded", "disk is full", "File too large", "iostream error",
    "unexpected pos",
)  # fmt: skip
_LITTLE = 64 << 10
_OFFLINE = ("TUBELET_OFFLINE", "HF_HUB_OFFLINE")
_TRUE = {"1", "on", "yes", "true"}


def offline() -> bool:
    """Whether TUBELET_OFFLINE or HF_HUB_OFFLINE forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in _TRUE for name in _OFFLINE)


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


def make_folder(path: Path) -> None:
    """Make a folder, and try whether files can be written in it: better now than after hours.

    Raises InputError if it is a file, or cannot be made or written.
    """
    if path.exists() and not path.is_dir():
        raise InputError(
            "cannot create the folder: this is a file", where=path, hint="choose another place"
        )
    with _reported(path, "cannot create the folder"):
        path.mkdir(parents=True, exist_ok=True)
    with _reported(path, "cannot write in this folder"):
        trial = path / f".{_own_name()}.trial"
        trial.touch()
        trial.unlink()


def make_parent(path: Path) -> None:
    """Make the folder of an output file. Raises InputError if it or the file cannot be created."""
    if path.is_dir():
        raise InputError("this output path is a folder", where=path, hint="name a file inside it")
    make_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around whatever writes `path`: a full disk, a quota or a read-only file system is an
    InputError, also where a library reports it in its own way."""
    try:
        with _reported(path, "cannot write"):
            yield
    except (TubeletError, OSError):
        raise
    except Exception as error:
        if not (_is_full(path.parent) or any(words in str(error) for words in _FULL)):
            raise
        got = str(error).splitlines()[0][:160]
        raise InputError("cannot write", where=path, got=got, hint=_HINTS["full"]) from error


@contextmanager
def _reported(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = cannot_write(path, error, what=what)
        if told is None or not _concerns(path, error):
            raise
        raise told from error


def cannot_write(path: Path, error: object, *, what: str = "cannot write") -> InputError | None:
    """What to raise where an error of the system or of a library, by its `errno`, says that `path`
    cannot be written; None for any other error."""
    number = getattr(error, "errno", None)
    if number not in _CAUSES:
        return None
    return InputError(
        what,
        where=path,
        got=getattr(error, "strerror", None) or error,
        hint=_HINTS["full" if number in _NO_ROOM else "closed"],
    )


def _concerns(path: Path, error: OSError) -> bool:
    """Whether the error is of `path`, its folder or a file beside it, and of no file that is read
    meanwhile."""
    if not isinstance(error.filename, str | os.PathLike):
        return True
    named = Path(os.fspath(error.filename)).absolute()
    path = path.absolute()
    return named == path or named in path.parents or path.parent in named.parents


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LITTLE
    except OSError:
        return False


def _own_name() -> str:
    """A name that no other process takes. Its id alone is not one: containers that share a folder
    all have few processes, with the same ids."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def part_of(path: Path) -> Path:
    """A hidden name beside `path` for what is being written, this writer's alone."""
    return path.with_name(f".{path.name}.{_own_name()}.part")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name only if the block ends well.

    What was written is flushed to the disk, then renamed; after an error nothing of it is left
    and an existing file of that name is untouched. Parent folders are made. Raises InputError
    where `path` is a folder or cannot be written, or the disk is full.
    """
    make_parent(path)
    part = part_of(path)
    try:
        with writing(path):
            part.touch()
            mode = part.stat().st_mode
            yield part
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.chmod(mode)  # a library that writes by renaming may have made it private
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


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
    with _reported(path, "cannot write here"):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone; it is made if need be.

    Raises InputError at once where another process holds it, and as `make_folder` does.
    """
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        with _reported(folder, "cannot write in this folder"):
            lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            "another process is writing in this folder",
            where=folder,
            hint="wait for it or stop it, or choose another output folder",
            arguments=("out",),
        ) from None
    try:
        yield
    finally:
        lock.release()
