"""What the commands of `cli.graphs.commands` do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.checkpoints import describe_source, read_header
from tubelet.cli.console import download_bar, note, out
from tubelet.engines.choices import SUFFIXES, FileKind
from tubelet.engines.export import export_model
from tubelet.engines.prepared import best_of, measure
from tubelet.errors import InputError
from tubelet.models.weights import load_model
from tubelet.releases.table import weights_path


def export_file(name: str, to: FileKind, target: Path | None, licence: str | None) -> None:
    """Export a named model or weights file, and say what came of it."""
    path = _weights(name)
    header = read_header(path)
    stem = path.parent.name if path.stem == "model" else path.stem
    exported = export_model(
        load_model(path),
        target or Path(f"{stem}{SUFFIXES[to]}"),
        to=to,
        licence=licence or _licence(header),
        origin=tuple(describe_source(header)) or (f"tubelet weights {path.name}",),
    )
    card = exported.card
    size = "any size" if card.any_size else f"{card.hw[1]}x{card.hw[0]} pixels only"
    out.print(
        f"{exported.path}: {len(card.config.labels)} classes, pictures of {size}; "
        f"largest difference from torch in fp32 {exported.difference:.1e}"
    )
    if card.licence is None:
        note("licence of these weights unknown; state it with --licence")


def time_engines(name: str, rounds: int) -> None:
    """Time the engines on a model, print a row each, and which one `auto` is from now on."""
    if rounds < 1:
        raise InputError("nothing to time", expected="1 or more rounds", got=rounds)
    found = measure(load_model(_weights(name)), rounds=rounds, note=note)
    for row in found:
        out.print(
            f"{row.engine:<12} {row.precision}  {row.seconds * 1000:8.1f} ms a clip  "
            f"{found[0].seconds / row.seconds:5.2f}x  difference {row.difference:.1e}"
        )
    out.print(f"auto: {best_of(found)}")


def _weights(name: str) -> Path:
    with download_bar() as progress:
        return weights_path(name, progress=progress)


def _licence(header: Mapping[str, Any]) -> str | None:
    """The licence in a weights file's header, which published weights have under their release."""
    for part in (header, header.get("source"), header.get("release")):
        if isinstance(part, Mapping) and isinstance(part.get("licence"), str):
            return str(part["licence"])
    return None
