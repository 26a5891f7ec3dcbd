"""What is measured: a test of a model, an ensemble of several, and the row printed in a paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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


Metric = Literal["frame", "topk", "charades", "boxes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """What a trained model is tested on.

    `part`: the name of the mixture's dataset whose model is tested; None, the stage's own.
    `stage`: the name of the stage whose model is tested, as it ends; None, the last.
    `metric`: "frame" mAP@0.5 of AVA, "topk" of single-label clips, "charades" mAP, or "boxes", AP
    of the samples' person boxes alone, which no model sees. Where the data's labels are hidden
    there is no figure, and the test writes a submission for the set's server. `training`: people
    whose labels are counted, so that the mean of frequent and of rare classes is given too.
    `against`: the name of a test before this one, whose figures are subtracted from this one's.
    `batch`: most
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
    stage: str | None = None
    metric: Metric = "frame"
    training: SourceConfig | None = None
    against: str | None = None
    batch: int = 16
    workers: int = 0
    precision: PrecisionChoice = "fp32"
    predictions: Literal["csv", "parquet"] = "csv"
    bank_data: SourceConfig | None = None
    person_scores: Literal["ignored", "multiplied"] = "ignored"

    def __post_init__(self) -> None:
        check_name("a test", self.name)
        if self.training is not None and (
            self.metric != "frame" or self.data.hidden or self.training.labelled != "people"
        ):
            raise ConfigError(
                f"test {self.name!r} cannot group its classes by training labels",
                expected="the frame metric, known labels, and training data of labelled people",
                got=f"{self.metric!r} and {self.training.name!r}",
            )
        if self.data.hidden and (self.metric in ("boxes", "charades") or self.against is not None):
            raise ConfigError(
                f"test {self.name!r} asks for figures of labels that are not public",
                expected='metric "frame" or "topk", compared with nothing',
                got=f"metric {self.metric!r}, against {self.against!r}",
            )


def check_order(owner: str, tests: Sequence[Test]) -> None:
    """Raise ConfigError unless the tests of `owner` have unique names, and each that is compared
    comes after a test of the same metric that it is compared with."""
    names = [test.name for test in tests]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{owner} needs tests with unique names", got=", ".join(names))
    for number, test in enumerate(tests):
        before = {other.name: other.metric for other in tests[:number]}
        if test.against is not None and before.get(test.against) != test.metric:
            raise ConfigError(
                f"test {test.name!r} of {owner} is compared with {test.against!r}",
                expected=f"a test before it by {test.metric!r}",
                got=", ".join(f"{name} ({metric})" for name, metric in before.items()) or "none",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """The row of a results table that a recipe stands for, as its paper prints it.

    `scores`: "<test> <figure>" → percent, by the name of a test and of a figure that
    `testing.figures` lists for it, so that each has one place where a run puts its own. `gflops`
    and `parameters` (millions) where the paper has them; `cost_ratio`: GFLOPs over those of the
    recipe `baseline`. These three are counted, not run: `recipes/costs.json`.
    """

    paper: str
    table: str
    row: str
    scores: Mapping[str, float]
    gflops: float | None = None
    parameters: float | None = None
    cost_ratio: float | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        if (self.cost_ratio is None) != (self.baseline is None):
            raise ConfigError(
                f"the row {self.row!r} needs a cost ratio and whose cost it is over, or neither",
                got=f"{self.cost_ratio} over {self.baseline}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A setting that the paper does not print: its path, as `override` takes it, its `value`, as
    JSON, and why."""

    setting: str
    value: str = ""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A weighted mean of the predictions of several recipes on each of `tests`.

    `weights`: one per member, equal by default. Every member has tests of these names, and predicts
    the same people. `cited`, `assumed`: as a recipe's.
    """

    name: str
    summary: str
    members: tuple[str, ...]
    tests: tuple[Test, ...]
    weights: tuple[float, ...] = ()
    published: PaperRow | None = None
    reproduced: Mapping[str, float] = field(default_factory=dict)
    cited: Mapping[str, str] = field(default_factory=dict)
    assumed: tuple[Assumption, ...] = ()

    def __post_init__(self) -> None:
        if not self.members or len(self.weights) not in (0, len(self.members)):
            raise ConfigError(
                f"ensemble {self.name!r} needs members, and a weight for each or for none",
                got=f"{len(self.members)} members, {len(self.weights)} weights",
            )
        check_order(f"ensemble {self.name!r}", self.tests)
