"""A person detector by its name, as the command line spells it."""

from __future__ import annotations

import difflib
from pathlib import Path

import torch

from tubelet.people.detector import PersonDetector
from tubelet.people.huggingface import PREFIX, HuggingFaceDetector
from tubelet.people.small import SmallDetectorConfig, SmallPersonDetector
from tubelet.types import InputError

DEFAULT = "person_small"


def person_detector(
    name: str = DEFAULT,
    *,
    threshold: float | None = None,
    device: torch.device | str = "cpu",
) -> PersonDetector:
    """The detector called `name`; `threshold` replaces its own least score.

    `person_small` ships in the package; `hf:<id or folder>` is any object detector of
    `transformers` (extra `tubelet[hf]`); `<file>.safetensors` is a small detector trained by
    yourself. Raises InputError for any other name.
    """
    if name.startswith(PREFIX):
        model_id = name.removeprefix(PREFIX)
        if threshold is None:
            return HuggingFaceDetector(model_id, device=device)
        return HuggingFaceDetector(model_id, threshold=threshold, device=device)
    config = (
        SmallDetectorConfig() if threshold is None else SmallDetectorConfig(threshold=threshold)
    )
    if name == DEFAULT:
        return SmallPersonDetector.load(config=config, device=device)
    if name.endswith(".safetensors"):
        return SmallPersonDetector.load(Path(name), config=config, device=device)
    near = difflib.get_close_matches(name, [DEFAULT], n=1, cutoff=0.5)
    raise InputError(
        f"no person detector is called {name!r}",
        expected=f"{DEFAULT}, hf:<model id>, or a .safetensors file of a small detector",
        hint=f"did you mean {near[0]}?" if near else "boxes from a file: pass a .csv",
    )
