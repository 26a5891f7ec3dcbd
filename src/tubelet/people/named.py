"""A person detector by its name, as the command line spells it."""

from __future__ import annotations

import torch

from tubelet.errors import ConfigError, InputError, did_you_mean
from tubelet.people.detectors import DETECTORS
from tubelet.people.detectors.base import NamedDetector, ThresholdedDetector
from tubelet.people.detectors.small import KIND
from tubelet.people.sliced import PREFIX, SlicedDetector
from tubelet.plugins import families

DEFAULT = KIND


def person_detector(
    name: str = DEFAULT,
    *,
    threshold: float | None = None,
    device: torch.device | str = "cpu",
) -> ThresholdedDetector:
    """The detector called `name`; `threshold` replaces its own minimum score.

    `person_small` ships in the package; `hf:<id or folder>` is any object detector of
    `transformers` (extra `tubelet[hf]`); `<file>.safetensors` is a small detector trained by
    yourself; plugins may add more. `sliced:` before a name looks for small people in pieces of the
    frame too. Raises InputError for any other name, ConfigError for one that
    two detectors claim.
    """
    if name.startswith(PREFIX):
        return SlicedDetector(
            detector=person_detector(name.removeprefix(PREFIX), threshold=threshold, device=device)
        )
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
        expected="; ".join(one.spelling for one in known),
        hint=did_you_mean(name, names) or "for boxes from a file, pass a .csv",
    )
