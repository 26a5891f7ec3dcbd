"""A model in the engine that was asked for; its graph is kept in the cache, by its weights."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from tubelet.config import encode
from tubelet.engines.card import FORMAT, GraphCard
from tubelet.engines.choices import ENGINES, EngineChoice
from tubelet.engines.export import BOUND, export_model
from tubelet.engines.graph import Trial, own_hw
from tubelet.engines.runtimes import GraphEngine, OnnxRuntime, OpenVino, Runtime, extra
from tubelet.errors import ConfigError, InputError
from tubelet.files import cache_folder, locked, make_folder, write_text
from tubelet.models.detector import ActionModel
from tubelet.models.inference import Engine, Inference
from tubelet.models.weights import weights_hash
from tubelet.numerics.choices import Precision, PrecisionChoice
from tubelet.numerics.precision import resolve
from tubelet.numerics.processor import processor

GAIN = 1.1
"""How much faster than torch an engine must have been here for `auto` to take it."""
_MODULES: Mapping[EngineChoice, str] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
_CPU = torch.device("cpu")


def engine_for(
    model: ActionModel,
    choice: EngineChoice,
    *,
    precision: PrecisionChoice = "auto",
    note: Callable[[str], None] | None = None,
) -> Engine | None:
    """What runs `model` in torch's place; None: torch itself.

    "auto" is torch, unless `measure` found another engine `GAIN` times faster on this machine and
    it is still installed. The graph is made once for these weights, which takes half a minute to
    minutes, and said in a `note`. Raises InputError for an engine that is not installed or not
    offered, ConfigError for a model that cannot be one graph.
    """
    if choice not in ENGINES:
        raise InputError("unknown engine", expected=", ".join(ENGINES), got=choice)
    if choice == "tensorrt":
        raise InputError(
            "TensorRT is not offered: it needs an NVIDIA GPU, where it could not be tested",
            hint="export an .onnx file and build an engine of it with trtexec",
            arguments=("engine",),
        )
    if choice == "auto":
        choice = fastest(model) if _measured_anything() else "torch"
    if choice == "torch":
        return None
    chosen = _precision(choice, precision)
    extra(_MODULES[choice], name="openvino" if choice == "openvino" else "onnx")
    path = _graph(model, note)
    return open_exported(path, choice, chosen)


def open_exported(
    path: Path, choice: EngineChoice, precision: PrecisionChoice = "auto"
) -> GraphEngine:
    """An exported file in the engine of its kind; an `.onnx` file also in OpenVINO if chosen.

    Raises InputError for an engine that does not read it or is not installed, CheckpointError for a
    file that `engines.export` did not write.
    """
    fitting = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}
    engines = fitting.get(path.suffix.lower(), ())
    if choice == "auto" and engines:
        choice = engines[0]  # type: ignore[assignment]  # one of EngineChoice
    if choice not in engines:
        raise InputError(
            f"{choice} does not run this file",
            where=path,
            expected=" or ".join(engines) or "an exported .onnx or .xml file",
            arguments=("engine",),
        )
    if not path.is_file():
        raise InputError("no such file", where=path)
    chosen = _precision(choice, precision)
    runtime: Runtime
    runtime = OpenVino(path, precision=chosen) if choice == "openvino" else OnnxRuntime(path)
    return GraphEngine(runtime, GraphCard.from_metadata(runtime.metadata, where=path))


def _precision(engine: EngineChoice, precision: PrecisionChoice) -> Precision:
    """Raises ConfigError for one that the engine does not have."""
    if engine == "openvino":
        return resolve(precision, _CPU)
    if precision not in ("auto", "fp32"):
        raise ConfigError(
            "ONNX Runtime computes in the graph's own precision",
            expected="auto or fp32",
            got=precision,
            arguments=("precision",),
        )
    return "fp32"


def _key(model: ActionModel) -> str:
    """Weights, configuration, how answers are read, and what makes graphs of them."""
    told = {"config": encode(model.config), "answers": model.answers.to_header()}
    made_by = f"{FORMAT} {torch.__version__}"
    text = f"{weights_hash(model)} {json.dumps(told, sort_keys=True)} {made_by}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _graph(model: ActionModel, note: Callable[[str], None] | None) -> Path:
    """The graph of these weights, made if it is not in the cache."""
    folder = cache_folder() / "engines"
    make_folder(folder)
    path = folder / f"{_key(model)}.onnx"
    with locked(path.with_suffix(".lock")):
        if not path.is_file():
            if note is not None:
                note("making the model's graph for this engine: once for these weights")
            export_model(model, path, to="onnx")
    return path


def _machine() -> str:
    told = f"{processor()} {torch.get_num_threads()} {torch.__version__}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _measured_anything() -> bool:
    return any((cache_folder() / "engines").glob(f"*-{_machine()}.json"))


def fastest(model: ActionModel) -> EngineChoice:
    """The engine that `measure` found fastest for these weights on this machine, if it is still
    installed; else torch."""
    path = cache_folder() / "engines" / f"{_key(model)}-{_machine()}.json"
    if not path.is_file():
        return "torch"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["fastest"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "invalid record of the engines' speed", where=path, got=error, hint="delete this file"
        ) from error
    return found if find_spec(_MODULES.get(found, "")) is not None else "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpeed:
    """Median wall seconds of a clip in an engine, and the largest difference of a probability from
    torch's in fp32."""

    engine: EngineChoice
    precision: Precision
    seconds: float
    difference: float


def measure(
    model: ActionModel, *, rounds: int = 5, note: Callable[[str], None] | None = None
) -> list[EngineSpeed]:
    """Time every installed engine on a clip of the model's own size, in turn, and remember the
    fastest for `auto` on this machine. torch comes first in the list.

    One that differs from torch in fp32 by more than `BOUND` and twice what torch's own `auto`
    precision does is never taken.
    """
    trial = Trial.of(model, own_hw(model.input), clips=1, people=3)
    truth = Inference(model, device=_CPU).scores(trial.frames, trial.rois, abstain=True)
    ours = resolve("auto", _CPU)
    runners: dict[EngineChoice, tuple[Precision, Inference]] = {
        "torch": (ours, Inference(model, device=_CPU, precision="auto"))
    }
    for name, module in _MODULES.items():
        if find_spec(module) is not None:
            engine = engine_for(model, name, note=note)
            chosen = _precision(name, "auto")
            runners[name] = (chosen, Inference(model, device=_CPU, engine=engine))
    gaps, times = {}, {name: list[float]() for name in runners}
    for turn in range(rounds + 1):  # the first warms up
        for name, (_, inference) in runners.items():
            started = time.perf_counter()
            scores = inference.scores(trial.frames, trial.rois, abstain=True)
            if turn:
                times[name].append(time.perf_counter() - started)
            gaps[name] = (scores - truth).abs().max().item()
    found = [
        EngineSpeed(
            engine=name,
            precision=chosen,
            seconds=statistics.median(times[name]),
            difference=gaps[name],
        )
        for name, (chosen, _) in runners.items()
    ]
    _remember(model, found)
    return found


def best_of(found: list[EngineSpeed]) -> EngineChoice:
    """The fastest that is right, torch unless it gains `GAIN`; `found` begins with torch."""
    own = found[0]
    bound = max(BOUND, 2 * own.difference)
    better = [s for s in found if s.difference <= bound and s.seconds * GAIN <= own.seconds]
    return min(better, key=lambda s: s.seconds).engine if better else own.engine


def _remember(model: ActionModel, found: list[EngineSpeed]) -> None:
    path = cache_folder() / "engines" / f"{_key(model)}-{_machine()}.json"
    rows = {s.engine: [s.precision, s.seconds, s.difference] for s in found}
    write_text(path, json.dumps({"fastest": best_of(found), "measured": rows}))
