"""Recipe and Stage: a whole experiment as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tubelet.data.sources import SourceConfig
from tubelet.errors import ConfigError
from tubelet.media.transforms import Augment
from tubelet.models.detector import ActionModelConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.numerics.choices import PrecisionChoice
from tubelet.testing.config import (
    Assumption,
    Ensemble,
    PaperRow,
    Test,
    check_name,
    check_order,
)
from tubelet.train.data.mixture import Mixture, Part
from tubelet.train.data.samplers import RandomSampler, Sampler
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.learning.multi_clip import CollaborativeTraining
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule, Schedule
from tubelet.train.model.norms import Norms
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a stage's weights come from.

    `weights`: a weights file, or a released model's name; None is the stage before, or a fresh
    initialisation in the first. `parts`: patterns of the parameters to take; those whose name or
    shape the new model does not have are dropped, and everything is reported. With `required`
    (patterns), each of these must be found, else the stage does not begin.
    """

    weights: str | None = None
    parts: tuple[str, ...] = ("*",)
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One optimisation run: what is trained, on what, how long, and how.

    `data`: a dataset, or a mixture of several. `steps`, or `epochs` of all its samples together;
    one that is drawn as N clips of a video counts once.
    `batch`: clips of an optimiser's step, over all processes and all `accumulate` minibatches.
    `model`: the model from this stage on, where it is not the one before's; `start` says which
    weights it inherits. `trainable`: patterns of the parameters that learn.
    `input`: the clip to train on where it is not the model's own (smaller pictures first).
    A model with collaborative memory takes N clips of each of batch/N videos, and learns from them
    as `collaborative` says. `bank`: the tokens that a model with a memory bank sees: the folder of
    a finished bank, relative to the data folder; "build", extracted by the model as the stage
    begins; "empty", none at all; or None, a bank that grows as training sees clips. `bank_data`:
    whose people are extracted, where they are more than the stage's own (000 §2.3: every clip of
    Kinetics, though one per video is annotated).
    `clip_norm`: largest gradient norm, None for any. `ema`: decay of the weight average that is
    kept as the result, 0 for none. `precision`: autocast type of the forward pass, "auto" for the
    fastest that is right where it runs. `checkpointing`:
    recompute each residual or transformer block's activations instead of keeping them. `compile`:
    run the backbone through torch.compile. `save_every`: steps between checkpoints; `save_minutes`:
    also after so much time; `keep`: how many of them stay.
    """

    name: str
    data: SourceConfig | Mixture
    steps: int | None = None
    epochs: float | None = None
    batch: int
    accumulate: int = 1
    model: ActionModelConfig | None = None
    start: Start = field(default_factory=Start)
    trainable: tuple[str, ...] = ("*",)
    norms: Norms = field(default_factory=Norms)
    sampler: Sampler = field(default_factory=RandomSampler)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=CosineSchedule)
    loss: ActionLoss = field(default_factory=ActionLoss)
    input: InputSpec | None = None
    augment: Augment | None = None
    collaborative: CollaborativeTraining = field(default_factory=CollaborativeTraining)
    bank: str | None = None
    bank_data: SourceConfig | None = None
    clip_norm: float | None = 5.0
    ema: float = 0.0
    precision: PrecisionChoice = "auto"
    checkpointing: bool = False
    compile: bool = False
    workers: int = 0
    save_every: int = 100
    save_minutes: float | None = None
    keep: int = 1

    def __post_init__(self) -> None:
        check_name("a stage", self.name)
        for part in self.data.parts if isinstance(self.data, Mixture) else ():
            check_name("a part of a mixture", part.data.name)
        if (self.steps is None) == (self.epochs is None):
            raise ConfigError(
                f"stage {self.name!r} needs either steps or epochs",
                got=f"steps {self.steps}, epochs {self.epochs}",
            )
        counts = {
            name: getattr(self, name) for name in ("batch", "accumulate", "save_every", "keep")
        }
        if min(counts.values()) < 1 or (self.steps or 1) < 1 or (self.epochs or 1) <= 0:
            raise ConfigError(
                f"stage {self.name!r} needs at least one step, and one clip per batch",
                got=f"steps {self.steps}, epochs {self.epochs}, {counts}",
            )
        if self.batch % self.accumulate:
            raise ConfigError(
                f"stage {self.name!r}: the batch does not divide into minibatches",
                expected=f"a multiple of {self.accumulate}",
                got=self.batch,
            )

    @property
    def mixture(self) -> Mixture:
        """The stage's data; a single dataset is a mixture of one."""
        if isinstance(self.data, Mixture):
            return self.data
        return Mixture(parts=(Part(data=self.data),))

    def clip_hw(self, model: ActionModelConfig) -> tuple[int, int]:
        """Height and width of the clips that `model` trains on, as squares of their short side
        where nothing is cropped."""
        spec = self.input or model.input
        crop = self.augment.crop if self.augment is not None else None
        size = crop or spec.crop or spec.short_side
        return (size, size) if isinstance(size, int) else size

    def clips_of_a_video(self, model: ActionModelConfig) -> int:
        """How many clips of a video are drawn at once to train `model`."""
        memory = model.memory
        if isinstance(memory, CollaborativeMemoryConfig):
            return memory.clips
        return self.collaborative.clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named, complete experiment: model, stages, and what it is tested on.

    `published`: what its paper reports; `reproduced`: what was measured here, by metric, empty
    until then. `cited`: setting → where the paper prints it; `assumed`: settings that it does not
    print. A setting is a path as `override` takes it, and stands for all below it.
    """

    name: str
    summary: str
    model: ActionModelConfig
    stages: tuple[Stage, ...]
    tests: tuple[Test, ...]
    seed: int = 0
    published: PaperRow | None = None
    reproduced: Mapping[str, float] = field(default_factory=dict)
    cited: Mapping[str, str] = field(default_factory=dict)
    assumed: tuple[Assumption, ...] = ()

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"recipe {self.name!r} needs stages with unique names", got=", ".join(names)
            )
        check_order(f"recipe {self.name!r}", self.tests)
        for test in self.tests:
            if test.stage is not None and test.stage not in names:
                raise ConfigError(
                    f"test {test.name!r} of recipe {self.name!r} is of a stage that it lacks",
                    expected=f"one of {', '.join(names)}",
                    got=test.stage,
                )
            before = next((one for one in self.tests if one.name == test.against), None)
            if before is not None and self._place(before) > self._place(test):
                raise ConfigError(
                    f"test {test.name!r} of recipe {self.name!r} is compared with a later stage",
                    expected=f"a test of stage {test.stage or names[-1]!r} or one before it",
                    got=f"{before.name!r} of stage {before.stage or names[-1]!r}",
                )

    def tests_of(self, index: int) -> tuple[Test, ...]:
        """The tests of the model that stage `index` ends with."""
        return tuple(test for test in self.tests if self._place(test) == index)

    def _place(self, test: Test) -> int:
        """The number of the stage whose model `test` tests."""
        names = [stage.name for stage in self.stages]
        return len(names) - 1 if test.stage is None else names.index(test.stage)

    def model_at(self, index: int) -> ActionModelConfig:
        """The model that stage `index` trains: the latest that a stage up to it brought."""
        given = [stage.model for stage in self.stages[: index + 1] if stage.model is not None]
        return given[-1] if given else self.model


Experiment = Recipe | Ensemble
"""What a row of a results table is."""
