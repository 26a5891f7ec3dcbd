"""A YOLOX exported to ONNX as a person detector (Ge et al., 2021; extra `tubelet[onnx]`).

The files of the project's own export (`tools/export_onnx.py`), release 0.1.1rc0 and later: one
picture BGR in 0 to 255, scaled into a square's upper left corner, grey 114 around it; out come
centre, size, objectness and 80 classes for every cell of strides 8, 16 and 32, undecoded.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from tubelet.boxes import clip_unit, nms
from tubelet.errors import CheckpointError, ConfigError, InputError
from tubelet.people.detectors.base import Image, NamedDetector, check_image
from tubelet.types import Floats, People

PREFIX = "yolox:"
_STRIDES = (8, 16, 32)
_GREY = 114
_PERSON = 0  # of COCO's 80 classes, in their order
_COLUMNS = 5 + 80


class YoloxDetector(NamedDetector):
    """A PersonDetector around a YOLOX file, run by ONNX Runtime on the CPU.

    `nms_iou`: of two boxes that overlap by more the worse is dropped. Raises InputError when
    `onnxruntime` is not installed or the file is not there, CheckpointError for a file of another
    kind, ConfigError for a device that is not the CPU.
    """

    spelling: ClassVar[str] = f"{PREFIX}<file>.onnx"
    summary: ClassVar[str] = "YOLOX as its project exports it to ONNX (extra tubelet[onnx])"

    @classmethod
    def claims(cls, name: str) -> bool:
        return name.startswith(PREFIX)

    @classmethod
    def named(cls, name: str, *, threshold: float | None, device: torch.device | str) -> Self:
        path = name.removeprefix(PREFIX)
        if threshold is None:
            return cls(path, device=device)
        return cls(path, threshold=threshold, device=device)

    def __init__(
        self,
        path: Path | str,
        *,
        threshold: float = 0.3,
        nms_iou: float = 0.6,
        max_people: int = 100,
        device: torch.device | str = "cpu",
    ) -> None:
        if not (0 <= threshold <= 1 and 0 <= nms_iou <= 1) or max_people < 1:
            raise ConfigError(
                "a person detector needs thresholds in [0, 1] and one person at least",
                got=f"threshold {threshold}, nms_iou {nms_iou}, max_people {max_people}",
            )
        if torch.device(device).type != "cpu":
            raise ConfigError("YOLOX runs on the CPU", got=device, arguments=("device",))
        self.name = f"{PREFIX}{path}"
        self.threshold, self.nms_iou, self.max_people = threshold, nms_iou, max_people
        self._session = _session(Path(path))
        self._input, self._side = _square(self._session, Path(path))
        self._corners, self._strides = _cells(self._side)

    def __call__(self, image: Image) -> People:
        """People of one upright RGB frame u8 `(H, W, 3)`, best first, boxes in [0, 1]."""
        check_image(image)
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        hw = max(1, int(height * scale)), max(1, int(width * scale))
        pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None]
        small = F.interpolate(pixels.float(), hw, mode="bilinear").round()
        square = F.pad(small, (0, self._side - hw[1], 0, self._side - hw[0]), value=_GREY)
        found: Floats = self._session.run(None, {self._input: square.numpy()})[0][0]
        scores = found[:, 4] * found[:, 5 + _PERSON]
        likely = np.flatnonzero(scores >= self.threshold)
        # NMS is quadratic: a thousand candidates bound it, far more than people ever need.
        likely = likely[np.argsort(-scores[likely], kind="stable")][:1000]
        shown = np.array([hw[1], hw[0]] * 2, np.float32)
        boxes, scores = clip_unit(self._decoded(found[likely], likely) / shown), scores[likely]
        kept = nms(boxes, scores, self.nms_iou)[: self.max_people]
        return People.of(boxes[kept], scores[kept])

    def _decoded(self, found: Floats, cells: npt.NDArray[np.intp]) -> Floats:
        """Boxes xyxy in pixels of the square, of those cells' outputs."""
        stride = self._strides[cells, None]
        centre = (found[:, :2] + self._corners[cells]) * stride
        # A wild output would overflow; e¹⁰ cells of 8 pixels are wider than any square.
        half = np.exp(found[:, 2:4].clip(max=10)) * stride / 2
        corners: Floats = np.concatenate([centre - half, centre + half], axis=1)
        return corners


def _session(path: Path) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(
            "YOLOX needs an optional extra",
            expected="the package onnxruntime",
            got=error,
            hint='pip install "tubelet[onnx]", or use person_small',
            arguments=("people", "detector"),
        ) from error
    if not path.is_file():
        raise InputError(
            "no such file of a YOLOX",
            where=path,
            hint="`tubelet people list yolox` says where they are published",
            arguments=("people", "detector"),
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common base but this
        raise CheckpointError(
            "ONNX Runtime cannot read the file", where=path, got=str(error).splitlines()[0]
        ) from error


def _square(session: Any, path: Path) -> tuple[str, int]:
    """The input's name and side. Raises CheckpointError unless the file is a YOLOX's of COCO."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    side = shape[2] if len(shape) == 4 and isinstance(shape[2], int) else 0
    cells = sum((side // stride) ** 2 for stride in _STRIDES)
    wanted = [1, 3, side, side], [1, cells, _COLUMNS]
    if not side or side % 32 or (shape, list(outputs[0].shape)) != wanted:
        raise CheckpointError(
            "not a YOLOX of COCO's 80 classes as its project exports it",
            where=path,
            expected=f"one picture (1, 3, S, S) to (1, cells, {_COLUMNS}), undecoded",
            got=f"{[i.shape for i in inputs]} to {[o.shape for o in outputs]}",
        )
    return str(inputs[0].name), side


def _cells(side: int) -> tuple[Floats, Floats]:
    """Column and row `(C, 2)` of every cell, and its stride `(C,)`, in the order of the output."""
    corners, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: side // stride, : side // stride]
        corners.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
