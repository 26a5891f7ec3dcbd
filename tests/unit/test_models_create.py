"""Models by name, their records, and a change of labels."""

from __future__ import annotations

import json

import pytest
import torch

from tubelet.errors import ConfigError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.create import create_model, model_config, model_names, model_records
from tubelet.models.heads.clip import ClipHeadConfig, join_positions
from tubelet.models.heads.none import NoHeadConfig
from tubelet.models.relabel import replace_labels

TINY = ResNet3dConfig(blocks=(1, 1, 1, 1), width=4)


def test_names_by_pattern() -> None:
    assert "slowfast_r101_nl_8x8" in model_names()
    assert model_names("i3d_*") == model_names("i3d")
    assert model_names("*nl_16x8") == ["slowfast_r101_nl_16x8", "slowfast_r101_101_nl_16x8"]
    assert model_names("nothing") == []


def test_a_name_gives_each_task_its_form() -> None:
    detector = model_config("slowfast_r101_nl_8x8")
    classifier = model_config("slowfast_r101_nl_8x8", task="classification", labels=700)
    assert isinstance(detector.backbone, SlowFastConfig)
    assert isinstance(classifier.backbone, SlowFastConfig)
    assert detector.backbone.detection and not classifier.backbone.detection
    assert len(detector.labels) == 80 and not detector.labels.exclusive
    assert len(classifier.labels) == 700 and classifier.labels.exclusive
    assert classifier.input.crop == 256 and detector.input.crop is None


def test_unknown_names_and_tasks_are_told() -> None:
    with pytest.raises(ConfigError, match="slowfast_r50_8x8"):
        create_model("slowfast_r50_8x9")
    with pytest.raises(ConfigError, match="detection or classification"):
        create_model("slow_r50_8x8", task="segmentation")
    with pytest.raises(ConfigError, match="name or a backbone"):
        create_model()


def test_records_are_plain_json() -> None:
    records = model_records("slowfast_r101_nl_8x8")
    assert [r.task for r in records] == ["detection", "classification"]
    detection = json.loads(json.dumps(records[0].to_json()))
    assert detection["parameters"] == 59_342_488 and detection["reproduced"] is None
    assert {p["dataset"] for p in detection["published"]} == {"AVA v2.2"}
    assert records[1].gflops == pytest.approx(115.37)


def test_labels_change_and_the_rest_stays() -> None:
    model = create_model(backbone=TINY, labels=80).eval()
    changed, report = replace_labels(model, ["sit", "stand", "walk"])
    assert changed.labels == LabelSpace.of(["sit", "stand", "walk"])
    assert not changed.training
    assert report.replaced == ("head.classifier.weight", "head.classifier.bias")
    assert report.kept == len(model.state_dict()) - 2
    assert "80 → 3 classes" in str(report)
    theirs = changed.state_dict()
    for name, value in model.state_dict().items():
        if name not in report.replaced:
            assert torch.equal(theirs[name], value), name


def test_as_many_other_labels_are_other_labels() -> None:
    model = create_model(backbone=TINY, labels=["run", "fall"])
    changed, report = replace_labels(model, ["eat", "drink"])
    assert report.replaced
    new, old = (m.head.get_parameter("classifier.weight") for m in (changed, model))
    assert not torch.equal(new, old)


def test_a_model_without_classifier_has_no_labels_to_change() -> None:
    with pytest.raises(ConfigError, match="no classifier"):
        replace_labels(create_model(backbone=TINY, head=NoHeadConfig()), 3)


def test_detectors_ask_for_boxes() -> None:
    clip = torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8)
    with pytest.raises(ShapeError, match="boxes"):
        create_model(backbone=TINY)(clip)


@pytest.mark.parametrize("exclusive", [True, False])
def test_positions_join_by_probability(exclusive: bool) -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)) * 4
    joined = join_positions(logits, exclusive=exclusive)
    if exclusive:
        expected = logits.softmax(-1).mean(1)
        torch.testing.assert_close(joined.softmax(-1), expected)
    else:
        torch.testing.assert_close(joined.sigmoid(), logits.sigmoid().mean(1))


def test_a_window_slides_over_a_larger_frame() -> None:
    head = ClipHeadConfig(window=2)
    model = create_model(backbone=TINY, head=head, task="classification", labels=3)
    maps = model.eval().features(torch.zeros(1, 3, 2, 64, 96, dtype=torch.uint8))
    assert tuple(maps[0].values.shape[3:]) == (4, 6)
    assert model.pool(maps).shape == (1, 3 * 5, maps[0].channels)
