"""What the `config.json` beside a Hugging Face checkpoint says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tubelet.config import decode
from tubelet.convert.facts import Facts
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.labels import LabelSpace

_KINDS = ("vivit", "videomae")


def facts_of_text(text: str, *, where: object) -> Facts:
    """The facts in the text of a `config.json` of ViViT or VideoMAE; none if it is another's.

    Raises InputError for text that is not JSON, or has a value of the wrong type.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("invalid JSON in the config", where=where, got=error) from error
    if not isinstance(said, Mapping) or said.get("model_type") not in _KINDS:
        return Facts()
    try:
        return decode(Facts, _found(said))
    except (ConfigError, DataError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            "the config has a value of the wrong type", where=where, got=error
        ) from error


def _found(said: Mapping[str, Any]) -> dict[str, Any]:
    tubelet = said["tubelet_size"]  # ViViT: three sides; VideoMAE: frames, beside its patch_size
    step, side = (tubelet, said["patch_size"]) if isinstance(tubelet, int) else tubelet[:2]
    cells = said["image_size"] // side
    multi = said.get("problem_type") == "multi_label_classification"
    found = {
        "task": "classification",
        "exclusive": not multi,
        "heads": said["num_attention_heads"],
        "frames": said["num_frames"],
        "positions": (said["num_frames"] // step, cells, cells),
    }
    names = [name for _, name in sorted(said.get("id2label", {}).items(), key=lambda i: int(i[0]))]
    if names and names != [f"LABEL_{i}" for i in range(len(names))]:
        found["labels"] = LabelSpace.of(names).to_json()
    return found
