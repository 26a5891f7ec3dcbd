"""The data a stage learns from: one dataset, or several whose minibatches take turns (002 §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tubelet.data.sources import SourceConfig
from tubelet.errors import ConfigError
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModelConfig
from tubelet.types import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One dataset of a mixture.

    `model`: the model that its minibatches train, where it is not the stage's own; its backbone
    shares every parameter with the stage's model's, so it differs in head, classes and input.
    `share`: how often it is drawn under "explicit" sampling, relative to the others.
    """

    data: SourceConfig
    model: ActionModelConfig | None = None
    augment: Augment | None = None
    share: float = 1.0

    def dataset_names(self) -> tuple[str, ...]:
        """What the part's samples call their dataset; those of joined sets keep their own names."""
        return self.data.dataset_names()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Several datasets, each minibatch from one of them (002 §3.2).

    `sampling`: "weighted", in proportion to the datasets' sizes; "alternating", one after the
    other; "explicit", by each part's `share`. Parts are known by their data's name.
    """

    parts: tuple[Part, ...]
    sampling: Literal["weighted", "alternating", "explicit"] = "weighted"

    def __post_init__(self) -> None:
        names = [part.data.name for part in self.parts]
        if not names or len(set(names)) < len(names):
            raise ConfigError("duplicate dataset name in a mixture", got=", ".join(names))
        if min(part.share for part in self.parts) <= 0:
            raise ConfigError("every part of a mixture needs a positive share")

    def order(self, sizes: Ints, steps: int, *, seed: int) -> Ints:
        """Which part each of `steps` steps draws from; `sizes`: samples of each part."""
        if self.sampling == "alternating":
            return np.arange(steps, dtype=np.int64) % len(self.parts)
        shares = sizes if self.sampling == "weighted" else [part.share for part in self.parts]
        chance = np.asarray(shares, np.float64)
        rng = np.random.default_rng([seed, len(self.parts)])
        return rng.choice(len(self.parts), size=steps, p=chance / chance.sum()).astype(np.int64)
