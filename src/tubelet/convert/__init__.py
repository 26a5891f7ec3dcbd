"""Foreign checkpoints become ours: one key table for each family of public code."""

from tubelet.convert.convert import Converted, convert, convert_state, recognise
from tubelet.convert.image import ImageStart, start_from_image

__all__ = [
    "Converted",
    "ImageStart",
    "convert",
    "convert_state",
    "recognise",
    "start_from_image",
]
