"""Which number format `auto` is on a device, and the context in which a forward pass has it."""

from __future__ import annotations

import torch

from tubelet.errors import ConfigError
from tubelet.numerics.choices import PRECISIONS, Precision, PrecisionChoice
from tubelet.numerics.processor import processor

_TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


WORTH_WHILE = 1e8
"""Multiply-adds of a clip from which bf16 pays: below, casts and dispatch take what it gains. The
smallest of our networks (0.4·10⁹) take 0.5–0.7 of their fp32 time with AVX512_BF16."""


def resolve(
    choice: PrecisionChoice, device: torch.device, *, macs: float | None = None
) -> Precision:
    """What `choice` means on `device`; `auto` is the fastest that is right.

    That is bf16 where the hardware multiplies it: CUDA from compute capability 8, x86 processors
    with AVX512_BF16 or AMX. Elsewhere it is fp32: without bf16 units a processor takes 1.6 to 3.3
    times as long for bf16, and on Arm it has not been measured. `macs`: multiply-adds of a clip;
    below `WORTH_WHILE` `auto` is fp32. Raises ConfigError for another word.
    """
    if choice not in PRECISIONS:
        raise ConfigError("unknown precision", expected=", ".join(PRECISIONS), got=choice)
    if choice != "auto":
        return choice
    small = macs is not None and macs < WORTH_WHILE
    return "bf16" if has_bf16(device) and not small else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is worth while on `device`: done in hardware, and measured to be faster."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    here = processor()
    return device.type == "cpu" and here.has_bf16 and here.architecture in ("x86_64", "AMD64")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a forward pass on `device` runs in `precision`."""
    # In fp32 the type is not used, but autocast warns of one that it does not know.
    kind = torch.bfloat16 if precision == "fp32" else _TYPES[precision]
    return torch.autocast(device.type, kind, enabled=precision != "fp32")
