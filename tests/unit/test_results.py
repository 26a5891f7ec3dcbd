"""Detections and Tube as a user holds them: they filter, plot and save themselves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tubelet.data.predictions import read_predictions
from tubelet.drawing.draw import colour_of
from tubelet.errors import DataError, InputError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.render.export import read_tubes
from tubelet.results import Detections, Tube, save_results
from tubelet.types import Key

LABELS = LabelSpace(
    ids=(3, 5, 9), names=("walk", "sit", "wave"), evaluated=(3, 9), groups={"pose": (3, 5)}
)


def moment(time_ms: int = 1000) -> Detections:
    return Detections(
        key=Key(video="film", time_ms=time_ms),
        boxes=np.array([[0.1, 0.2, 0.4, 0.9], [0.5, 0.2, 0.9, 0.9], [0.0, 0.0, 0.2, 0.3]]),
        person_scores=np.array([0.9, 0.4, 0.8], np.float32),
        action_scores=np.array([[0.8, 0.1, 0.3], [0.2, 0.7, 0.9], [0.1, 0.2, 0.05]], np.float32),
        track_ids=np.array([4, 7, -1]),
        labels=LABELS,
    )


def tube() -> Tube:
    return Tube(
        video="film",
        track_id=4,
        times_ms=np.array([1000, 2000, 3000]),
        boxes=np.array([[0.1, 0.2, 0.3, 0.9], [0.2, 0.2, 0.4, 0.9], [0.3, 0.2, 0.5, 0.9]]),
        person_scores=np.array([0.9, 0.4, 0.8], np.float32),
        action_scores=np.array([[0.8, 0.1, 0.3], [0.2, 0.7, 0.9], [0.1, 0.2, 0.05]], np.float32),
        labels=LABELS,
    )


def test_people_are_chosen_by_score_person_and_time() -> None:
    assert moment().filter(min_score=0.5).track_ids.tolist() == [4, 7]
    assert moment().filter(persons=7).track_ids.tolist() == [7]
    assert moment().filter(persons=[4, -1]).track_ids.tolist() == [4, -1]
    assert moment().filter(min_person_score=0.8).track_ids.tolist() == [4, -1]
    assert len(moment().filter(start_ms=1000, end_ms=1001)) == 3
    assert len(moment().filter(end_ms=1000)) == len(moment().filter(start_ms=1001)) == 0
    assert len(moment().filter()) == 3


def test_classes_leave_the_scores_of_the_others_out() -> None:
    found = moment().filter(classes=("wave", "walk"))
    assert found.labels.names == ("walk", "wave") and found.labels.ids == (3, 9)
    assert found.labels.evaluated == (3, 9) and found.labels.groups == {"pose": (3,)}
    np.testing.assert_array_equal(found.action_scores, moment().action_scores[:, [0, 2]])
    assert len(found) == 3  # nobody goes by the class alone
    sitting = moment().filter(classes="sit", min_score=0.5)
    assert sitting.track_ids.tolist() == [7] and sitting.top(0)[0][0] == "sit"
    with pytest.raises(DataError, match="did you mean 'wave'"):
        moment().filter(classes="wav")


def test_a_part_of_exclusive_classes_is_not_exclusive() -> None:
    space = LabelSpace.of(["run", "walk"], exclusive=True)
    assert not space.only(["run"]).exclusive and space.only(["walk", "run"]) == space


def test_moments_of_a_tube_are_chosen_likewise() -> None:
    assert tube().filter(min_score=0.5).times_ms.tolist() == [1000, 2000]
    assert tube().filter(classes="walk", min_score=0.5).times_ms.tolist() == [1000]
    assert tube().filter(start_ms=2000, end_ms=3000).times_ms.tolist() == [2000]
    assert tube().filter(min_person_score=0.8).times_ms.tolist() == [1000, 3000]
    assert len(tube().filter(persons=4)) == 3 and len(tube().filter(persons=[5])) == 0
    chained = tube().filter(min_score=0.1).filter(classes="sit").filter(start_ms=2000)
    assert chained.action_scores.tolist() == [[pytest.approx(0.7)], [pytest.approx(0.2)]]


@pytest.mark.parametrize("result", [moment(), tube()], ids=["detections", "tube"])
def test_filtering_changes_nothing_in_place(result: Detections | Tube) -> None:
    before = {k: np.copy(v) for k, v in dataclasses.asdict(result).items() if k != "labels"}
    result.filter(classes="sit", min_score=0.9, persons=[], start_ms=0)
    for name, value in before.items():
        np.testing.assert_array_equal(np.asarray(dataclasses.asdict(result)[name]), value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.labels = LABELS  # type: ignore[misc]


def test_people_are_drawn_on_a_copy() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    shown = moment().plot(image)
    assert (image == 90).all() and shown.shape == image.shape and shown.dtype == np.uint8
    x1, y1 = round(0.1 * 320), round(0.9 * 240) - 1  # the lower edge bears no label
    assert tuple(shown[y1, x1 + 20]) == colour_of(4)
    only = moment().filter(persons=7).plot(image)
    assert (only[y1, x1 + 20] == 90).all() and (only != 90).any()
    quiet = moment().plot(image, min_score=1.0)
    assert (quiet != shown).any()  # no action is named


def test_actions_that_harm_when_wrong_are_drawn_from_a_higher_score() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    labels = LabelSpace.of(["walk", "sit", "Shoot_Gun"])
    armed = dataclasses.replace(moment(), labels=labels).filter(persons=7)  # scores 0.2, 0.7, 0.9
    low = dataclasses.replace(armed, action_scores=np.array([[0.2, 0.1, 0.79]], np.float32))
    silent = low.plot(image, min_score=1.0)
    assert (low.plot(image) == silent).all()
    assert (low.plot(image, sensitive=0.5) != silent).any()
    assert (low.plot(image, min_score=0.8, sensitive=0.5) == silent).all()
    assert (armed.plot(image) != armed.plot(image, min_score=1.0)).any()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4)])
def test_only_rgb_is_drawn_on(shape: tuple[int, ...]) -> None:
    for image in (np.zeros(shape, np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ShapeError, match="uint8"):
            moment().plot(image)


def test_a_tube_is_drawn_where_it_is() -> None:
    between = tube().at(1500)
    np.testing.assert_allclose(between.boxes, [[0.15, 0.2, 0.35, 0.9]], atol=1e-6)
    assert between.track_ids.tolist() == [4] and between.top(0, 1)[0][0] == "walk"
    assert len(tube().at(9000)) == len(tube().filter(persons=5).at(1000)) == 0
    image = np.zeros((120, 160, 3), np.uint8)
    np.testing.assert_array_equal(tube().plot(image, 1500), between.plot(image))
    assert not tube().plot(image, 9000).any()


@pytest.mark.parametrize("result", [moment(), tube()], ids=["detections", "tube"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_saved_rows_are_predictions(form: str, result: Detections | Tube, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"found.{form}"
    assert result.save(path) == path
    table = read_predictions(path)
    assert len(table) == 9 and set(table.frame["video"]) == {"film"}
    np.testing.assert_allclose(
        table.frame["score"].to_numpy().reshape(3, 3), result.action_scores, rtol=1e-5
    )
    np.testing.assert_allclose(table.boxes[::3], result.boxes, atol=1e-6)
    assert table.frame["label"].to_list() == [3, 5, 9] * 3
    result.save(path, min_score=0.5)
    assert read_predictions(path).frame["label"].to_list() == [3, 5, 9]


def test_json_keeps_who_is_who(tmp_path: Path) -> None:
    moment().save(tmp_path / "moment.json")
    found = json.loads((tmp_path / "moment.json").read_text())
    assert (found["format"], found["version"]) == ("tubelet.detections", 1)
    assert LabelSpace.from_json(found["labels"]) == LABELS
    (keyframe,) = found["keyframes"]
    assert keyframe["track_ids"] == [4, 7, -1] and keyframe["time_ms"] == 1000
    np.testing.assert_allclose(keyframe["person_scores"], [0.9, 0.4, 0.8])

    tube().save(tmp_path / "tubes.json")
    read = read_tubes(tmp_path / "tubes.json")
    assert read.video is None and read.every_ms == 1000 and read.labels == LABELS
    np.testing.assert_allclose(read.tubes[0].boxes, tube().boxes, atol=1e-6)


def test_many_results_go_into_one_file(tmp_path: Path) -> None:
    moments = (moment(t) for t in (1000, 2000))
    table = read_predictions(save_results(tmp_path / "all.csv", moments))
    assert table.time_ms.unique().sort().to_list() == [1000, 2000]
    save_results(tmp_path / "all.json", [tube(), tube().filter(end_ms=2000)])
    assert [len(t) for t in read_tubes(tmp_path / "all.json").tubes] == [3, 1]
    assert len(read_predictions(save_results(tmp_path / "none.parquet", []))) == 0


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    broken = dataclasses.replace(moment(), action_scores=np.full((3, 3), np.nan, np.float32))
    for name in ("a.csv", "a.parquet", "a.json"):
        with pytest.raises(DataError, match=r"film@1\.000s"):
            broken.save(tmp_path / name)
    with pytest.raises(InputError, match=r"\.csv, \.json or \.parquet"):
        moment().save(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="without results"):
        save_results(tmp_path / "a.json", [])
    with pytest.raises(DataError, match="two label spaces"):
        save_results(tmp_path / "a.json", [moment(), moment().filter(classes="sit")])
    assert list(tmp_path.iterdir()) == []
