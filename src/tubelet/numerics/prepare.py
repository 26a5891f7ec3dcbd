"""A model made ready for a precision: probed, its wrong layers in fp32, and that said in a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tubelet.numerics.choices import Precision, PrecisionChoice
from tubelet.numerics.layers import LayerCall, is_channels_last, keep_in_fp32
from tubelet.numerics.precision import autocast, resolve
from tubelet.numerics.probe import ProbeReport, probe

Calls = Callable[[], Mapping[str, LayerCall]]
Note = Callable[[str], None]


def prepare(
    model: nn.Module,
    calls: Calls,
    *,
    device: torch.device,
    precision: Precision,
    backward: bool,
    note: Note | None = None,
) -> ProbeReport | None:
    """Keep in fp32, until `release`, whatever of `model` is wrong in `precision` on `device`.

    `calls` is evaluated only where there is something to ask: not in fp32. `backward`: whether
    gradients have to be right too. What was found is told to `note`.
    """
    if precision == "fp32":
        return None
    report = probe(
        calls(),
        device=device,
        precision=precision,
        backward=backward,
        channels_last=is_channels_last(model),
    )
    keep_in_fp32(model, report.fp32)
    if note is not None:
        note(str(report))
        if report.slow is not None:
            note(report.slow)
    return report


class TriedAutocast:
    """The context of a model's forward passes, in a precision that is tried before it is used.

    `calls_of` tells the layers that the model calls on an input of some shape. `note` is told once
    what was found; in fp32 there is nothing to find.
    """

    def __init__(
        self,
        model: nn.Module,
        calls_of: Callable[[tuple[int, ...]], Mapping[str, LayerCall]],
        *,
        device: torch.device,
        precision: PrecisionChoice,
        note: Note | None = None,
    ) -> None:
        self._choice, self._precision = precision, resolve(precision, device)
        self._model, self._calls_of = model, calls_of
        self._device, self._note = device, note
        self._tried: set[tuple[int, ...]] = set()

    def __call__(self, x: Tensor) -> torch.autocast:
        """The context for an input `(B, …)`; each size is tried before the first of it."""
        size = tuple(x.shape[1:])
        if size not in self._tried and self._precision != "fp32":
            self._try(self._calls_of(tuple(x.shape)), clips=len(x))
        self._tried.add(size)
        return autocast(self._device, self._precision)

    def _try(self, calls: Mapping[str, LayerCall], *, clips: int) -> None:
        macs = sum(call.macs for call in calls.values()) / max(1, clips)
        self._precision = resolve(self._choice, self._device, macs=macs)
        prepare(
            self._model,
            lambda: calls,
            device=self._device,
            precision=self._precision,
            backward=False,
            note=None if self._tried else self._note,
        )
