"""Reading the field's pickles without running them.

A pickle is a program, and Python's own reader runs it. This one is a small machine of its own: it
knows the opcodes that build data (numbers, text, lists, dicts, tuples, sets) and a short list of
names, each answered here by a function that makes plain data: NumPy arrays and scalars (1.x and
2.x), `OrderedDict`, and tensors as MMEngine dumps them. Any other name is refused and reported.
Nothing is imported, no foreign object is made, and every size is bounded by the file's own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.data.untrusted.reading import read_bytes
from tubelet.errors import DataError

MAX_PICKLE_BYTES = 2 << 30
_DTYPE = {f"{kind}{size}" for kind, sizes in
          {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}.items()
          for size in sizes}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def load_pickle(path: str | Path) -> Any:
    """The plain data in a pickle file: containers, text, numbers and arrays.

    NumPy scalars come back as Python's; byte text of Python 2 as Latin-1 text. Raises DataError
    for a damaged pickle, and for one that needs any name outside the list above.
    """
    return unpickle(read_bytes(path, limit=MAX_PICKLE_BYTES), path)


def unpickle(data: bytes, where: object) -> Any:
    """As `load_pickle`, from bytes; `where` names them in errors."""
    return Machine(data, where).run()


class Name:
    """A global the pickle may call; `call` makes plain data of its arguments, nothing else."""

    __slots__ = ("call", "path")

    def __init__(self, path: str, call: Callable[..., Any]) -> None:
        self.path, self.call = path, call


class _Dtype:
    """`numpy.dtype(code)`, whose byte order arrives later by BUILD."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_flags: object) -> None:
        if not isinstance(code, str):
            raise ValueError("a dtype without a code")
        if code[:1] in "<>=|":
            code = code[1:]
        text = code[:1] in ("U", "S") and code[1:].isdigit() and int(code[1:]) < 1 << 20
        if code not in _DTYPE and code not in ("O", "O8", "?") and not text:
            raise ValueError(f"an array of type {code[:20]!r}")
        self.code, self.order = code, "<"

    def build(self, state: Any) -> None:
        if state[2] is not None or state[3] is not None or state[4] is not None:
            raise ValueError("a structured array")
        if state[1] in ("<", ">"):
            self.order = state[1]

    def make(self) -> np.dtype[Any]:
        return np.dtype("O") if self.code[0] == "O" else np.dtype(self.order + self.code)


class _Pending:
    """An array that NumPy's `_reconstruct` has announced and BUILD will fill."""

    __slots__ = ("slot",)

    def __init__(self) -> None:
        self.slot: int | None = None


class _Mark:
    __slots__ = ()


_MARK = _Mark()


def _raw(value: object) -> bytes:
    """Bytes as they are; Python 2's byte text arrives as Latin-1 text."""
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, bytes):
        return value
    raise ValueError("an array without data")


def _array(shape: Any, dtype: Any, fortran: Any, data: Any) -> npt.NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or len(shape) > 8:
        raise ValueError("an array without shape or type")
    kind = dtype.make()
    count = math.prod(shape)
    content = data if kind == np.dtype("O") and isinstance(data, list) else _raw(data)
    held = len(content) if isinstance(content, list) else len(content) // max(kind.itemsize, 1)
    # An empty array may still claim a length of 10^12, which a reader would then loop over.
    if count != held or any(side < 0 or side > max(held, 1 << 16) for side in shape):
        raise ValueError(f"an array of shape {shape} with data for {held}")
    if isinstance(content, list):
        flat = np.empty(len(content), object)
        flat[:] = content
    else:
        flat = np.frombuffer(content, kind, count)
    return flat.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if isinstance(dtype, _Dtype) and dtype.code[0] == "O":
        return data
    return _array((1,), dtype, False, data)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError("an unusual encoding")
    return text.encode("latin-1")


def _storage(data: Any) -> npt.NDArray[Any]:
    """A torch storage in torch's old file format: five pickles, a length, the numbers."""
    machine = _Storages(_raw(data), "a tensor inside the pickle")
    if machine.run() != _TORCH_MAGIC:
        raise ValueError("a tensor in an unknown format")
    machine.run(), machine.run()  # protocol and machine: both said to be little-endian
    storage = machine.run()
    machine.run()
    count = int.from_bytes(machine.take(8), "little")
    dtype = np.dtype(storage).newbyteorder("<")
    return np.frombuffer(machine.take(count * dtype.itemsize), dtype, count)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: object) -> npt.NDArray[Any]:
    count = math.prod(size)
    steps = [math.prod(size[i + 1 :]) for i in range(len(size))]
    plain = all(s == 1 or have == want for s, have, want in zip(size, stride, steps, strict=True))
    if not isinstance(storage, np.ndarray) or not (plain or count == 0) or min(size, default=0) < 0:
        raise ValueError("a tensor that is a view")
    if not 0 <= offset <= offset + count <= len(storage) or any(s > 1 << 24 for s in size):
        raise ValueError("a tensor larger than its data")
    return storage[offset : offset + count].reshape(size)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> npt.NDArray[Any]:
    return _array(shape, dtype, order == "F", data)


def _known_names() -> dict[str, Callable[..., Any]]:
    names: dict[str, Callable[..., Any]] = {
        "numpy.dtype": _Dtype,
        "numpy.ndarray": lambda *_: _Pending(),
        "_codecs.encode": _encode,
        "collections.OrderedDict": _dict,
        "collections.defaultdict": lambda _factory=None: {},
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch.storage._load_from_bytes": _storage,
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = lambda *_: _Pending()
        names[f"{core}.multiarray.scalar"] = _scalar
        names[f"{core}.numeric._frombuffer"] = _frombuffer
    for module in ("builtins", "__builtin__"):
        names[f"{module}.set"] = lambda items=(): {_key(item) for item in items}
        names[f"{module}.frozenset"] = lambda items=(): frozenset(_key(item) for item in items)
        names[f"{module}.dict"] = _dict
        names |= {f"{module}.list": list, f"{module}.tuple": tuple}
        names[f"{module}.bytes"] = lambda: b""
    return names


def _key(value: Any) -> Any:
    """A value that may be hashed: hashing a tuple nested 10^5 deep would end the process."""
    flat = value if isinstance(value, tuple) else (value,)
    if all(item is None or isinstance(item, (str, int, float, bytes)) for item in flat):
        return value
    raise ValueError(f"a {type(value).__name__} as a key")


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in pairs}


class Machine:
    """The pickle machine over `data`; `run` executes up to one STOP and returns its value.

    A reader of another format subclasses it: `known` are the names that make data, `unknown`
    answers all others, `stored` a persistent id, `state_for` the state of what a known name made.
    """

    known: Mapping[str, Callable[..., Any]]

    def __init__(self, data: bytes | mmap, where: object) -> None:
        self.data, self.where, self.at = data, where, 0
        self.copied = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        self.stack, self.memo = [], {}
        operate = _OPERATIONS
        try:
            while (opcode := self.take(1)) != b".":
                operate[opcode](self)
            return self.stack.pop()
        except DataError:
            raise
        except KeyError as error:
            raise self._damaged(f"unknown opcode or memo {error.args[0]!r:.40}") from None
        except (ValueError, TypeError, IndexError, OverflowError, struct.error) as error:
            raise self._damaged(error) from None
        except (AttributeError, MemoryError, RecursionError) as error:
            raise self._damaged(type(error).__name__) from None

    def _damaged(self, reason: object) -> DataError:
        return DataError(
            "the pickle is damaged or holds something other than data",
            where=f"{self.where}, byte {self.at}",
            got=str(reason)[:200] or "nothing",
        )

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise self._damaged("the file ends too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        piece = self.take(max(end - self.at, 0) + 1)
        return piece[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise ValueError("no mark")

    def find(self, module: str, name: str) -> None:
        path = f"{module}.{name}"
        call = self.known.get(path)
        self.push(self.unknown(path) if call is None else Name(path, call))

    def unknown(self, path: str) -> Any:
        """What represents a name that is not data. Raises DataError: here nothing does."""
        raise DataError(
            f"the pickle refers to {path[:100]!r}, which is not data; it was not run",
            where=f"{self.where}, byte {self.at}",
            expected="lists, dicts, text, numbers and NumPy arrays",
            hint="export the data as CSV or JSON, and check where this file comes from",
        )

    def stored(self, what: Any) -> Any:
        """The value behind a persistent id. torch's says ('storage', type, key, device, length),
        and of the one storage in an old file the type's code is all that is needed."""
        if not isinstance(what, tuple) or len(what) < 2 or not isinstance(what[1], Name):
            raise ValueError("a persistent id")
        return what[1].call()

    def state_for(self, target: Any, state: Any) -> None:
        """Take the state that BUILD gives to what is neither dtype nor array."""
        raise ValueError(f"state for a {type(target).__name__}")

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Name) or not isinstance(arguments, (tuple, list)):
            raise ValueError(f"a call of a {type(function).__name__}")
        self.spend(arguments)
        self.push(function.call(*arguments))

    def spend(self, values: tuple[Any, ...] | list[Any]) -> None:
        """Count what calls copy: five bytes can ask for a copy of all that came before."""
        self.copied += sum(
            len(v) for v in values if isinstance(v, (str, bytes, list, tuple, dict, set))
        )
        if self.copied > 8 * len(self.data) + (1 << 16):
            raise ValueError("it unpacks to far more than its size")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            target.build(state)
        elif isinstance(target, _Pending):
            _version, shape, dtype, fortran, data = state
            self.spend([data])
            self.stack[-1] = made = _array(shape, dtype, fortran, data)
            if target.slot is not None:
                self.memo[target.slot] = made
        else:
            self.state_for(target, state)

    def fill(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise ValueError("items for something that is not a dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_key(key)] = value

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(_key(item) for item in items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise ValueError("items for something that is not a list")

    def put(self, slot: int) -> None:
        self.memo[slot] = value = self.stack[-1]
        if isinstance(value, _Pending):
            value.slot = slot


def _fresh_dict(m: Machine) -> None:
    pairs = m.pop_mark()
    m.push({})
    m.fill(pairs)


def _int_line(m: Machine) -> None:
    text = m.line().rstrip(b"L")
    m.push({b"00": False, b"01": True}.get(text) if text in (b"00", b"01") else int(text))


def _long(m: Machine, size: int) -> None:
    if size > 32:
        raise ValueError("an integer of more than 32 bytes")
    m.push(m.number(size, signed=True))


def _float_line(m: Machine) -> None:
    m.push(float(m.line()))


def _string_line(m: Machine) -> None:
    text = m.line().strip()
    if len(text) < 2 or text[0] != text[-1] or text[:1] not in (b"'", b'"'):
        raise ValueError("a text without quotes")
    m.push(text[1:-1].decode("unicode_escape"))


def _global_line(m: Machine) -> None:
    module, name = m.line().decode(), m.line().decode()
    m.find(module, name)


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name that is not text")
    m.find(module, name)


def _reduce(m: Machine) -> None:
    arguments, function = m.stack.pop(), m.stack.pop()
    m.call(function, arguments)


def _instance_line(m: Machine) -> None:
    arguments = m.pop_mark()
    _global_line(m)
    m.call(m.stack.pop(), arguments)


def _object(m: Machine) -> None:
    function, *arguments = m.pop_mark()
    m.call(function, arguments)


def _tuple(m: Machine, size: int) -> None:
    if len(m.stack) < size:
        raise ValueError("too few items")
    items = tuple(m.stack[-size:])
    del m.stack[-size:]
    m.push(items)


def _set_item(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.fill([key, value])


_OPERATIONS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"I": _int_line,
    b"L": _int_line,
    b"\x8a": lambda m: _long(m, m.number(1)),
    b"\x8b": lambda m: _long(m, m.number(4)),
    b"F": _float_line,
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"S": _string_line,
    b"T": lambda m: m.push(m.take(m.number(4)).decode("latin-1")),
    b"U": lambda m: m.push(m.take(m.number(1)).decode("latin-1")),
    b"V": lambda m: m.push(m.line().decode("raw_unicode_escape")),
    b"X": lambda m: m.push(m.take(m.number(4)).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m.take(m.number(1)).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.take(m.number(8)).decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": lambda m: m.push(m.take(m.number(8))),
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.pop_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push(set()),
    b"l": lambda m: m.push(m.pop_mark()),
    b"d": _fresh_dict,
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"\x91": lambda m: m.push(frozenset(_key(item) for item in m.pop_mark())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.pop_mark()),
    b"\x90": lambda m: m.extend(m.pop_mark()),
    b"s": _set_item,
    b"u": lambda m: m.fill(m.pop_mark()),
    b"g": lambda m: m.push(m.memo[int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number(1)]),
    b"j": lambda m: m.push(m.memo[m.number(4)]),
    b"p": lambda m: m.put(int(m.line())),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"c": _global_line,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,
    b"i": _instance_line,
    b"o": _object,
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.push(m.stored(m.stack.pop())),
}
NAMES = _known_names()
Machine.known = NAMES


class _Storages(Machine):
    """Reads the one storage in torch's old format; its type answers with a dtype's code."""


_Storages.known = {
    **NAMES,
    **{f"torch.{n}": lambda code=code: code for n, code in _STORAGES.items()},
}
