"""Detectors of `transformers`, built here with random weights: no network, no torchvision."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny_detectors import PROCESSOR, QUERIES, save_tiny

from tubelet.errors import ConfigError, InputError
from tubelet.people.detectors.huggingface import HuggingFaceDetector
from tubelet.people.detectors.preprocessing import PlainProcessor
from tubelet.people.named import person_detector


@pytest.fixture(scope="module", params=QUERIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_finds_boxes_of_the_person_class_alone(folder: Path, image: np.ndarray) -> None:
    every = [
        HuggingFaceDetector(str(folder), threshold=0.0, class_name=name)(image)
        for name in ("dog", "person", "kite")
    ]
    # Most keep the best (query, class) pairs, so the classes share them; ours gives every query's.
    queries = QUERIES[folder.name.rstrip("0")]
    wanted = {"rf": 3 * queries, "lw": 3 * queries}.get(folder.name[:2], queries)
    assert sum(map(len, every)) == wanted
    for people in every:
        assert (np.diff(people.scores) <= 0).all()
        assert people.boxes.min(initial=0) >= 0
        assert people.boxes.max(initial=0) <= 1


def test_threshold_and_limit(folder: Path, image: np.ndarray) -> None:
    detector = person_detector(f"hf:{folder}", threshold=0.999)
    assert isinstance(detector, HuggingFaceDetector)
    assert len(detector(image)) == 0
    limited = HuggingFaceDetector(str(folder), threshold=0.0, max_people=1)
    assert len(limited(image)) <= 1


def test_a_class_that_the_model_lacks(folder: Path) -> None:
    with pytest.raises(InputError, match=r"unknown class 'cat'[\s\S]*dog"):
        HuggingFaceDetector(str(folder), class_name="cat")


def test_a_model_that_cannot_be_had(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="cannot be loaded"):
        HuggingFaceDetector(str(tmp_path))
    with pytest.raises(ConfigError):
        HuggingFaceDetector(str(tmp_path), threshold=2)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"tubelet\[hf\]"):
        HuggingFaceDetector("ustc-community/dfine-nano-coco")


def test_frames_are_prepared_as_rf_detrs_processor_does(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**PROCESSOR, "size": {"height": 2, "width": 4}}))
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, :, 0] = np.array([[0, 40, 80, 120], [80, 120, 160, 200], [0, 0, 0, 0], [8, 8, 8, 8]])
    inputs = PlainProcessor.read(path).inputs(image)
    red = inputs["pixel_values"][0, 0] * 0.229 + 0.485
    # Two rows of four become one by their mean: halfway between two pixels, and no low pass.
    expected = np.array([[40, 80, 120, 160], [4, 4, 4, 4]]) / 255
    np.testing.assert_allclose(red.numpy(), expected, atol=1e-6)
    assert inputs["pixel_mask"].shape == (1, 2, 4) and bool(inputs["pixel_mask"].all())


@pytest.mark.parametrize(
    "other", [{"resample": 3}, {"do_normalize": False}, {"size": {"shortest_edge": 800}}]
)
def test_a_processor_that_wants_something_else_is_refused(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**PROCESSOR, **other}))
    with pytest.raises(InputError, match=next(iter(other))):
        PlainProcessor.read(path)
