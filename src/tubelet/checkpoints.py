"""Safe weights files: safetensors with a JSON header; nothing here ever runs a pickle.

A file holds tensors and, in its safetensors metadata under `tubelet`, one JSON object: the format
version, the model's configuration and where the weights came from.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tubelet.config import decode, encode
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.types import CheckpointError, InputError

FORMAT = 1
_KEY = "tubelet"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name only if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and header to `path`; a crash leaves the previous file whole."""
    tensors = {name: t.detach().contiguous().cpu() for name, t in state.items()}
    metadata = {_KEY: json.dumps({"format": FORMAT, **header}, sort_keys=True)}
    with atomic_path(path) as part:
        save_file(tensors, part, metadata=metadata)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a weights file. Raises CheckpointError, or InputError if it is absent."""
    if not path.is_file():
        raise InputError("no such weights file", where=path)
    try:
        with safe_open(path, framework="pt") as opened:
            text = (opened.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "not a readable safetensors file",
            where=path,
            got=error,
            hint="foreign checkpoints go through `tubelet convert`",
        ) from error
    if text is None:
        raise CheckpointError("a safetensors file without tubelet's header", where=path)
    header: dict[str, Any] = json.loads(text)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            "a weights file of another format version",
            where=path,
            expected=FORMAT,
            got=header.get("format"),
        )
    return header


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a weights file, the tensors on the CPU as they were stored."""
    header = read_header(path)
    with safe_open(path, framework="pt") as opened:
        return header, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def save_model(
    path: Path,
    model: ActionModel,
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model with its configuration; floating tensors cast to `dtype` if given."""
    state = {
        name: t.to(dtype) if dtype is not None and t.is_floating_point() else t
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_checkpoint(path, state, {"model": encode(model.config), **(provenance or {})})


def load_model(path: Path) -> ActionModel:
    """The model a file holds, in eval mode and fp32. Raises CheckpointError if it does not fit."""
    header, state = read_checkpoint(path)
    if "model" not in header:
        raise CheckpointError("this weights file holds no action model", where=path)
    model = decode(ActionModelConfig, header["model"], where=str(path)).build()
    fill(model, state, where=path)
    return model.eval()


def fill(model: torch.nn.Module, state: Mapping[str, Tensor], *, where: object) -> None:
    """Load every tensor of `state` into `model`; names and shapes must agree exactly."""
    own = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or extra or wrong:
        raise CheckpointError(
            "the weights do not fit the model",
            where=where,
            expected=f"{len(own)} tensors; missing {missing[:5]}, unexpected {extra[:5]}",
            got=f"{len(state)} tensors; wrong shape {sorted(wrong)[:5]}",
        )
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=False)


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 over names, shapes and bytes of every tensor of the model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()
