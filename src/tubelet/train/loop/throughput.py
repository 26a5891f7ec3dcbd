"""How fast training goes, and how much of a device it uses (model FLOPs utilisation)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tubelet.models.cost import count
from tubelet.models.detector import ActionModel
from tubelet.models.memory.gates import GateReport
from tubelet.train.loop.progress import Progress
from tubelet.train.recipe import Stage
from tubelet.train.reporters import StepReport

# Dense bf16/fp16 peak in FLOP/s, from NVIDIA's data sheets (SXM forms).
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "V100": 125e12}


def clip_load(model: ActionModel, stage: Stage, device: torch.device) -> float | None:
    """Share of the device's peak that training on one clip per second takes; None where the peak is
    not known, as on a CPU.

    Forward and backward together are three forward passes, two FLOPs per multiply-add.
    """
    if device.type != "cuda" or stage.precision == "fp32":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((peak for key, peak in _PEAKS.items() if key in name), None)
    if peak is None:
        return None
    spec = stage.input or model.input
    size = stage.clip_hw(model.config)
    return 6 * count(model.config, size=size, frames=spec.frames).macs / peak


class Pace:
    """How fast the loop goes, and how much of its time it waits for data."""

    def __init__(self, first: int, batch: int) -> None:
        self._first, self._batch = first, batch
        self._began, self._waited = time.monotonic(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time inside the block is waiting."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began

    def report(
        self,
        progress: Progress,
        stage: str,
        *,
        loss: float,
        rate: float,
        norm: float,
        load: float | None,
        gates: GateReport | None = None,
    ) -> StepReport:
        """The record of the step just finished. `load`: as `clip_load` gives it."""
        spent = max(time.monotonic() - self._began, 1e-9)
        speed = (progress.step - self._first) / spent
        clips = speed * self._batch
        return StepReport(
            stage=stage,
            step=progress.step,
            steps=progress.steps,
            loss=loss,
            rate=rate,
            gradient_norm=norm,
            clips_per_second=clips,
            data_wait=self._waited / spent,
            eta_s=(progress.steps - progress.step) / speed,
            mfu=None if load is None else clips * load,
            gate_saturation=None if gates is None else gates.saturation,
            gate_spread=None if gates is None else gates.spread,
        )
