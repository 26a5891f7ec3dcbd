"""What a person detector is: any callable from an upright RGB frame to its People.

One that can also be chosen by name, on the command line too, is a `NamedDetector`: a class in one
file. Listed in this folder's `__init__` or only imported, both work alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from tubelet.errors import ShapeError
from tubelet.types import People

if TYPE_CHECKING:
    import torch

Image = npt.NDArray[np.uint8]


@runtime_checkable
class PersonDetector(Protocol):
    """`(image u8 (H, W, 3) RGB, upright, square pixels) -> People`, boxes in [0, 1]."""

    def __call__(self, image: Image) -> People: ...


class ThresholdedDetector(PersonDetector, Protocol):
    """A PersonDetector that says its name and the least score of the people it answers with."""

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float: ...


class NamedDetector(ABC):
    """A person detector that can be chosen by name.

    `spelling`: how its names look, with what varies in angle brackets: "hf:<model id>". `summary`:
    what it is in plain words, a line without a full stop. `name`: the one that it was chosen by,
    which results record. `threshold`: the least score of the people it answers with.
    """

    name: str = ""
    threshold: float = 0.0
    spelling: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def claims(cls, name: str) -> bool:
        """Whether `name` means a detector of this class."""

    @classmethod
    @abstractmethod
    def named(cls, name: str, *, threshold: float | None, device: torch.device | str) -> Self:
        """The detector of a name that the class claims; `threshold` replaces its own minimum score.
        Raises InputError if it is unavailable."""

    @abstractmethod
    def __call__(self, image: Image) -> People:
        """People of one upright RGB frame u8 `(H, W, 3)`, best first, boxes in [0, 1]."""


def check_image(image: npt.NDArray[Any]) -> None:
    """Raise ShapeError unless `image` is u8 `(H, W, 3)` with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ShapeError(
            "a person detector reads one RGB image",
            expected="uint8 (H, W, 3)",
            got=f"{image.dtype} {image.shape}",
        )
