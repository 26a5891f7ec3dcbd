"""Classes chosen at detection, and kept by a start that knows them by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.api import ActionDetector
from tubelet.cli.detecting import DEFAULT_MODEL, SUGGESTED, suggestion
from tubelet.data.importers import Options
from tubelet.data.prepare import PreparedSet, prepare
from tubelet.errors import DataError
from tubelet.labels import LabelSpace
from tubelet.labelsets import label_set
from tubelet.media.writer import VideoWriter
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.create import model_config
from tubelet.models.relabel import common_classes, replace_labels
from tubelet.models.weights import load_model, save_model
from tubelet.people.given import GivenPeople
from tubelet.recipes.own import known_classes, own_labels, tuning
from tubelet.releases.published import published
from tubelet.types import InputSpec

TINY = ResNet3dConfig(blocks=(1, 1, 1, 1), width=4)
SPEC = InputSpec(frames=4, stride=2, short_side=48)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    y, x = np.mgrid[:48, :64]
    for name in ("one", "two"):
        with VideoWriter(folder / f"{name}.mp4", fps=25, hw=(48, 64)) as writer:
            for t in range(25):
                image = np.stack([x * 3, y * 4, (x + 4 * t) % 256], -1)
                writer.write(image.astype(np.uint8))
    return folder


def saved(folder: Path, labels: LabelSpace | int, *, task: str = "detection") -> Path:
    torch.manual_seed(3)
    config = model_config(backbone=TINY, input=SPEC, labels=labels, task=task)
    if task == "classification":
        dense = replace(TINY, detection=False)
        config = replace(config, backbone=dense, input=replace(SPEC, crop=48))
    path = folder / f"{task}.safetensors"
    save_model(path, config.build())
    return path


def test_classes_are_named_in_full_by_pattern_and_several_at_once() -> None:
    ava = label_set("ava")

    def names(*wanted: str) -> list[str]:
        return [ava.names[i] for i in ava.columns_of(wanted)]

    assert names("Walk") == ["walk"]
    assert names("climb (e.g., a mountain)") == ["climb (e.g., a mountain)"]
    assert names("walk, sit", "hand *") == ["sit", "walk", "hand clap", "hand shake", "hand wave"]
    with pytest.raises(DataError, match="did you mean 'walk'"):
        names("wakl")


def test_only_the_chosen_classes_are_told_with_the_same_scores(films: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, LabelSpace.of(["run", "sit", "walk"], exclusive=True))
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("one,0.5,0.2,0.1,0.8,0.9,,0.95\n")
    given = GivenPeople.read(boxes)
    all_of_them = next(ActionDetector(load_model(path)).detect(films / "one.mp4", people=given))
    chosen = ActionDetector(load_model(path), classes=["walk", "run"])
    found = next(chosen.detect(films / "one.mp4", people=given))
    assert chosen.labels == found.labels.names == ("run", "walk") and found.labels.ids == (1, 3)
    assert np.array_equal(found.action_scores, all_of_them.action_scores[:, [0, 2]])


def test_a_classifier_looks_at_the_whole_picture(films: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, 5, task="classification")
    moments = list(ActionDetector(load_model(path)).detect(films / "one.mp4", every=0.5))
    assert len(moments) == 2
    for moment in moments:
        assert moment.boxes.tolist() == [[0, 0, 1, 1]] and moment.action_scores.shape == (1, 5)
        assert np.isclose(moment.action_scores.sum(), 1)
    assert moments[0].track_ids == moments[1].track_ids


def test_the_default_suggests_weights_that_know_more() -> None:
    line = suggestion(DEFAULT_MODEL)
    assert line is not None and "80 actions" in line and f"--model {SUGGESTED}" in line
    assert "135 MB, downloads once" in line and len(line.splitlines()) == 1
    assert published()[SUGGESTED].data.startswith("ava")
    assert suggestion(SUGGESTED) is None


def prepared_set(films: Path, folder: Path, *classes: str) -> PreparedSet:
    rows = [
        {"video": video, "label": label}
        for video in ("one", "two")
        for label in range(1, len(classes) + 1)
    ]
    source = folder / "truth.csv"
    source.write_text("".join(f"{r['video']},0.5,0.2,0.1,0.8,0.9,{r['label']},0\n" for r in rows))
    options = Options(labels=LabelSpace.of(classes))
    return prepare(source, films, folder / "mine", options=options)


def test_a_start_keeps_what_it_knows_by_name(films: Path, tmp_path: Path) -> None:
    start = saved(tmp_path, LabelSpace.of(["run", "sit", "walk"]))
    prepared = prepared_set(films, tmp_path, "weld", "walk", "run")
    recipe = own_labels(prepared, name="mine", start=str(start))
    assert known_classes(recipe, str(start)) == ("walk", "run")
    stage = recipe.stages[0]
    assert stage.start.required == ("*",) and stage.start.weights is not None
    begun, old = load_model(Path(stage.start.weights)), load_model(start)
    assert begun.labels.names == ("weld", "walk", "run")
    mine, theirs = begun.head.state_dict(), old.head.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        assert torch.equal(mine[name][1:], theirs[name][[2, 0]])
    assert mine["classifier.weight"][0].std() > 0
    again = own_labels(prepared, name="mine", start=str(start))
    assert json.dumps(str(again)) == json.dumps(str(recipe))


def test_a_start_of_strangers_begins_with_its_backbone_alone(films: Path, tmp_path: Path) -> None:
    start = saved(tmp_path, LabelSpace.of(["run", "sit"]), task="classification")
    prepared = prepared_set(films, tmp_path, "weld", "walk")
    recipe = own_labels(prepared, name="mine", start=str(start))
    stage, model = recipe.stages[0], recipe.model
    assert stage.start.required == ("backbone.*",) and known_classes(recipe, str(start)) == ()
    assert isinstance(model.backbone, ResNet3dConfig) and model.backbone.detection
    assert model.input.crop is None and (model.input.frames, model.input.stride) == (4, 2)
    assert stage.norms.mode == "frozen" and stage.batch == 8 and stage.optimizer.rate == 2e-4


def test_the_start_chooses_how_it_learns() -> None:
    rates = {
        name: tuning(model_config(name, labels=3)).rate
        for name in ("descriptors", "slowfast_r50_8x8", "vivit_b_16x2", "umt_b_8x8")
    }
    assert rates["descriptors"] > rates["slowfast_r50_8x8"] > rates["vivit_b_16x2"]
    assert rates["umt_b_8x8"] == rates["vivit_b_16x2"]
    assert isinstance(model_config("slowfast_r50_8x8").backbone, SlowFastConfig)


def test_rows_are_kept_only_where_names_and_kind_agree() -> None:
    one, other = LabelSpace.of(["a", "b"]), LabelSpace.of(["b", "c"])
    assert common_classes(one, other) == ("b",)
    assert common_classes(one, replace(other, exclusive=True)) == ()
    assert common_classes(LabelSpace.nameless(3), LabelSpace.nameless(3)) == ()
    model = model_config(backbone=TINY, input=SPEC, labels=one).build()
    changed, report = replace_labels(model, other, keep_known=True)
    assert report.known == ("b",) and "but for b" in str(report)
    assert torch.equal(
        changed.head.state_dict()["classifier.weight"][0],
        model.head.state_dict()["classifier.weight"][1],
    )
