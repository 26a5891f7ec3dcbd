"""`person_small`: our own anchor-free person detector, small enough to ship inside the package.

Every cell of strides 8, 16 and 32 says whether a person is there and how far the four sides of the
box lie from the cell's centre, in the manner of FCOS (Tian et al., ICCV 2019). Which network says
so, and how it wants to be shown a frame, stands in the header of its weights file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tubelet.boxes import clip_unit, nms, short_side_hw
from tubelet.checkpoints import read_checkpoint
from tubelet.config import decode, encode
from tubelet.errors import CheckpointError, ConfigError, ShapeError
from tubelet.numerics.choices import PrecisionChoice
from tubelet.numerics.layers import LayerCall, layer_calls
from tubelet.numerics.prepare import TriedAutocast
from tubelet.people.detectors.base import Image, NamedDetector, check_image
from tubelet.people.detectors.dense import STRIDES, DenseBoxes
from tubelet.people.detectors.efficient import EfficientPersonConfig, EfficientPersonNet
from tubelet.people.detectors.residual import SmallPersonConfig, SmallPersonNet
from tubelet.types import Floats, People

KIND = "person_small"
PADDING = 114  # the grey around pictures, in training too
PersonNetConfig = SmallPersonConfig | EfficientPersonConfig
PersonNet = SmallPersonNet | EfficientPersonNet
WEIGHTS = Path(__file__).parents[2] / "weights" / "person_small.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDetectorConfig:
    """How `SmallPersonDetector` reads a frame and what it keeps.

    The frame is scaled to `short_side` pixels, its long side to `long_side` at most. Boxes that
    score under `threshold` or overlap a better one by more than `nms_iou` are dropped, and at
    most `max_people` are kept.
    """

    short_side: int = 192
    long_side: int = 384
    threshold: float = 0.3
    nms_iou: float = 0.6
    max_people: int = 100

    def __post_init__(self) -> None:
        if not (0 <= self.threshold <= 1 and 0 <= self.nms_iou <= 1):
            raise ConfigError("thresholds of a person detector lie in [0, 1]", got=self)
        if min(self.short_side, self.max_people) < 1 or self.long_side < self.short_side:
            raise ConfigError(
                "a person detector needs short_side <= long_side and one person at least", got=self
            )


class SmallPersonDetector(NamedDetector):
    """A PersonDetector around a SmallPersonNet; also takes several frames of one size at once.

    `precision`: of the convolutions; "auto" is the fastest that is right on the device.

    `SmallPersonDetector.load()` reads the weights that ship in the package.
    """

    spelling: ClassVar[str] = f"{KIND}, or a .safetensors file of a small detector"
    summary: ClassVar[str] = "our own: in the package, or trained by yourself"

    def __init__(
        self,
        net: PersonNet,
        *,
        config: SmallDetectorConfig | None = None,
        device: torch.device | str = "cpu",
        precision: PrecisionChoice = "auto",
    ) -> None:
        self.config = config or SmallDetectorConfig()
        self.threshold, self.name = self.config.threshold, KIND
        self.device = torch.device(device)
        self._net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._autocast = TriedAutocast(
            self._net, partial(calls_of, self._net), device=self.device, precision=precision
        )

    @classmethod
    def claims(cls, name: str) -> bool:
        return name == KIND or name.endswith(".safetensors")

    @classmethod
    def named(cls, name: str, *, threshold: float | None, device: torch.device | str) -> Self:
        found = cls.load(WEIGHTS if name == KIND else name, threshold=threshold, device=device)
        found.name = name
        return found

    @classmethod
    def load(
        cls,
        path: Path | str = WEIGHTS,
        *,
        config: SmallDetectorConfig | None = None,
        threshold: float | None = None,
        device: torch.device | str = "cpu",
        precision: PrecisionChoice = "auto",
    ) -> Self:
        """A detector from a checkpoint, which reads frames as its header says unless `config` does.

        `threshold` replaces the one of either. Raises CheckpointError if the file holds something
        else.
        """
        header, state = read_checkpoint(Path(path))
        model, reading = config_from_header(header, Path(path))
        net = model.build()
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                "the weights do not fit their person detector's configuration",
                where=path,
                got=str(error).splitlines()[-1].strip(),
            ) from error
        config = config or reading
        if threshold is not None:
            config = replace(config, threshold=threshold)
        return cls(net, config=config, device=device, precision=precision)

    def __call__(self, image: Image) -> People:
        return self.batch([image])[0]

    @torch.inference_mode()
    def batch(self, images: Sequence[Image]) -> list[People]:
        """People of each frame; frames `(H, W, 3)` u8 must share one size."""
        if not images:
            return []
        for image in images:
            check_image(image)
        if len({image.shape for image in images}) > 1:
            raise ShapeError(
                "frames of a batch differ in size", got=sorted({i.shape for i in images})
            )
        resized_hw = short_side_hw(
            images[0].shape[:2], self.config.short_side, self.config.long_side
        )
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        dense = self._forward(_fit(pixels, resized_hw).to(self.device))
        scores = dense.logits.sigmoid().cpu().numpy()
        height, width = resized_hw
        boxes = dense.boxes_px.cpu().numpy() / np.array([width, height] * 2, np.float32)
        return [self._keep(b, s) for b, s in zip(boxes, scores, strict=True)]

    def _forward(self, pixels: Tensor) -> DenseBoxes:
        with self._autocast(pixels):
            out: DenseBoxes = self._net(pixels)
        return out

    def _keep(self, boxes: Floats, scores: Floats) -> People:
        likely = np.flatnonzero(scores >= self.config.threshold)
        # NMS is quadratic: a thousand candidates bound it, far more than people ever need.
        likely = likely[np.argsort(-scores[likely], kind="stable")][:1000]
        boxes, scores = clip_unit(boxes[likely]), scores[likely]
        kept = nms(boxes, scores, self.config.nms_iou)[: self.config.max_people]
        return People.of(boxes[kept], scores[kept])


def calls_of(net: PersonNet, pictures_shape: tuple[int, ...]) -> dict[str, LayerCall]:
    """The layers that `net` calls on pictures u8 of `pictures_shape` (B, 3, H, W)."""
    twin = copy.deepcopy(net).to("meta")
    pictures = torch.zeros(pictures_shape, dtype=torch.uint8, device="meta")
    return layer_calls(twin, lambda: twin(pictures))


def config_from_header(
    header: Mapping[str, Any], path: Path
) -> tuple[PersonNetConfig, SmallDetectorConfig]:
    """The network's shape and how it reads a frame, out of a checkpoint header.

    Files from before `reading` stood there mean its defaults. Raises CheckpointError if the file
    is no person detector's.
    """
    if header.get("kind") != KIND or "model" not in header:
        raise CheckpointError(
            "not a small person detector's weights file",
            where=path,
            expected=f"kind {KIND!r} and its model",
            got=header.get("kind", "no kind"),
        )
    model: PersonNetConfig = decode(PersonNetConfig, header["model"], where=str(path))  # type: ignore[arg-type]
    if "reading" not in header:
        return model, SmallDetectorConfig()
    return model, decode(SmallDetectorConfig, header["reading"], where=str(path))


def header_of(model: PersonNetConfig, reading: SmallDetectorConfig | None = None) -> dict[str, Any]:
    """The part of a checkpoint header that `load` needs; `config_from_header` reads it back."""
    return {
        "kind": KIND,
        "model": encode(model),
        "reading": encode(reading or SmallDetectorConfig()),
    }


def _fit(pixels: Tensor, resized_hw: tuple[int, int]) -> Tensor:
    """Scale `(B, 3, H, W)` u8 and pad right and below, in the mean grey, to whole coarse cells."""
    if tuple(pixels.shape[2:]) != resized_hw:
        pixels = F.interpolate(pixels, resized_hw, mode="bilinear", antialias=True)
    bottom, right = (-side % STRIDES[-1] for side in resized_hw)
    return F.pad(pixels, (0, right, 0, bottom), value=PADDING)
