"""What is measured: a test of a model, an ensemble of several, and the row printed in a paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tubelet.data.sources import SourceConfig
from tubelet.errors import ConfigError
from tubelet.numerics.choices import PrecisionChoice
from tubelet.testing.views import Views

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def check_name(what: str, name: str) -> None:
    """Raise ConfigError for a name that cannot be a file's: stages, tests and parts name files."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"invalid name of {what}: it cannot be a file name",
            expected="letters, digits, _ . + and -, beginning with one of the first two",
            got=repr(name),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """What a trained model is tested on.

    `part`: the name of the mixture's dataset whose model is tested; None, the stage's own.
    `metric`: "frame" mAP@0.5 of AVA, "topk" of single-label clips, "charades" mAP. `batch`: most
    clips of one forward pass; neither it nor `workers` changes a score. `predictions`: the form in
    which they are kept. `bank_data`: moments whose people a memory bank knows besides, as a stage's
    `bank_data`; None, only those of the test's own keyframes. Clips of Kinetics have one of these.
    `person_scores`: whether action scores are multiplied by the person detector's score of the box.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    data: SourceConfig
    name: str = "test"
    part: str | None = None
    views: Views = field(default_factory=Views)
    metric: Literal["frame", "topk", "charades"] = "frame"
    batch: int = 16
    workers: int = 0
    precision: PrecisionChoice = "fp32"
    predictions: Literal["csv", "parquet"] = "csv"
    bank_data: SourceConfig | None = None
    person_scores: Literal["ignored", "multiplied"] = "ignored"

    def __post_init__(self) -> None:
        check_name("a test", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """The row of a results table that a recipe stands for, as its paper prints it.

    `scores`: metric → figure. `gflops` and `parameters` (millions) where the paper has them.
    """

    paper: str
    table: str
    row: str
    scores: Mapping[str, float]
    gflops: float | None = None
    parameters: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A weighted mean of the predictions of several recipes on one test set.

    `weights`: one per member, equal by default. Every member predicts the same people.
    """

    name: str
    summary: str
    members: tuple[str, ...]
    test: Test
    weights: tuple[float, ...] = ()
    published: PaperRow | None = None
    reproduced: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.members or len(self.weights) not in (0, len(self.members)):
            raise ConfigError(
                f"ensemble {self.name!r} needs members, and a weight for each or for none",
                got=f"{len(self.members)} members, {len(self.weights)} weights",
            )
