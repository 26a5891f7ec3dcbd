"""The number formats a forward pass may run in."""

from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
