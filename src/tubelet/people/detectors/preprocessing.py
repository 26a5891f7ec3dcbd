"""What a detector of `transformers` is shown, where its own processor would need torchvision.

The few lines that a processor's file (`preprocessor_config.json`) asks for: scale, resize,
normalise; and of what comes out, a score and a box for every query. A file that asks for anything
else is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tubelet.errors import InputError
from tubelet.people.detectors.base import Image
from tubelet.types import Floats

FILE = "preprocessor_config.json"
_BILINEAR = 2  # Pillow's number
_DONE = ("do_rescale", "do_resize", "do_normalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainProcessor:
    """Frames as RF-DETR reads them: scaled by `factor`, resized to `hw` bilinearly without a low
    pass, then less `mean` over `std`, as `RfDetrImageProcessor` of transformers 5.23 does."""

    hw: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    factor: float = 1 / 255

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a processor's file. Raises InputError for one that asks for something else."""
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))
            size = asked["size"]
            wrong = [key for key in _DONE if not asked.get(key, True)]
            if asked.get("resample", _BILINEAR) != _BILINEAR:
                wrong.append(f"resample {asked['resample']}")
            if wrong or set(size) - {"height", "width"}:
                raise ValueError(", ".join([*wrong, f"size {size}"]))
            return cls(
                hw=(int(size["height"]), int(size["width"])),
                mean=_three(asked["image_mean"]),
                std=_three(asked["image_std"]),
                factor=float(asked.get("rescale_factor", 1 / 255)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                "cannot prepare frames as this detector wants them",
                where=path,
                expected="height and width, image_mean, image_std; bilinear, scaled, normalised",
                got=repr(error),
            ) from error

    def inputs(self, image: Image) -> dict[str, Tensor]:
        """The model's arguments for one frame u8 `(H, W, 3)`."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        scaled = pixels.float() * self.factor
        small = F.interpolate(scaled, self.hw, mode="bilinear", align_corners=False)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        mask = torch.ones((1, *self.hw), dtype=torch.int64)
        return {"pixel_values": (small - mean) / std, "pixel_mask": mask}


def of_queries(output: Any, column: int) -> tuple[Floats, Floats]:
    """Boxes xyxy `(Q, 4)` in [0, 1] and scores `(Q,)` of one class, one of each query: the class
    is as likely as its own sigmoid says, whatever else the query may show."""
    centre, size = output.pred_boxes[0].float().split(2, dim=-1)
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
    scores = output.logits[0, :, column].float().sigmoid()
    return boxes.cpu().numpy(), scores.cpu().numpy()


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
