"""What a person detector is: any callable from an upright RGB frame to its People."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tubelet.types import People, ShapeError

Image = npt.NDArray[np.uint8]


@runtime_checkable
class PersonDetector(Protocol):
    """`(image u8 (H, W, 3) RGB, upright, square pixels) -> People`, boxes in [0, 1]."""

    def __call__(self, image: Image) -> People: ...


def check_image(image: npt.NDArray[Any]) -> None:
    """Raise ShapeError unless `image` is u8 `(H, W, 3)` with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ShapeError(
            "a person detector reads one RGB image",
            expected="uint8 (H, W, 3)",
            got=f"{image.dtype} {image.shape}",
        )
