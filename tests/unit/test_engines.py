"""Exported graphs score as torch does, say what they are, and are refused where they cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.test_heads_matrix import config_of
from torch import Tensor

import tubelet
from tubelet.batch import Rois
from tubelet.engines.card import GraphCard
from tubelet.engines.export import BOUND, export_model
from tubelet.engines.graph import Trial, frame_type, traced
from tubelet.engines.prepared import EngineSpeed, best_of, engine_for, open_exported
from tubelet.errors import CheckpointError, ConfigError, InputError, ShapeError
from tubelet.media.writer import VideoWriter
from tubelet.models.backbones.slowfast import evenly_spread
from tubelet.models.detector import ActionModel
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import TemporalRelationHeadConfig
from tubelet.models.inference import Inference
from tubelet.models.weights import save_model
from tubelet.types import InputSpec, Key, People, Preprocessing

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_scores.py"


def model_of(backbone: str = "fast", head: HeadConfig | None = None) -> ActionModel:
    torch.manual_seed(0)
    model = config_of(backbone, head or LinearHeadConfig(resolution=3), "alone").build().eval()
    for parameter in model.parameters():  # scores that differ from one another
        if parameter.ndim < 2:
            torch.nn.init.uniform_(parameter, 0.2, 1.0)
    torch.nn.init.normal_(model.head.get_parameter("classifier.weight"), std=1.0)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActionModel, Path]:
    """A small network with relations between people, so that a person's clip matters, as .onnx."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    head = TemporalRelationHeadConfig(width=8, heads=2, mlp=1, resolution=3)
    model = model_of(head=head)
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    made = export_model(model, path, to="onnx", licence="CC-BY-4.0", origin=("from a test",))
    assert made.difference <= BOUND
    return model, path


def torch_scores(model: ActionModel, trial: Trial) -> Tensor:
    return Inference(model, device=torch.device("cpu")).scores(
        trial.frames, trial.rois, abstain=True
    )


def test_indices_of_the_slow_pathway_are_numbers_and_torchs_own() -> None:
    for alpha in (1, 2, 4, 8, 16):
        for frames in range(alpha, 513, alpha):
            count = frames // alpha
            truth = torch.linspace(0, frames - 1, count).long().tolist()
            assert evenly_spread(frames, count) == truth, (frames, alpha)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("clips, people, hw", [(1, 1, (64, 64)), (3, 7, (48, 80))])
def test_scores_are_torchs_for_any_batch_people_and_size(
    exported: tuple[ActionModel, Path],
    engine: str,
    clips: int,
    people: int,
    hw: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(engine)
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path))
    model, path = exported
    trial = Trial.of(model, hw, clips=clips, people=people)
    graph = open_exported(path, engine, "fp32")  # type: ignore[arg-type]
    truth = torch_scores(model, trial)
    assert truth.std() > 0.01  # the comparison means something
    torch.testing.assert_close(graph.scores(trial.frames, trial.rois), truth, atol=1e-5, rtol=0)
    nobody = Rois(
        boxes_px=torch.zeros(0, 4), boxes_norm=torch.zeros(0, 4), clip=torch.zeros(0).long()
    )
    assert graph.scores(trial.frames, nobody).shape == (0, 2)


def test_the_file_says_classes_input_licence_and_source(exported: tuple[ActionModel, Path]) -> None:
    model, path = exported
    graph = open_exported(path, "auto")
    assert graph.card == GraphCard(
        config=model.config, licence="CC-BY-4.0", origin=("from a test",), hw=(32, 32)
    )
    told = graph.card.to_metadata()
    assert json.loads(told["classes"]) == ["a", "b"]
    assert json.loads(told["input"])["frames"] == 8
    assert GraphCard.from_metadata(told, where="x") == graph.card
    with pytest.raises(CheckpointError, match="not exported by tubelet"):
        GraphCard.from_metadata({}, where="x")
    with pytest.raises(CheckpointError, match="invalid metadata"):
        GraphCard.from_metadata({"tubelet": "{}"}, where="x")


def test_an_exported_file_detects_as_its_weights_do(
    exported: tuple[ActionModel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    model, path = exported
    film = tmp_path / "film.mp4"
    dice = np.random.default_rng(0)
    with VideoWriter(film, fps=10, hw=(48, 64)) as writer:
        for _ in range(20):
            writer.write(dice.integers(0, 256, (48, 64, 3), np.uint8))
    weights = tmp_path / "model.safetensors"
    save_model(weights, model)
    boxes = People.of([[0.1, 0.1, 0.5, 0.9], [0.4, 0.0, 1.0, 0.8]])
    people = tubelet.GivenPeople([(Key(video="film", time_ms=t), boxes) for t in (500, 1000)])
    own = list(tubelet.load(weights, precision="fp32").detect(film, people=people))
    detector = tubelet.load(path)
    graphs = list(detector.detect(film, people=people))
    assert len(own) == len(graphs) > 1
    for one, other in zip(own, graphs, strict=True):
        np.testing.assert_allclose(other.action_scores, one.action_scores, atol=1e-5)
    assert detector.origin == ("from a test",)
    with pytest.raises(InputError, match="no weights to save"):
        detector.save_pretrained(tmp_path / "saved")


def test_the_example_needs_neither_tubelet_nor_torch(
    exported: tuple[ActionModel, Path], tmp_path: Path
) -> None:
    model, path = exported
    trial = Trial.of(model, (48, 64), clips=1, people=2)
    np.save(tmp_path / "clip.npy", trial.frames[0].permute(1, 2, 3, 0).numpy())
    boxes = [",".join(f"{v:.4f}" for v in box) for box in trial.rois.boxes_px.tolist()]
    program = (
        "import runpy, sys\nsys.modules['torch'] = sys.modules['tubelet'] = None\n"
        "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, EXAMPLE, path, tmp_path / "clip.npy", *boxes],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line, row in zip(done.stdout.splitlines(), torch_scores(model, trial), strict=True):
        told = dict(field.split(" ") for field in line.split("\t")[1:])
        assert float(told["a"]) == pytest.approx(row[0].item(), abs=2e-4)
        assert float(told["b"]) == pytest.approx(row[1].item(), abs=2e-4)


def test_what_cannot_be_one_graph_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="scores a clip with its neighbours"):
        traced(config_of("fast", LinearHeadConfig(), "associative").build().eval())

    def depends_on_values(*args: object, **options: object) -> None:
        raise RuntimeError("unhashable type\nand a long story")

    monkeypatch.setattr("torch.export.export", depends_on_values)
    with pytest.raises(ConfigError, match="cannot be traced") as caught:
        export_model(model_of(), tmp_path / "a.pt2", to="torch")
    assert "with the head Linear" in str(caught.value)
    assert "got:      unhashable type\n" in str(caught.value)
    with pytest.raises(InputError, match="another suffix"):
        export_model(model_of(), tmp_path / "a.pt2", to="onnx")
    assert not list(tmp_path.iterdir())


def test_engines_that_cannot_run_are_refused(
    exported: tuple[ActionModel, Path], tmp_path: Path
) -> None:
    model, path = exported
    with pytest.raises(InputError, match="NVIDIA"):
        engine_for(model, "tensorrt")
    with pytest.raises(InputError, match="unknown engine"):
        engine_for(model, "tvm")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not run this file"):
        open_exported(path, "torch")
    with pytest.raises(ConfigError, match="own precision"):
        open_exported(path, "onnxruntime", "bf16")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read this graph"):
        open_exported(broken, "auto")
    with pytest.raises(ConfigError, match="runs in torch only"):
        memory = config_of("fast", LinearHeadConfig(), "associative").build()
        Inference(memory, device=torch.device("cpu"), engine=open_exported(path, "auto"))


def test_a_graph_of_one_size_refuses_others(exported: tuple[ActionModel, Path]) -> None:
    model, path = exported
    graph = open_exported(path, "auto")
    graph.card = replace(graph.card, any_size=False)
    trial = Trial.of(model, (48, 64), clips=1, people=1)
    with pytest.raises(ShapeError, match="one size"):
        graph.scores(trial.frames, trial.rois)


def test_auto_is_torch_until_another_is_faster_and_equal() -> None:
    def row(engine: str, seconds: float, difference: float) -> EngineSpeed:
        return EngineSpeed(
            engine=engine,  # type: ignore[arg-type]
            precision="fp32",
            seconds=seconds,
            difference=difference,
        )

    own = row("torch", 1.0, 0.0)
    assert best_of([own, row("openvino", 0.95, 0.0)]) == "torch"
    assert best_of([own, row("openvino", 0.5, 0.0), row("onnxruntime", 0.4, 0.0)]) == "onnxruntime"
    assert best_of([own, row("openvino", 0.5, 0.0), row("onnxruntime", 0.4, 0.01)]) == "openvino"
    assert best_of([own, row("openvino", 0.5, float("nan"))]) == "torch"


def test_fractions_of_grey_levels_stay_fractions() -> None:
    assert frame_type(InputSpec()) == torch.uint8
    assert frame_type(InputSpec(preprocessing=Preprocessing(kernel="torch"))) == torch.float32
    padded = InputSpec(multiple=32, preprocessing=Preprocessing(padding="mean"))
    assert frame_type(padded) == torch.float32
