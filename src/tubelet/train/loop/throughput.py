"""How much of a device training uses: model FLOPs utilisation."""

from __future__ import annotations

import torch

from tubelet.models.cost import count
from tubelet.models.detector import ActionModel
from tubelet.train.recipe import Stage

# Dense bf16/fp16 peak in FLOP/s, from NVIDIA's data sheets (SXM forms).
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "V100": 125e12}


def clip_load(model: ActionModel, stage: Stage, device: torch.device) -> float | None:
    """Share of the device's peak that training on one clip a second takes; None where the peak is
    not known, as on a CPU.

    Forward and backward together are three forward passes, two FLOPs a multiply-add.
    """
    if device.type != "cuda" or stage.precision == "fp32":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((peak for key, peak in _PEAKS.items() if key in name), None)
    if peak is None:
        return None
    spec = stage.input or model.input
    crop = stage.augment.crop if stage.augment is not None else None
    size = crop or spec.crop or spec.short_side
    return 6 * count(model.config, size=size, frames=spec.frames).macs / peak
