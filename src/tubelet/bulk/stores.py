"""Where films are read and results written: this machine's files, or an object store by fsspec.

A name in a store is a relative path with slashes. Writing is whole or not at all: a local file
appears under a temporary name and is renamed, and an object store shows an object once its upload
has ended.
"""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tubelet.errors import InputError
from tubelet.files import atomic_path, locked, make_folder, writing

_EXTRA = "install fsspec and the store's own package: pip install 'tubelet[cloud]'"


class Store(ABC):
    """Files below one address."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; whether it was written. One of several at once wins."""

    @abstractmethod
    def fetch(self, name: str, folder: Path) -> Path | None:
        """A file as one of this machine, in `folder` if it is copied; None where there is none."""

    @abstractmethod
    def put(self, name: str, source: Path) -> None:
        """Write a file from one of this machine, whole or not at all."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of all files below a folder, in order; none where it is absent."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """The contents of files that are there; object stores are asked for many at once."""
        return [data for name in names if (data := self.read(name)) is not None]


class LocalStore(Store):
    """A folder of this machine, or of a file system that it shares. Made where it is absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with atomic_path(self.folder / name) as part, writing(part):
            part.write_bytes(data)

    def create(self, name: str, data: bytes) -> bool:
        path = self.folder / name
        with locked(path.with_name(f".{path.name}.lock")):
            if path.exists():
                return False
            self.write(name, data)
            return True

    def fetch(self, name: str, folder: Path) -> Path | None:
        path = self.folder / name
        return path if path.is_file() else None

    def put(self, name: str, source: Path) -> None:
        with atomic_path(self.folder / name) as part, writing(part):
            shutil.copyfile(source, part)

    def names(self, folder: str) -> list[str]:
        found = (p for p in (self.folder / folder).rglob("*") if not p.name.startswith("."))
        return sorted(p.relative_to(self.folder).as_posix() for p in found if p.is_file())

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


class ObjectStore(Store):
    """A prefix of an object store, or of anything else that fsspec opens."""

    def __init__(self, address: str) -> None:
        self._files, root = _opened(address)
        self._root = root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{name}", data)

    def create(self, name: str, data: bytes) -> bool:
        if self.read(name) is not None:  # not every kind of store refuses to write over a file
            return False
        try:
            self._files.pipe_file(f"{self._root}/{name}", data, mode="create")
        except FileExistsError:
            return False
        return True

    def fetch(self, name: str, folder: Path) -> Path | None:
        target = folder / name.replace("/", "-")
        try:
            if not target.exists():
                self._files.get_file(f"{self._root}/{name}", str(target))
        except FileNotFoundError:
            return None
        return target

    def put(self, name: str, source: Path) -> None:
        self._files.put_file(str(source), f"{self._root}/{name}")

    def names(self, folder: str) -> list[str]:
        self._files.invalidate_cache()  # other machines write here too
        try:
            found = self._files.find(f"{self._root}/{folder}")
        except FileNotFoundError:
            return []
        top = f"{self._root}/".lstrip("/")
        return sorted(str(path).lstrip("/").removeprefix(top) for path in found)

    def remove(self, name: str) -> None:
        if self.read(name) is not None:
            self._files.rm_file(f"{self._root}/{name}")

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        if not names:
            return []
        paths = [f"{self._root}/{name}" for name in names]
        found = self._files.cat(paths, on_error="omit")
        return [bytes(data) for _, data in sorted(found.items())]


def is_remote(address: str) -> bool:
    """Whether an address has a scheme, as `s3://films/` has."""
    return "://" in address and not address.startswith("file://")


def local_path(address: str) -> Path:
    """The path that an address without a scheme, or with `file://`, means."""
    return Path(address.removeprefix("file://"))


def store_at(address: str) -> Store:
    """The store at an address. Raises InputError where it cannot be opened."""
    return ObjectStore(address) if is_remote(address) else LocalStore(local_path(address))


def read_address(address: str) -> bytes:
    """The content of one file at an address. Raises InputError where there is none."""
    try:
        if not is_remote(address):
            return local_path(address).read_bytes()
        files, path = _opened(address)
        return bytes(files.cat_file(path))
    except OSError as error:
        raise InputError("cannot read the file", where=address, got=error) from error


def find_below(prefix: str) -> list[str]:
    """The addresses of all files below a remote prefix."""
    files, root = _opened(prefix)
    try:
        found = files.find(root)
    except OSError as error:
        raise InputError("cannot list the prefix", where=prefix, got=error) from error
    below = (str(path).lstrip("/").removeprefix(root.strip("/")).lstrip("/") for path in found)
    return [f"{prefix.rstrip('/')}/{name}" for name in below]


@contextmanager
def on_this_machine(address: str) -> Iterator[Path]:
    """A file of this machine with the content of `address`: the file itself, or a download that is
    removed afterwards. Raises InputError where it cannot be had."""
    if not is_remote(address):
        yield local_path(address)
        return
    files, path = _opened(address)
    with tempfile.TemporaryDirectory(prefix="tubelet-") as scratch:
        target = Path(scratch) / f"film{PurePosixPath(address.split('?')[0]).suffix}"
        try:
            with files.open(path, "rb") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except OSError as error:
            raise InputError("cannot fetch the film", where=address, got=error) from error
        yield target


def _opened(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise InputError(
            "addresses of other machines need an optional extra", where=address, hint=_EXTRA
        ) from error
    try:
        files, path = url_to_fs(address)
    except ImportError as error:  # s3fs, gcsfs, aiohttp
        raise InputError(
            "this kind of address needs an optional extra", where=address, got=error, hint=_EXTRA
        ) from error
    except ValueError as error:
        raise InputError("unknown kind of address", where=address, got=error) from error
    return files, str(path)
