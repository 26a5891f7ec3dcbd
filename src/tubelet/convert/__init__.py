"""Foreign checkpoints become ours: one key table for each family of public code."""

from tubelet.convert.convert import Converted, convert, convert_state, recognise

__all__ = ["Converted", "convert", "convert_state", "recognise"]
