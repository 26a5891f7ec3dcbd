"""A folder that holds a model: its weights, and a card that says in plain words what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tubelet.config import Extensible
from tubelet.errors import InputError
from tubelet.files import write_text
from tubelet.models.detector import ActionModel
from tubelet.models.weights import save_model

WEIGHTS, CARD = "model.safetensors", "README.md"


def save_pretrained(
    model: ActionModel,
    folder: str | Path,
    *,
    source: str | None = None,
    license: str | None = None,  # noqa: A002  the model card's own word
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `model.safetensors` (its header holds the configuration) and `README.md` to `folder`.

    `source` is what the card tells readers to load, the folder if not given; `provenance` goes
    into the weights' header and into the card; floating tensors are cast to `dtype` if given.
    A card that is already there is kept: somebody may have written it. Raises InputError where
    the folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("a model is saved to a folder, but this is a file", where=folder)
    save_model(folder / WEIGHTS, model, provenance=provenance, dtype=dtype)
    if not (folder / CARD).exists():
        card = model_card(model, source=source or str(folder), license=license, facts=provenance)
        write_text(folder / CARD, card)


def model_card(
    model: ActionModel,
    *,
    source: str,
    license: str | None = None,  # noqa: A002
    facts: Mapping[str, Any] | None = None,
) -> str:
    """A model card in Markdown with the hub's YAML head; it claims nothing that is not given."""
    rows = {
        **_described(model),
        **{_cell(key): _plain(value) for key, value in (facts or {}).items()},
    }
    return "\n".join(
        (
            *_head(model.task, license),
            f"# {source.rstrip('/').rsplit('/', 1)[-1]}",
            "",
            f"An action {'detector' if model.task == 'detection' else 'classifier'} for video.",
            "",
            "```python",
            "import tubelet",
            "",
            f"model = tubelet.load({json.dumps(source)})",
            "```",
            "",
            "| | |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in rows.items()),
            "",
            "## Classes",
            "",
            *(f"- {_cell(name)}" for name in model.labels.names),
            "",
        )
    )


def _head(task: str, license: str | None) -> list[str]:  # noqa: A002
    """YAML that the hub reads. It has no pipeline for action detection, only for classification."""
    lines = ["---", "library_name: tubelet"]
    if license is not None:
        lines.append(f"license: {json.dumps(license)}")
    if task == "classification":
        lines.append("pipeline_tag: video-classification")
    return [*lines, "tags:", "- video", f"- action-{task}", "---", ""]


def _described(model: ActionModel) -> dict[str, str]:
    config, spec = model.config, model.input
    parts = {"backbone": config.backbone, "head": config.head, "memory": config.memory}
    rate = "source frames" if spec.fps is None else f"frames at {spec.fps:g} per second"
    side = f"short side {spec.short_side}" if spec.crop is None else f"{spec.crop} × {spec.crop}"
    names = {k: _part(v) for k, v in parts.items() if v is not None}
    return {
        "task": model.task,
        **names,
        "parameters": f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M",
        "clip": f"{spec.frames} × {spec.stride} {rate}",
        "pixels": side,
        "classes": f"{len(model.labels)}, "
        f"{'one' if model.labels.exclusive else 'several'} per person"
        if model.task == "detection"
        else str(len(model.labels)),
    }


def _part(config: object) -> str:
    """What a backbone, head or memory calls itself, with its plain words if it has some."""
    name = type(config).__name__.removesuffix("Config")
    words = config.summary if isinstance(config, Extensible) else ""
    return f"{name}: {words}" if words else name


def _plain(value: object) -> str:
    return _cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cell(text: str) -> str:
    """One line that cannot end its table cell or open a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
