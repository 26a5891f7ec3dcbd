"""A person detector by its name, as the command line spells it."""

from __future__ import annotations

import torch

from tubelet.errors import ConfigError, InputError, did_you_mean
from tubelet.people.auto import AUTO, Note, automatic
from tubelet.people.detectors import DETECTORS
from tubelet.people.detectors.base import NamedDetector, ThresholdedDetector
from tubelet.people.rows import ROWS, DetectorRow
from tubelet.people.sliced import PREFIX, SlicedDetector
from tubelet.plugins import families

DEFAULT = AUTO


def person_detector(
    name: str = DEFAULT,
    *,
    threshold: float | None = None,
    device: torch.device | str = "cpu",
    on_note: Note | None = None,
) -> ThresholdedDetector:
    """The detector called `name`; `threshold` replaces its own minimum score.

    `auto` takes the best that can be had here and tells `on_note` which. `person_small` ships in
    the package; a name of `tubelet people list` (`dfine-small`) and `hf:<id or folder>` are object
    detectors of `transformers` (extra `tubelet[hf]`); `<file>.safetensors` is a small detector
    trained by yourself, `yolox:<file>.onnx` a YOLOX (extra `tubelet[onnx]`); plugins may add more.
    `sliced:` before a name looks for small people in pieces of the frame too. The detector's own
    `name` is the one that was taken. Raises InputError for any other name, ConfigError for one that
    two detectors claim.
    """
    name = resolved(name, on_note)
    if name.startswith(PREFIX):
        inner = person_detector(name.removeprefix(PREFIX), threshold=threshold, device=device)
        return SlicedDetector(detector=inner)
    known = families(NamedDetector, DETECTORS)
    found = [one for one in known if one.claims(name)]
    if len(found) > 1:
        raise ConfigError(
            f"ambiguous person detector {name!r}",
            got=", ".join(f"{one.__module__}.{one.__qualname__}" for one in found),
        )
    if found:
        return found[0].named(name, threshold=threshold, device=device)
    names = [one.spelling.split(",")[0] for one in known]
    raise InputError(
        f"unknown person detector {name!r}",
        expected="; ".join([AUTO, *(one.spelling for one in known), "a name of the list"]),
        hint=did_you_mean(name, [AUTO, *names, *ROWS])
        or "`tubelet people list` lists detectors; for boxes from a file, pass a .csv",
    )


def resolved(name: str = DEFAULT, on_note: Note | None = None) -> str:
    """What `name` stands for: `auto` and the names of the list spelled out, others as they are."""
    if name.startswith(PREFIX):
        return PREFIX + resolved(name.removeprefix(PREFIX), on_note)
    if name == AUTO:
        return automatic(on_note)
    return _spelling(ROWS[name]) if name in ROWS else name


def name_of(people: object) -> str:
    """What results say found the people: a detector's own name, else that of its type."""
    return getattr(people, "name", "") or type(people).__name__


def _spelling(row: DetectorRow) -> str:
    if row.url is not None:
        raise InputError(
            f"{row.name} must be downloaded by hand",
            where=row.url,
            hint=f"download it and name the file: {row.spelling}",
            arguments=("people", "detector"),
        )
    return row.spelling
