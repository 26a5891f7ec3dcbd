"""ONNX Runtime and OpenVINO behind one call; each is an extra, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tubelet.batch import Rois
from tubelet.engines.card import GraphCard
from tubelet.engines.graph import arguments, frame_type
from tubelet.errors import CheckpointError, InputError, ShapeError
from tubelet.files import cache_folder
from tubelet.numerics.choices import Precision


class Runtime(Protocol):
    """A graph that an engine has loaded. `inputs`: their names, in order."""

    inputs: Sequence[str]
    metadata: Mapping[str, str]

    def run(self, values: Sequence[Any]) -> Any:
        """Arrays of the inputs → the array of scores."""
        ...


def extra(module: str, *, name: str) -> Any:
    """A module of the extra `name`. Raises InputError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} is not installed",
            got=error,
            hint=f"pip install 'tubelet[{name}]'",
        ) from error


class OnnxRuntime:
    """An `.onnx` file in ONNX Runtime, on the processor, in the precision of the graph."""

    def __init__(self, path: Path) -> None:
        ort = extra("onnxruntime", name="onnx")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        # Spinning threads of two processes wait for one another.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base
            raise _unreadable(path, "ONNX Runtime", error) from error
        self.inputs: Sequence[str] = [one.name for one in self._session.get_inputs()]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, values: Sequence[Any]) -> Any:
        """Arrays of the inputs → the array of scores."""
        return self._session.run(None, dict(zip(self.inputs, values, strict=True)))[0]


class OpenVino:
    """An `.xml` or `.onnx` file in OpenVINO, on the processor. What it compiled is kept in the
    cache folder, by its own key of graph and machine."""

    def __init__(self, path: Path, *, precision: Precision = "fp32") -> None:
        ov = extra("openvino", name="openvino")
        options = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(cache_folder() / "openvino"),
        }
        try:
            model = ov.Core().read_model(path)
            self._compiled = ov.Core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise _unreadable(path, "OpenVINO", error) from error
        self.inputs: Sequence[str] = [port.get_any_name() for port in model.inputs]
        self.metadata: Mapping[str, str] = graph_metadata(model)

    def run(self, values: Sequence[Any]) -> Any:
        """Arrays of the inputs → the array of scores."""
        return self._compiled(list(values))[0]


def graph_metadata(model: Any) -> dict[str, str]:
    """An OpenVINO model's metadata, where it keeps what an `.onnx` file said."""
    info = model.get_rt_info()
    if "framework" not in info:
        return {}
    return {key: str(value.value) for key, value in info["framework"].items()}


def _unreadable(path: Path, engine: str, error: object) -> CheckpointError:
    said = str(error).strip().splitlines() or [""]
    return CheckpointError(f"{engine} cannot read this graph", where=path, got=said[-1][:200])


class GraphEngine:
    """Probabilities from a graph in a runtime, as `ActionModel.scores` of its logits gives them."""

    def __init__(self, runtime: Runtime, card: GraphCard) -> None:
        self.card = card
        self._runtime = runtime
        self._kind = frame_type(card.config.input)

    def scores(self, frames: Tensor, rois: Rois | None) -> Tensor:
        """Clips `(B, 3, T, H, W)` and people → `(R, K)` on the CPU; of a classifier `(B, K)`.

        Raises ShapeError for pictures of another size than a graph of one size takes.
        """
        card, hw = self.card, (int(frames.shape[3]), int(frames.shape[4]))
        if not card.any_size and hw != card.hw:
            raise ShapeError(
                "this graph takes pictures of one size",
                expected=f"{card.hw[1]}x{card.hw[0]}",
                got=f"{hw[1]}x{hw[0]}",
                hint="run the model in torch, or give films of that shape",
            )
        if rois is not None and rois.boxes_px.shape[0] == 0:
            return torch.zeros(0, len(card.config.labels))
        given = arguments(self._runtime.inputs, frames.to(self._kind), rois)
        values = [np.ascontiguousarray(one.cpu().numpy()) for one in given]
        return torch.from_numpy(np.array(self._runtime.run(values), np.float32))
