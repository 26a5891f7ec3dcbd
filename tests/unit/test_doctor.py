"""`tubelet doctor`: what a bug report needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tubelet
from tubelet.cli import main
from tubelet.numerics.precision import resolve
from tubelet.numerics.processor import Processor, believe, processor


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_says_versions_processor_devices_and_caches(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["tubelet"] is not None
    assert report["versions"]["torch"] is not None
    assert report["processor"] == str(processor())
    [cpu] = [d for d in report["devices"] if d["device"] == "cpu"]
    assert cpu["auto"] == resolve("auto", torch.device("cpu"))
    assert cpu["probed"] == 0
    assert set(report["extras"]) == {"hf", "tensorboard", "flax", "onnx", "openvino", "serve"}
    assert report["caches"] == {str(cache): 0}
    assert report["environment"]["TUBELET_CACHE"] == str(cache)


def test_a_models_layers_are_tried_and_remembered(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--probe", "jhmdb21_small"]) == 0
    said = capsys.readouterr().out
    assert "probe of jhmdb21_small:" in said
    assert "layers agree with fp32" in said
    assert "layers probed: 2, wrong: 0" in said
    assert list((cache / "numerics").glob("*.json"))


def test_it_says_what_auto_is_on_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    laptop = Processor(name="laptop", architecture="x86_64", features=frozenset({"avx2"}))
    with believe(laptop):
        assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "laptop (x86_64: avx2)" in said
    assert "device cpu: precision auto is fp32" in said
    assert tubelet.__version__ in said
