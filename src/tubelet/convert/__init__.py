"""Foreign checkpoints become ours: one key table for each family of public code, and questions
about what their tensors do not determine."""

from tubelet.convert.convert import Converted, convert, convert_state, recognise
from tubelet.convert.facts import Facts, Question, Said
from tubelet.convert.image import ImageStart, start_from_image

__all__ = [
    "Converted",
    "Facts",
    "ImageStart",
    "Question",
    "Said",
    "convert",
    "convert_state",
    "recognise",
    "start_from_image",
]
