"""YOLOX files: what goes in, how cells become boxes, and files that are something else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.errors import CheckpointError, ConfigError, InputError
from tubelet.people.detectors.yolox import YoloxDetector
from tubelet.people.named import person_detector

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
BLUE = 70  # the cell of stride 16 in row 1 and column 2; it is as sure as the picture is blue
GREY = 5  # of stride 8, row 0 and column 5; as sure as the square's last row is grey


def graph(path: Path, *, columns: int = 85, grey: bool = False) -> Path:
    """A network without weights: one cell answers to the input, the others are silent."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    cell = GREY if grey else BLUE
    still, moved = np.zeros((2, 1, CELLS, columns), np.float32)
    still[0, cell, :4] = 0.5, 0.5, np.log(2), 0  # twice as wide as its stride
    still[0, cell, 5] = 1  # a person
    moved[0, cell, 4] = 1 / 255 if not grey else 1 / 114
    ends = {"start": [0, 0, SIDE - 1, 0] if grey else [0, 0, 0, 0],
            "end": [1, 1, SIDE, 1] if grey else [1, 1, 1, 1]}  # fmt: skip
    constants = {"still": still, "moved": moved, "shape": np.array([1, 1, 1], np.int64)}
    constants |= {name: np.array(value, np.int64) for name, value in ends.items()}
    nodes = [
        make.make_node("Slice", ["images", "start", "end"], ["pixel"]),
        make.make_node("Reshape", ["pixel", "shape"], ["value"]),
        make.make_node("Mul", ["moved", "value"], ["sure"]),
        make.make_node("Add", ["still", "sure"], ["output"]),
    ]
    of = make.make_graph(
        nodes,
        "tiny",
        [make.make_tensor_value_info("images", number, [1, 3, SIDE, SIDE])],
        [make.make_tensor_value_info("output", number, [1, CELLS, columns])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(of, opset_imports=[make.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def filled(height: int, width: int, *rgb: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((height, width, 3), rgb, np.uint8)


def test_blue_is_the_first_channel_and_cells_become_boxes(tmp_path: Path) -> None:
    detector = person_detector(f"yolox:{graph(tmp_path / 'a.onnx')}")
    assert detector.name == f"yolox:{tmp_path / 'a.onnx'}"
    people = detector(filled(64, 128, 0, 0, 255))
    assert people.scores.tolist() == [1]
    # Centre (2.5, 1.5) cells of 16 pixels, 32 × 16; the picture is shown as 64 × 32 of the square.
    np.testing.assert_allclose(people.boxes, [[24 / 64, 16 / 32, 56 / 64, 1]], atol=1e-6)
    assert len(detector(filled(64, 128, 255, 0, 0))) == 0
    assert detector(filled(64, 128, 0, 0, 102)).scores == pytest.approx([0.4])


def test_what_the_picture_leaves_of_the_square_is_grey(tmp_path: Path) -> None:
    detector = YoloxDetector(graph(tmp_path / "a.onnx", grey=True))
    assert detector(filled(32, 64, 255, 255, 255)).scores == pytest.approx([1.0])
    assert len(detector(filled(64, 64, 0, 0, 0))) == 0


def test_other_files_are_refused_by_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"not a YOLOX[\s\S]*20"):
        YoloxDetector(graph(tmp_path / "b.onnx", columns=20))
    (tmp_path / "c.onnx").write_text("no graph")
    with pytest.raises(CheckpointError, match="cannot read"):
        YoloxDetector(tmp_path / "c.onnx")
    with pytest.raises(InputError, match="no such file"):
        YoloxDetector(tmp_path / "d.onnx")
    with pytest.raises(ConfigError, match="CPU"):
        YoloxDetector(tmp_path / "d.onnx", device="cuda")
    with pytest.raises(ConfigError, match="thresholds"):
        YoloxDetector(tmp_path / "d.onnx", threshold=2)
    with pytest.raises(InputError, match=r"by hand[\s\S]*yolox:yolox_nano.onnx"):
        person_detector("yolox-nano")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"tubelet\[onnx\]"):
        YoloxDetector(tmp_path / "b.onnx")


def test_the_reference_detector_is_as_good_as_measured(shared: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tubelet.people.bench import bench
    from tubelet.people.stills import read_stills
    from tubelet.people.training.person_small import is_held_out

    detector = YoloxDetector(shared / "weights" / "teacher" / "yolox_nano.onnx", threshold=0.001)
    stills = [s for s in read_stills(shared / "data" / "persons") if is_held_out(s.name)][::6]
    assert bench(detector, stills, threshold=0.3).rows[0].ap > 0.7  # 0.759 of all of them
