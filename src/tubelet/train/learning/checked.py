"""A learner that verifies its precision: layers probed, first gradients compared with fp32."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from tubelet.batch import Batch
from tubelet.files import write_text
from tubelet.models.shapes import calls_of
from tubelet.numerics.choices import Precision
from tubelet.numerics.gradients import Agreement, agreements, gradients_of
from tubelet.numerics.precision import resolve
from tubelet.numerics.prepare import prepare
from tubelet.train.learning.learners import Learner
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Stage
from tubelet.train.run_context import RunContext

Note = Callable[[str], None]
_NAMED = 5  # layers that a warning lists; the file has all


def checked(
    learner: Learner, stage: Stage, models: TiedModels, *, fresh: bool, context: RunContext
) -> Learner:
    """`learner`, verified where the stage does not run in fp32. `fresh`: the stage begins, and
    its first gradients are worth comparing."""
    precision = resolve(stage.precision, context.device)
    context.reporter.note(f"stage {stage.name!r} runs in {precision}")
    if precision == "fp32":
        return learner
    return CheckedLearner(
        learner=learner,
        models=models,
        device=context.device,
        precision=precision,
        note=context.reporter.note,
        compare=fresh,
        log=context.out / f"gradients_{stage.name}.json" if context.world.first else None,
    )


@dataclass(slots=True, kw_only=True)
class CheckedLearner:
    """`learner`, in a precision that is verified first.

    Before the first minibatch of each model its layers are probed for that minibatch's clips, and
    those that are wrong run in fp32 from then on. With `compare`, the gradients of the very first
    minibatch are also computed in fp32, and how far they agree is told to `note` and written to
    `log`, one row a parameter, null where a gradient is not finite; weights, statistics of batch
    norms, banks and the random numbers of the run are not touched by it.
    """

    learner: Learner
    models: TiedModels
    device: torch.device
    precision: Precision
    note: Note
    compare: bool
    log: Path | None = None
    _ready: set[int] = field(default_factory=set)

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        model = self.models.model_of(batch.dataset[0])
        if id(model) not in self._ready:
            self._ready.add(id(model))
            prepare(
                model,
                lambda: calls_of(model.config, tuple(batch.frames.shape)),
                device=self.device,
                precision=self.precision,
                backward=True,
                note=self.note,
            )
        if not self.compare:
            return self.learner.backward(batch, scale=scale)
        self.compare = False
        with _untouched(self.models):
            self.learner.exact().backward(batch, scale=scale)
            exact = gradients_of(self.models)
            self.models.zero_grad(set_to_none=True)
        loss = self.learner.backward(batch, scale=scale)
        self._tell(agreements(exact, gradients_of(self.models)))
        return loss

    def exact(self) -> Learner:
        return self.learner.exact()

    def _tell(self, found: tuple[Agreement, ...]) -> None:
        if self.log is not None:
            rows = [
                {"name": a.name, "ratio": _or_null(a.ratio), "cosine": _or_null(a.cosine)}
                for a in found
            ]
            write_text(self.log, json.dumps(rows, indent=0, allow_nan=False) + "\n")
        if not found:
            return
        far = [a for a in found if a.far]
        cosines = [a.cosine for a in found if a.cosine == a.cosine]
        self.note(
            f"gradients of the first minibatch, {self.precision} against fp32: cosine "
            f"{min(cosines, default=0):.3f} at worst, {median(cosines or [0]):.4f} in the median "
            f"of {len(found)} parameters"
        )
        if far:
            some = ", ".join(map(str, far[:_NAMED])) + (", …" if len(far) > _NAMED else "")
            self.note(
                f"warning: {len(far)} of {len(found)} gradients are far off in {self.precision}: "
                f"{some}; try precision fp32"
            )


def _or_null(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """After the block the model's buffers and torch's random state are restored."""
    before = {name: value.detach().clone() for name, value in model.named_buffers()}
    with torch.random.fork_rng():
        yield
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(before[name])
