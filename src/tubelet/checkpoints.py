"""Safe weights files: safetensors with a JSON header; nothing here ever runs a pickle.

A file holds tensors and, in its safetensors metadata under `tubelet`, one JSON object: the format
version, the model's configuration and where the weights came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tubelet.errors import CheckpointError, InputError
from tubelet.files import atomic_path

FORMAT = 1
_KEY = "tubelet"


def save_checkpoint(path: Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and header to `path`; a crash leaves the previous file whole.

    Raises InputError where it cannot be written: a full disk, for one.
    """
    tensors = {name: t.detach().contiguous().cpu() for name, t in state.items()}
    metadata = {_KEY: json.dumps({"format": FORMAT, **header}, sort_keys=True)}
    with atomic_path(path) as part:
        try:
            save_file(tensors, part, metadata=metadata)
        except (SafetensorError, OSError) as error:
            raise InputError(
                "cannot write the weights",
                where=path,
                got=error,
                hint="make room, or choose another folder",
            ) from error


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
            hint="convert foreign checkpoints with `tubelet convert`",
        ) from error
    if text is None:
        raise CheckpointError("a safetensors file without tubelet's header", where=path)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            "invalid JSON in the header of this weights file", where=path, got=error
        ) from error
    found = header.get("format") if isinstance(header, dict) else type(header).__name__
    if not isinstance(header, dict) or found != FORMAT:
        raise CheckpointError(
            "a weights file of another format version", where=path, expected=FORMAT, got=found
        )
    return header


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a weights file, the tensors on the CPU as they were stored."""
    header = read_header(path)
    with safe_open(path, framework="pt") as opened:
        return header, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def describe_source(header: Mapping[str, Any]) -> list[str]:
    """Lines about where converted weights come from, which source stated what about them, and
    what was assumed; none for weights that were not converted."""
    source = header.get("source")
    if not isinstance(source, Mapping) or "family" not in source:
        return []
    lines = [f"converted from {source.get('file', 'a checkpoint')} ({source['family']})"]
    facts = source.get("facts", {})
    for speaker in dict.fromkeys(fact["from"] for fact in facts.values()):
        said = [f"{k} {_spelled(f['value'])}" for k, f in facts.items() if f["from"] == speaker]
        word = "assumed" if speaker == "assumption" else f"said by {speaker}"
        lines.append(f"{word}: {', '.join(said)}")
    return [*lines, *source.get("against", ()), *source.get("notes", ())]


def _spelled(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
