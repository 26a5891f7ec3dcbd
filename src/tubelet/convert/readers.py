"""Safe readers of foreign weights files: nothing here runs code that a file brings along.

`.pth .pt .pyth .bin` go through torch's own restricted loader, `.pkl` through a reader that makes
nothing but plain data, safetensors and Flax's msgpack hold only data by design.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tubelet.data.untrusted.pickles import load_pickle
from tubelet.types import CheckpointError, DataError, InputError

_WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model", "module", "blobs")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A foreign checkpoint: tensors by their source names, and PySlowFast's own config text."""

    path: str
    state: dict[str, Tensor]
    config: str = ""


def read_foreign(path: Path) -> Foreign:
    """Read any supported file. Raises InputError (absent, unknown kind) or CheckpointError."""
    if not path.is_file():
        raise InputError("no such checkpoint", where=path)
    readers: dict[str, Callable[[Path], Any]] = {
        ".pth": _torch,
        ".pt": _torch,
        ".pyth": _torch,
        ".bin": _torch,
        ".pkl": _pickle,
        ".safetensors": _safetensors,
        ".msgpack": _msgpack,
    }
    # Scenic names its files `checkpoint_<step>` without a suffix, Flax's msgpack inside.
    kind = path.suffix if path.suffix in readers else ""
    if path.name.startswith("checkpoint") and not kind:
        kind = ".msgpack"
    if not kind:
        raise InputError(
            "unknown kind of checkpoint", where=path, expected=", ".join(readers), got=path.suffix
        )
    content = readers[kind](path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            "the file holds no table of tensors", where=path, got=type(content).__name__
        )
    config = content.get("cfg", "")
    return Foreign(
        path=str(path),
        state=_tensors(_unwrap(content), path),
        config=config if isinstance(config, str) else "",
    )


def _torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            "the file holds more than tensors; it was refused, and nothing of it ran",
            where=path,
            expected="tensors in plain containers",
            got=refused[1] if refused else "a pickle that torch's safe loader refuses",
            hint="re-save it as a plain state dict where you trust its source",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError("not a readable torch file", where=path, got=error) from error


def _pickle(path: Path) -> Any:
    try:
        return load_pickle(path)
    except DataError as error:
        raise CheckpointError(
            "the pickle was refused, and nothing of it ran",
            where=error.where,
            expected="arrays in plain containers",
            got=error.what if error.got is None else error.got,
        ) from error


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError("not a readable safetensors file", where=path, got=error) from error


def _msgpack(path: Path) -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise InputError(
            "reading Flax checkpoints needs msgpack", where=path, hint="pip install tubelet[flax]"
        ) from error
    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=_flax_array, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise CheckpointError("not a readable msgpack file", where=path, got=error) from error
    return _flax_params(tree)


def _flax_array(code: int, data: bytes) -> Any:
    """Flax's extension 1: an array as (shape, dtype name, bytes). Others stay unread."""
    import msgpack

    if code != 1:
        return None
    shape, dtype, buffer = msgpack.unpackb(data, raw=True)
    name = dtype.decode()
    if name == "bfloat16":
        return torch.frombuffer(bytearray(buffer), dtype=torch.bfloat16).view(*shape).float()
    if np.dtype(name).hasobject:
        raise ValueError(f"an array of type {name}")
    return np.frombuffer(buffer, dtype=np.dtype(name)).reshape(shape)


def _flax_params(tree: Any) -> Any:
    """The parameter tree of a Flax train state, flattened to names joined by "/"."""
    for step in (("optimizer", "target"), ("params",), ("target",), ("params",)):
        inner = tree
        for key in step:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        tree = inner if isinstance(inner, Mapping) else tree
    return dict(_leaves(tree, ""))


def _leaves(tree: Any, prefix: str) -> Any:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _unwrap(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The table of tensors inside the wrappers that training code puts around it."""
    for name in _WRAPPERS:
        if isinstance(content.get(name), Mapping):
            return _unwrap(content[name])
    return content


def _tensors(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            value = torch.from_numpy(np.array(value))
        if isinstance(value, Tensor):
            plain = str(name)
            for prefix in _PREFIXES:
                plain = plain.removeprefix(prefix)
            tensors[plain] = value
    if not tensors:
        raise CheckpointError("the file holds no tensors", where=path)
    return tensors
