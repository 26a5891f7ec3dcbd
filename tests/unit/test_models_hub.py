"""Encoders of transformers as backbones: places, training, files, refusals. Nothing is downloaded:
models are built from small configurations with random weights."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tubelet.batch import Rois
from tubelet.errors import ConfigError, InputError, ShapeError
from tubelet.models.backbones.hf import CLASSES, HubConfig, places
from tubelet.models.create import create_model
from tubelet.models.encoders import LICENCES, hub_variant, licence_line, load_hub_weights
from tubelet.models.weights import load_model, save_model

pytest.importorskip("transformers", reason="needs the extra tubelet[hf]")

every_class = pytest.mark.parametrize("kind", CLASSES)


def config(kind: str, **changes: Any) -> HubConfig:
    settings = json.dumps({"model_type": kind})
    return HubConfig(id=f"nobody/{kind}", settings=settings, **changes).tiny()


def people(count: int) -> Rois:
    px = torch.tensor([[4.0, 6, 40, 60], [20.5, 3, 90, 50]])[:count]
    return Rois(boxes_px=px, boxes_norm=px / 96, clip=torch.arange(count) % 2)


def film(height: int, width: int, frames: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, frames, height, width), generator=generator).byte()


@every_class
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_a_marked_patch_appears_at_its_place(kind: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    backbone = config(kind).build().eval()
    (spec,) = backbone.outputs
    side, step = spec.space_stride, spec.time_stride
    blank = torch.randn(1, 3, 4, *size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = backbone(blank)[0].values
        for cell in ((0, 0, 3), (1, 2, 1), (1, 3, 0)):
            marked = blank.clone()
            t, y, x = (i * n for i, n in zip(cell, (step, side, side), strict=True))
            marked[:, :, t : t + step, y : y + side, x : x + side] = 5
            change = (backbone(marked)[0].values - before).norm(dim=1)[0]
            assert change.shape == (4 // step, size[0] // side, size[1] // side)
            assert tuple(int(i) for i in torch.unravel_index(change.argmax(), change.shape)) == cell


def test_places_count_the_true_rows_and_columns() -> None:
    step, row, column = places((2, 2, 3), torch.zeros(1, 12, 1))
    assert step.tolist() == [0] * 6 + [1] * 6
    assert row.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert column.tolist() == [0, 1, 2] * 4


@every_class
def test_detects_and_trains(kind: str) -> None:
    torch.manual_seed(0)
    model = create_model(backbone=config(kind), labels=3).train()
    logits = model(film(57, 75), people(2))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert model.eval()(film(64, 96), people(0)).shape == (0, 3)


@every_class
def test_a_frozen_encoder_is_left_alone(kind: str) -> None:
    model = create_model(backbone=config(kind, frozen=True), labels=3).train()
    assert not model.backbone.training and model.head.training
    model(film(64, 64), people(2)).sum().backward()
    trained = [n for n, p in model.named_parameters() if p.grad is not None]
    assert trained == ["head.classifier.weight", "head.classifier.bias"]


@every_class
def test_classifies_whole_clips_and_survives_saving(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(
        backbone=config(kind, detection=False), task="classification", labels=7
    ).eval()
    save_model(tmp_path / "model.safetensors", model)
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == model.config
    with torch.inference_mode():
        scores = model.scores(model(film(64, 96)))
        assert torch.equal(again.scores(again(film(64, 96))), scores)
    assert scores.shape == (2, 7)


@every_class
def test_clips_that_fill_no_tubelets_are_refused(kind: str) -> None:
    backbone = config(kind).build().eval()
    if backbone.outputs[0].time_stride == 1:
        pytest.skip("one frame a tubelet: every clip fills them")
    with pytest.raises(ShapeError, match="whole tubelets"):
        backbone(torch.zeros(1, 3, 3, 64, 64))


def published(kind: str, folder: Path, *, classifier: bool) -> Path:
    """A repository as the hub has it, in a folder: configuration, weights, preprocessor."""
    import transformers

    facts = CLASSES[kind]
    settings = transformers.AutoConfig.for_model(kind, **CLASSES[kind].tiny, num_labels=5)
    name = facts.classifier if classifier and facts.classifier else facts.model
    torch.manual_seed(3)
    getattr(transformers, name)(settings).save_pretrained(folder)
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@every_class
def test_by_id_it_brings_its_weights_and_its_normalisation(kind: str, tmp_path: Path) -> None:
    folder = published(kind, tmp_path, classifier=False)
    model = create_model(f"hf:{folder}", labels=3).eval()
    assert model.input.mean == (0.1, 0.2, 0.3) and model.input.std == (0.4, 0.5, 0.6)
    assert model.input.frames == 4 and model.input.short_side == 64
    again = create_model(f"hf:{folder}", labels=3)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[name], value), name


@pytest.mark.parametrize("kind", [k for k, v in CLASSES.items() if v.classifier])
def test_a_published_classifier_comes_whole(kind: str, tmp_path: Path) -> None:
    import transformers

    folder = published(kind, tmp_path, classifier=True)
    model = create_model(f"hf:{folder}", task="classification", labels=5).eval()
    theirs = getattr(transformers, str(CLASSES[kind].classifier)).from_pretrained(folder).eval()
    clip = model.normalise(film(64, 64)[:1])
    key = "pixel_values_videos" if kind == "vjepa2" else "pixel_values"
    with torch.inference_mode():
        expected = theirs(**{key: clip.transpose(1, 2)}).logits
        torch.testing.assert_close(model(film(64, 64)[:1]), expected, rtol=1e-4, atol=1e-5)


def test_unknown_classes_missing_files_and_packages_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="four facts"):
        replace(config("vivit"), settings='{"model_type": "bert"}').build()
    with pytest.raises(InputError, match="cannot be loaded"):
        hub_variant(f"hf:{tmp_path}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"tubelet\[hf\]"):
        config("vivit").build()


def test_licences_are_told_before_first_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not for commercial use" in licence_line("MCG-NJU/videomae-base")
    assert "MIT" in licence_line("google/vivit-b-16x2-kinetics400")
    assert "read its page" in licence_line("somebody/else")
    assert all("/" in id_ for id_ in LICENCES)
    folder = published("vivit", tmp_path, classifier=False)
    backbone = hub_variant(f"hf:{folder}").detection.build()
    monkeypatch.setattr("tubelet.models.encoders._is_here", lambda _: False)
    with caplog.at_level(logging.WARNING):
        load_hub_weights(backbone)
    assert "licence unknown" in caplog.text


def test_an_encoder_is_a_start_to_train_from_and_no_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tubelet.api import load
    from tubelet.releases.table import weights_path

    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    folder = published("videomae", tmp_path / "hub", classifier=True)
    path = weights_path(f"hf:{folder}")
    assert weights_path(f"hf:{folder}") == path and path.parent == tmp_path / "cache" / "encoders"
    model = load_model(path)
    assert model.config.head.label_layers == () and model.task == "detection"
    expected = create_model(f"hf:{folder}", labels=2).backbone.state_dict()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(expected[name], value), name
    with pytest.raises(InputError, match="know no classes"):
        load(f"hf:{folder}")
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    with pytest.raises(InputError, match="cannot be downloaded now"):
        weights_path("hf:nobody/encoder")
