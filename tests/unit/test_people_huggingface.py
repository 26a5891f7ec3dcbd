"""Detectors of `transformers`, built here with random weights: no network, no torchvision."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.errors import ConfigError, InputError
from tubelet.people.detectors.huggingface import HuggingFaceDetector
from tubelet.people.named import person_detector

SIZES: dict[str, Any] = {
    **dict.fromkeys(("d_model", "encoder_hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 32),
    "decoder_in_channels": [32, 32, 32],
    "encoder_in_channels": [16, 16, 16],
    "feat_strides": [8, 16, 32],
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 20,
    "num_denoising": 0,
    "anchor_image_size": None,
}
STAGES = {"hidden_sizes": [8, 16, 16, 16], "out_features": ["stage2", "stage3", "stage4"]}


@pytest.fixture(scope="module", params=["rt_detr_v2", "d_fine"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    names = {0: "dog", 1: "Person", 2: "kite"}
    options = {**SIZES, "id2label": names, "label2id": {v: k for k, v in names.items()}}
    if request.param == "rt_detr_v2":
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=8, depths=[1, 1, 1, 1], layer_type="basic", **STAGES
        )
        config = transformers.RTDetrV2Config(backbone_config=backbone, **options)
        model = transformers.RTDetrV2ForObjectDetection(config)
    else:
        backbone = transformers.HGNetV2Config(
            embedding_size=8, depths=[1, 1, 1, 1], stem_channels=[3, 8, 8],
            stage_in_channels=[8, 8, 16, 16], stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[8, 16, 16, 16], stage_num_blocks=[1, 1, 1, 1],
            stage_downsample=[False, True, True, True], stage_kernel_size=[3, 3, 3, 3],
            stage_light_block=[False, False, True, True], stage_numb_of_layers=[2, 2, 2, 2],
            **STAGES,
        )  # fmt: skip
        config = transformers.DFineConfig(backbone_config=backbone, **options)
        model = transformers.DFineForObjectDetection(config)
    path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(path)
    return path


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
    # RT-DETR keeps its best 20 (query, class) pairs, so the classes share them.
    assert sum(map(len, every)) == 20
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
