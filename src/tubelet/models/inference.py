"""Forward passes of a model in the precision that suits the device, its layers probed first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from tubelet.batch import Rois
from tubelet.errors import ConfigError
from tubelet.models.detector import ActionModel
from tubelet.models.folding import folded
from tubelet.models.shapes import calls_of
from tubelet.numerics.choices import PrecisionChoice
from tubelet.numerics.prepare import TriedAutocast


class Engine(Protocol):
    """Whatever gives a model's probabilities in torch's place."""

    def scores(self, frames: Tensor, rois: Rois | None) -> Tensor:
        """Clips and their people → probabilities `(R, K)`, of a classifier `(B, K)`, on the CPU, as
        detection shows them (`ActionModel.scores` with `abstain`)."""
        ...


class Inference:
    """A model on a device, ready to run, and `autocast`, the context of its forward passes.

    `model` is the given one in eval mode, its batch norms folded (`folding.folded`); the one given
    is moved to the device and to eval mode, and otherwise stays as it is. Detection, testing and
    the extraction of memory banks all go through here. `note` is called with what was found about
    the model's layers in bf16 or fp16. With an `engine` the `scores` come from there; `model` may
    then be on the meta device. Raises ConfigError for an unknown precision, and for an engine of a
    model with memory, which needs the maps between.
    """

    def __init__(
        self,
        model: ActionModel,
        *,
        device: torch.device,
        precision: PrecisionChoice = "fp32",
        note: Callable[[str], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.device, self.engine = device, engine
        if engine is not None:
            if model.config.memory is not None:
                raise ConfigError(
                    "a model with memory runs in torch only: it scores a clip with its neighbours",
                    got=type(model.config.memory).__name__,
                )
            self.model = model.eval()
        else:
            self.model = folded(model.to(device).eval())
        self.autocast = TriedAutocast(
            self.model,
            partial(calls_of, model.config),
            device=device,
            precision=precision,
            note=note,
        )

    @torch.inference_mode()
    def scores(self, frames: Tensor, rois: Rois | None, *, abstain: bool = False) -> Tensor:
        """Clips `(B, 3, T, H, W)` and their people on the device → probabilities `(R, K)`, of a
        classifier `(B, K)`, in fp32 on the CPU. `abstain`: as `ActionModel.scores` has it; an
        engine always does."""
        if self.engine is not None:
            return self.engine.scores(frames, rois)
        with self.autocast(frames):
            logits = self.model(frames, rois)
        return self.model.scores(logits, abstain=abstain).cpu()
