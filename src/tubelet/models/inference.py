"""Forward passes of a model in the precision that suits the device, its layers probed first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from tubelet.models.detector import ActionModel
from tubelet.models.folding import folded
from tubelet.models.shapes import calls_of
from tubelet.numerics.choices import PrecisionChoice
from tubelet.numerics.prepare import TriedAutocast


class Inference:
    """A model on a device, ready to run, and `autocast`, the context of its forward passes.

    `model` is the given one in eval mode, its batch norms folded (`folding.folded`); the one given
    is moved to the device and to eval mode, and otherwise stays as it is. Detection, testing and
    the extraction of memory banks all go through here. `note` is called with what was found about
    the model's layers in bf16 or fp16. Raises ConfigError for an unknown precision.
    """

    def __init__(
        self,
        model: ActionModel,
        *,
        device: torch.device,
        precision: PrecisionChoice = "fp32",
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.device = device
        self.model = folded(model.to(device).eval())
        self.autocast = TriedAutocast(
            self.model,
            partial(calls_of, model.config),
            device=device,
            precision=precision,
            note=note,
        )
