"""Models as files for other programs, tried before they are given out."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tubelet.batch import Rois
from tubelet.engines.card import GraphCard
from tubelet.engines.choices import SUFFIXES, FileKind
from tubelet.engines.graph import OUTPUT, Trial, arguments, input_names, own_hw, traced
from tubelet.engines.runtimes import GraphEngine, OnnxRuntime, OpenVino, extra
from tubelet.errors import ConfigError, InputError
from tubelet.files import atomic_path, make_folder
from tubelet.models.detector import ActionModel
from tubelet.models.inference import Inference

if TYPE_CHECKING:
    from torch.export import ExportedProgram

BOUND = 1e-3
"""Probabilities of an exported graph that differ from torch's by more are refused."""
_LARGEST = 2_000_000_000  # bytes of one protocol buffer, which an .onnx file is


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A file that was written: its card, and the largest difference of a probability from torch's
    in fp32, over clips of noise."""

    path: Path
    card: GraphCard
    difference: float


def export_model(
    model: ActionModel,
    path: Path,
    *,
    to: FileKind,
    licence: str | None = None,
    origin: tuple[str, ...] = (),
) -> Exported:
    """Write `model` to `path` as one graph: frames and boxes in, probabilities out.

    The batch and the number of people are free; the picture's size too where the network can be
    traced so, else it is the model's own. The graph is run before it appears at `path`. Raises
    ConfigError for a model that cannot be one graph or whose graph differs from torch by more than
    `BOUND`, InputError without the extra or for a path of another suffix.
    """
    if path.suffix.lower() != SUFFIXES[to]:
        raise InputError("the file's name has another suffix", where=path, expected=SUFFIXES[to])
    if to != "torch":
        extra("onnxscript", name="onnx")
    if to == "openvino":
        extra("openvino", name="openvino")
    program, any_size = _traced(model)
    card = GraphCard(
        config=model.config,
        answers=model.answers,
        licence=licence,
        origin=origin,
        any_size=any_size,
        hw=own_hw(model.input),
    )
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f"graph{SUFFIXES[to]}"
        if to == "torch":
            torch.export.save(program, draft, extra_files=card.to_metadata())
        else:
            _write_onnx(program, draft.with_suffix(".onnx"), card, input_names(model))
        if to == "openvino":
            ov = extra("openvino", name="openvino")
            graph = ov.Core().read_model(draft.with_suffix(".onnx"))  # its metadata stays with it
            ov.save_model(graph, draft, compress_to_fp16=False)
        difference = _difference(model, draft, card, program if to == "torch" else None)
        if not difference <= BOUND:
            raise ConfigError(
                "the exported graph does not compute what the model computes",
                expected=f"probabilities within {BOUND}",
                got=difference,
                hint="run the model in torch, and report this",
            )
        _place(draft, path)
    return Exported(path=path, card=card, difference=difference)


def _traced(model: ActionModel) -> tuple[ExportedProgram, bool]:
    try:
        return traced(model), True
    except ConfigError:
        if model.config.memory is not None:
            raise
        return traced(model, any_size=False), False


def _write_onnx(
    program: ExportedProgram, path: Path, card: GraphCard, names: tuple[str, ...]
) -> None:
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    with _quiet():
        written = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            optimize=False,
            input_names=list(names),
            output_names=[OUTPUT],
        )
        assert written is not None  # with dynamo it is a program
        written.model.metadata_props.update(card.to_metadata())
        if size > _LARGEST:
            raise InputError(
                "the model is too large for one .onnx file",
                expected=f"at most {_LARGEST:,} bytes",
                got=f"{size:,}",
            )
        written.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns of what it does not need: torchvision, its own coming changes."""
    import logging

    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _difference(
    model: ActionModel, path: Path, card: GraphCard, program: ExportedProgram | None
) -> float:
    """Largest difference of a probability from torch's on two inputs unlike the traced one."""
    inference = Inference(model, device=torch.device("cpu"))
    own = card.hw
    sizes = [(64, 96), (128, 96)] if card.any_size else [own, own]
    worst = 0.0
    engine = None if program else GraphEngine(_runtime(path), card)
    for hw, people in zip(sizes, (1, 5), strict=True):
        trial = Trial.of(model, hw, clips=1 if people == 1 else 2, people=people)
        rois: Rois | None = trial.rois if model.task == "detection" else None
        with torch.no_grad():
            truth = inference.scores(trial.frames, rois, abstain=True)
            if engine is not None:
                found = engine.scores(trial.frames, rois)
            else:
                assert program is not None
                found = program.module()(*arguments(input_names(model), trial.frames, rois))
        gap = (found - truth).abs().max().item()
        worst = max(worst, gap if gap == gap else float("inf"))  # NaN is no small difference
    return worst


def _runtime(path: Path) -> Any:
    return OpenVino(path) if path.suffix == ".xml" else OnnxRuntime(path)


def _place(draft: Path, path: Path) -> None:
    """The finished file at its path, and an .xml file's weights beside it."""
    make_folder(path.parent)
    pairs = [(draft, path)]
    if path.suffix.lower() == ".xml":
        pairs.insert(0, (draft.with_suffix(".bin"), path.with_suffix(".bin")))
    for made, target in pairs:
        with atomic_path(target) as part:
            shutil.copyfile(made, part)
