"""Safe readers of foreign weights files: nothing here runs code that a file brings along.

What a file is, its content says; its suffix says little (PySlowFast's best AVA files are torch
files named `.pkl`, others gzip tars). torch's files and pickles go through a machine that makes
nothing but plain data, safetensors and Flax's msgpack hold only data by design.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tubelet.convert.configs import said_by_text
from tubelet.convert.facts import Facts, Question, Said
from tubelet.data.untrusted import torch_files
from tubelet.data.untrusted.pickles import unpickle
from tubelet.data.untrusted.torch_files import Described, Unread
from tubelet.errors import CheckpointError, DataError, InputError, OpenQuestions
from tubelet.labels import LabelSpace

_WEIGHTS = ("model_state", "state_dict", "model_state_dict", "model", "module", "blobs", "net")
_AVERAGED = ("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "teacher")
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.")
_MAX_PACKED = 16
"""How many times its size a packed file may unpack to: weights hardly shrink at all."""
_NESTED = 4
_CONFIGS = ("cfg", "meta")
"""Keys whose text is read, not dropped."""
OWN_NAMES = "the checkpoint's own class names"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A foreign checkpoint: tensors by their source names, what its own config says, and what was
    left in the file, with the reason."""

    path: str
    state: dict[str, Tensor]
    said: tuple[Said, ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)


def read_foreign(path: Path, *, weights: str | None = None) -> Foreign:
    """Read any supported file, whatever its name.

    `weights`: which of several sets of weights in it, by its key. Raises InputError if it is
    absent, CheckpointError if it cannot be read or holds what is not data, OpenQuestions if it
    holds several sets and `weights` does not choose.
    """
    if not path.is_file():
        raise InputError("no such checkpoint", where=path)
    try:
        with path.open("rb") as file:
            content = _content(file, path, 0)
    except DataError as error:
        raise torch_files.readable(error) from error
    except OSError as error:
        raise CheckpointError("cannot read the file", where=path, got=error) from error
    if isinstance(content, Unread):
        raise CheckpointError(
            f"the file holds a pickled {content.path}, which only its own code could build",
            where=path,
            expected="a table of tensors",
            hint="save its state_dict() where that code is",
        )
    if not isinstance(content, Mapping):
        raise CheckpointError(
            "the file contains no table of tensors", where=path, got=type(content).__name__
        )
    dropped: dict[str, str] = {}
    table = _unwrap(content, weights, path, dropped)
    state = _tensors(table, path, dropped)
    return Foreign(path=str(path), state=state, said=_said(content, dropped), dropped=dropped)


def _content(file: IO[bytes], where: object, depth: int) -> Any:
    """What a file holds, by its first bytes."""
    head = file.read(512)
    file.seek(0)
    if depth > _NESTED:
        raise CheckpointError("a file packed in a file, repeatedly", where=where)
    if head[:4] == b"PK\x03\x04":
        return torch_files.read_zip(file, where)
    if head.startswith(torch_files.LEGACY):
        return _legacy(file, where)
    if head[:2] == b"\x1f\x8b":
        return _unpacked(file, where, depth)
    if head[257:262] == b"ustar":
        return _archived(file, where, depth)
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 32:
        return _safetensors(file, where)
    if head[:1] in (b"\x80", b"(", b"}", b"]", b"c"):  # of protocol 2, or the older ones
        return unpickle(file.read(), where)
    if head[:1] and (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)) and not _kind(head):
        return _msgpack(file.read(), where)
    raise CheckpointError(
        "unsupported kind of checkpoint",
        where=where,
        expected="a torch file, a Caffe2 pickle, safetensors, Flax msgpack, or one of them packed",
        got=_kind(head) or (f"bytes that begin {head[:8]!r}" if head else "an empty file"),
        hint="download it again; some addresses serve a web page or a pointer file instead",
    )


def _kind(head: bytes) -> str:
    """What is often downloaded in place of a checkpoint, in words; "" for anything else."""
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return "an HDF5 file (Keras)" if head.startswith(b"\x89HDF") else ""


def _legacy(file: IO[bytes], where: object) -> Any:
    try:
        return torch_files.read_legacy(file, where)
    except ValueError as error:
        raise CheckpointError("not a readable torch file", where=where, got=error) from error


def _unpacked(file: IO[bytes], where: object, depth: int) -> Any:
    """The content of a gzip file, unpacked to a temporary file that has no name."""
    limit = _MAX_PACKED * _size(file) + (1 << 26)
    with tempfile.TemporaryFile() as whole:
        try:
            with gzip.GzipFile(fileobj=file) as packed:
                _copy(packed, whole, limit, where)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CheckpointError("the gzip file is damaged", where=where, got=error) from error
        return _content(whole, where, depth + 1)


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _copy(source: _Readable, target: IO[bytes], limit: int, where: object) -> None:
    written = 0
    while piece := source.read(1 << 20):
        written += len(piece)
        if written > limit:
            raise CheckpointError("it unpacks to far more than weights do", where=where)
        target.write(piece)
    target.seek(0)


def _archived(file: IO[bytes], where: object, depth: int) -> Any:
    """The content of the one file in a tar archive; nothing is unpacked by name."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = archive.getmembers()
            odd = [m.name for m in members if not _plain(m)]
            files = [m for m in members if m.isfile() and m.size]
            if odd or len(files) != 1:
                raise CheckpointError(
                    "an archive that is not just one checkpoint; nothing of it was unpacked",
                    where=where,
                    expected="one plain file",
                    got=", ".join(odd[:5] or [m.name for m in files[:5]]) or "no file",
                    hint="unpack it yourself if you trust it, and pass the checkpoint inside",
                )
            inner = archive.extractfile(files[0])
            assert inner is not None
            with tempfile.TemporaryFile() as whole:
                _copy(inner, whole, files[0].size, where)
                return _content(whole, f"{where}, {files[0].name}", depth + 1)
    except tarfile.TarError as error:
        raise CheckpointError("the archive is damaged", where=where, got=error) from error


def _plain(member: tarfile.TarInfo) -> bool:
    """A file or folder that stays where it is put."""
    inside = not member.name.startswith(("/", "\\")) and ".." not in Path(member.name).parts
    return inside and (member.isfile() or member.isdir())


def _safetensors(file: IO[bytes], where: object) -> Any:
    try:
        return load(file.read())
    except (SafetensorError, ValueError) as error:
        raise CheckpointError("not a readable safetensors file", where=where, got=error) from error


def _msgpack(data: bytes, where: object) -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise InputError(
            "reading Flax checkpoints needs msgpack", where=where, hint="pip install tubelet[flax]"
        ) from error
    try:
        tree = msgpack.unpackb(data, ext_hook=_flax_array, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise CheckpointError("not a readable msgpack file", where=where, got=error) from error
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


def _unwrap(
    content: Mapping[Any, Any], weights: str | None, path: Path, dropped: dict[str, str]
) -> Mapping[Any, Any]:
    """The table of tensors inside the wrappers that training code puts around it.

    MMEngine's `ema_state_dict` is the set that it has swapped out: `state_dict` holds the average.
    """
    for _ in range(_NESTED):
        sets = [n for n in (*_WEIGHTS, *_AVERAGED) if _holds_tensors(content.get(n))]
        if not sets:
            break
        if "message_hub" in content and "state_dict" in sets:
            sets = ["state_dict"]
        if weights is not None and weights not in sets:
            raise InputError("no such set of weights", where=path, expected=sets, got=weights)
        if len(sets) > 1 and weights is None:
            raise OpenQuestions([_which(sets)], where=path, family="several sets of weights")
        chosen = sets[0] if len(sets) == 1 else str(weights)
        dropped |= {
            str(name): "another set of weights" if name in sets else "training state, not weights"
            for name in content
            if name not in (chosen, *_CONFIGS)
        }
        content = content[chosen]
    return content


def _which(sets: list[str]) -> Question:
    words = {True: "a moving average of the weights", False: "the weights themselves"}
    return Question(
        key="weights",
        text="which set of weights in this file?",
        choices={name: words[name in _AVERAGED] for name in sets},
        usual="",
    )


def _is_tensor(value: object) -> bool:
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    return numbers or isinstance(value, (Tensor, Described))


def _holds_tensors(value: object, depth: int = 0) -> bool:
    if not isinstance(value, Mapping) or depth > _NESTED:
        return False
    return any(_is_tensor(v) or _holds_tensors(v, depth + 1) for v in value.values())


def _tensors(table: Mapping[Any, Any], path: Path, dropped: dict[str, str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in table.items():
        if isinstance(value, Described):
            try:
                value = value.load()
            except (ValueError, RuntimeError) as error:
                raise CheckpointError(
                    f"the tensor {name} cannot be read", where=path, got=error
                ) from error
        elif _is_tensor(value) and isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(value))
        if isinstance(value, Tensor):
            found[str(name)] = value
        else:
            what = value.path if isinstance(value, Unread) else type(value).__name__
            dropped[str(name)] = f"a {what}, not a tensor"
    if not found:
        raise CheckpointError("the file contains no tensors", where=path)
    return _without_averages(_bare(found), dropped)


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix that a wrapper gave to all of them."""
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name.removeprefix("module."): value for name, value in state.items()}


def _without_averages(state: dict[str, Tensor], dropped: dict[str, str]) -> dict[str, Tensor]:
    """mmcv keeps a second set in buffers `ema_backbone_conv1_…`; at the time of saving it has put
    the average into the weights' own names."""
    flat = {"ema_" + name.replace(".", "_") for name in state}
    second = [name for name in state if name in flat]
    dropped |= dict.fromkeys(second, "mmcv's second set of weights; the average is in the first")
    return {name: value for name, value in state.items() if name not in second}


def _said(content: Mapping[Any, Any], dropped: dict[str, str]) -> tuple[Said, ...]:
    """What a checkpoint says of itself: PySlowFast's `cfg`, MMEngine's `meta`, mmcv's `meta`."""
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    hub = content.get("message_hub")
    runtime = hub.get("runtime_info") if isinstance(hub, Mapping) else None
    texts = [content.get("cfg"), meta.get("cfg"), meta.get("config")]
    texts += [runtime.get("cfg")] if isinstance(runtime, Mapping) else []
    text = next((t for t in texts if isinstance(t, str) and t.strip()), None)
    found = []
    if text is not None:
        try:
            found.append(said_by_text(text, "the config in the checkpoint"))
        except InputError as error:
            dropped["its config"] = f"{error.what}: {error.got}"
    classes = meta.get("CLASSES")
    data = meta.get("dataset_meta")
    if isinstance(data, Mapping):
        classes = data.get("classes", data.get("CLASSES"))
    if isinstance(classes, (list, tuple)) and classes and all(isinstance(c, str) for c in classes):
        labels = LabelSpace.of(dict.fromkeys(classes))
        found.append(Said(source=OWN_NAMES, facts=Facts(labels=labels)))
    return tuple(said for said in found if said.facts.given())
