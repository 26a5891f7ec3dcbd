"""The number formats a forward pass may run in. Without torch, for those who only offer them."""

from typing import Literal, get_args

Precision = Literal["fp32", "bf16", "fp16"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)
