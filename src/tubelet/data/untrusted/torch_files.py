"""torch's files, zip and legacy, read without torch's own unpickler: nothing in them ever runs.

The pickle inside goes through the machine of `tubelet.data.untrusted.pickles`. Tensors become
descriptions whose numbers are read only when they are asked for, so that optimizer states cost
nothing. Names of foreign classes (a trainer's history, a namespace of arguments) become `Unread`,
which swallows all that is done to it; names of Python's own functions are refused, for no
checkpoint needs them.

Legacy files are five pickles, then the storages; see `torch.serialization._legacy_save`.
"""

from __future__ import annotations

import math
import mmap
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

from tubelet.data.untrusted.pickles import NAMES, Machine, Name
from tubelet.errors import CheckpointError, DataError

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of a legacy file: its magic number."""
_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DTYPES = {f"torch.{str(t).removeprefix('torch.')}": t for t in _TYPES.values()}
_HARMLESS = {
    "argparse": ("Namespace",),
    "collections": ("Counter", "deque"),
    "copyreg": ("_reconstructor",),
    "builtins": ("bytearray", "complex", "object", "range", "slice"),
    "datetime": ("date", "datetime", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "functools": ("partial",),
    "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "WindowsPath"),
    "types": ("SimpleNamespace",),
    "uuid": ("UUID",),
}
"""Names of Python's own library that checkpoints hold beside their weights; left unread."""
_OLD = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Python 2's names, which torch still writes, for two modules."""
_OWN = frozenset(sys.stdlib_module_names) | {"nt", "posix", "commands", "exceptions"}


class Unread:
    """What an unknown class would have made. `path` is its name."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`count` numbers of `dtype` under `key`."""

    dtype: torch.dtype
    key: str
    count: int
    first: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A tensor that is still in the file; `load` reads it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    numbers: Callable[[Storage], Tensor]

    def load(self) -> Tensor:
        """The tensor, a view of the mapped file. Raises ValueError if it reaches past its data."""
        last = sum((s - 1) * step for s, step in zip(self.size, self.stride, strict=True))
        empty = 0 in self.size
        count = math.prod(self.size)
        if min((*self.size, *self.stride, self.offset), default=0) < 0 or (
            not empty and (self.offset + last >= self.storage.count or count > self.storage.count)
        ):
            raise ValueError("a tensor larger than its data")
        if empty:
            return torch.empty(self.size, dtype=self.storage.dtype)
        return self.numbers(self.storage).as_strided(self.size, self.stride, self.offset)


class TorchMachine(Machine):
    """The pickle machine with torch's names. `numbers` finds the numbers of a storage."""

    def __init__(
        self, data: bytes | mmap.mmap, where: object, numbers: Callable[[Storage], Tensor]
    ) -> None:
        super().__init__(data, where)
        self.numbers = numbers
        self.types: dict[str, torch.dtype] = {}
        self.known = {
            **NAMES,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._typed_tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
            "torch._tensor._rebuild_from_type_v2": self._from_type,
            "torch.Size": lambda items=(): tuple(items),
            "torch.device": lambda *_: None,
            "collections.Counter": lambda pairs=(): dict(pairs),
        }

    def unknown(self, path: str) -> Any:
        module, _, name = path.rpartition(".")
        module = _OLD.get(module, module)
        if module.split(".", 1)[0] in _OWN and name not in _HARMLESS.get(module, ()):
            return super().unknown(path)
        return Unread(path)

    def call(self, function: Any, arguments: Any) -> None:
        if isinstance(function, Unread):
            self.push(Unread(function.path))
        else:
            super().call(function, arguments)

    def state_for(self, target: Any, state: Any) -> None:
        """A state dict's `_metadata` and a parameter's attributes say nothing about its numbers."""
        if not isinstance(target, (Unread, dict, Described)):
            super().state_for(target, state)

    def fill(self, pairs: list[Any]) -> None:
        if isinstance(self.stack[-1], Unread):
            return
        keys = [key.path if isinstance(key, Unread) else key for key in pairs[::2]]
        super().fill([item for pair in zip(keys, pairs[1::2], strict=True) for item in pair])

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], Unread):
            super().extend(items)

    def stored(self, what: Any) -> Any:
        """('storage', type, key, device, count), in old files with a (view key, first, count)."""
        if not isinstance(what, tuple) or len(what) < 2:
            raise ValueError("a persistent id")
        if what[0] == "module":  # a pickled network, with its source code beside it
            return what[1]
        kind, key, count = what[1], what[2], what[4]
        if what[0] != "storage" or not isinstance(key, str) or not isinstance(count, int):
            raise ValueError("a persistent id")
        path = kind.path if isinstance(kind, (Name, Unread)) else ""
        name = path.rsplit(".", 1)[-1]
        dtype = torch.uint8 if name == "UntypedStorage" else _TYPES.get(name)
        if dtype is None:
            raise ValueError(f"a storage of type {path[:60]!r}")
        self.types[key] = dtype
        view = what[5] if len(what) > 5 else None
        if view is None:
            return Storage(dtype=dtype, key=key, count=count)
        _, first, length = view
        return Storage(dtype=dtype, key=key, count=length, first=first)

    def skip(self, count: int) -> None:
        """Go past data that `numbers` will find again."""
        if self.at + count > len(self.data):
            raise ValueError("the file ends too early")
        self.at += count

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Described:
        if not isinstance(storage, Storage) or len(size) != len(stride) or len(size) > 16:
            raise ValueError("a tensor without its storage")
        return Described(
            storage=storage,
            offset=int(offset),
            size=tuple(map(int, size)),
            stride=tuple(map(int, stride)),
            numbers=self.numbers,
        )

    def _typed_tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
        """As `_tensor`, of an untyped storage: (…, requires grad, hooks, dtype, metadata)."""
        dtype = rest[2]
        path = dtype.path if isinstance(dtype, (Name, Unread)) else ""
        if path not in _DTYPES or not isinstance(storage, Storage):
            return Unread(path or "a tensor of an unknown type")
        kind = _DTYPES[path]
        typed = Storage(dtype=kind, key=storage.key, count=storage.count // kind.itemsize)
        return self._tensor(typed, offset, size, stride)

    def _from_type(self, rebuild: Any, _type: Any, arguments: Any, _state: Any) -> Any:
        if not isinstance(rebuild, Name):
            return Unread(getattr(rebuild, "path", "a tensor of an unknown type"))
        return rebuild.call(*arguments)


def read_zip(file: IO[bytes], where: object) -> Any:
    """The content of a zip file that `torch.save` wrote. Raises CheckpointError for other zips."""
    try:
        records = _records(file, where)
        top = next((n for n in records if n.endswith("/data.pkl") or n == "data.pkl"), None)
        if top is None or any("/code/" in name for name in records):
            raise _foreign_zip(records, where)
        folder = top.removesuffix("data.pkl")
        if (order := records.get(folder + "byteorder")) is not None and bytes(order) != b"little":
            raise CheckpointError("a torch file of a big-endian machine", where=where)

        def numbers(storage: Storage) -> Tensor:
            record = records.get(f"{folder}data/{storage.key}")
            if record is None:
                raise ValueError(f"no data for storage {storage.key[:40]}")
            return _numbers(record, storage)

        return TorchMachine(bytes(records[top]), where, numbers).run()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError("not a readable torch file", where=where, got=error) from error


def _records(file: IO[bytes], where: object) -> dict[str, memoryview]:
    """Name → bytes of each record, mapped, not copied."""
    mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    found = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:  # torch compresses no data
                found[info.filename] = memoryview(b"")
                continue
            head = mapped[info.header_offset : info.header_offset + 30]
            names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            start = info.header_offset + 30 + names
            if start + info.file_size > len(mapped):
                raise CheckpointError("a torch file that ends too early", where=where)
            found[info.filename] = mapped[start : start + info.file_size]
    return found


def _foreign_zip(names: Mapping[str, Any], where: object) -> CheckpointError:
    code = any("/code/" in name for name in names)
    return CheckpointError(
        "a TorchScript program, not a checkpoint"
        if code
        else "a zip file that torch did not write",
        where=where,
        got=", ".join(list(names)[:5]) or "an empty zip",
        hint="unpack it, and give the checkpoint inside",
    )


def _numbers(record: Any, storage: Storage) -> Tensor:
    """The numbers of a storage from its bytes. Raises ValueError where bytes are missing."""
    size = storage.dtype.itemsize
    start = storage.first * size
    if storage.first < 0 or start + storage.count * size > len(record):
        raise ValueError(f"storage {storage.key[:40]} is shorter than it says")
    return torch.frombuffer(record, dtype=storage.dtype, count=storage.count, offset=start)


def read_legacy(file: IO[bytes], where: object) -> Any:
    """The content of a file that `torch.save` wrote before version 1.6."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    view = memoryview(mapped)
    places: dict[str, tuple[int, int]] = {}

    def numbers(storage: Storage) -> Tensor:
        if storage.key not in places:
            raise ValueError(f"no data for storage {storage.key[:40]}")
        at, count = places[storage.key]
        size = storage.dtype.itemsize
        if count * size > len(view) - at:
            raise ValueError(f"storage {storage.key[:40]} is shorter than it says")
        return _numbers(view[at : at + count * size], storage)

    machine = TorchMachine(mapped, where, numbers)
    machine.run()  # the magic number, by which the file was recognised
    if machine.run() != 1001:
        raise CheckpointError("a torch file of an unknown protocol", where=where)
    system = machine.run()
    if isinstance(system, Mapping) and system.get("little_endian") is False:
        raise CheckpointError("a torch file of a big-endian machine", where=where)
    content, keys = machine.run(), machine.run()
    for key in keys if isinstance(keys, list) else ():
        count = int.from_bytes(machine.take(8), "little")
        if key not in machine.types:
            raise CheckpointError("a torch file with data that nothing names", where=where, got=key)
        places[key] = (machine.at, count)
        machine.skip(count * machine.types[key].itemsize)
    return content


def readable(error: DataError) -> CheckpointError:
    """The machine's refusal, in a checkpoint's words."""
    return CheckpointError(
        "the file contains more than tensors; it was refused, and none of it was run",
        where=error.where,
        expected="tensors, numbers and text in plain containers",
        got=error.what if error.got is None else f"{error.what}: {error.got}",
        hint="a checkpoint needs no Python functions: check where this file comes from",
    )
