"""The records, labels, boxes and configuration that everything else stands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tubelet.batch import Rois, Sample, collate
from tubelet.boxes import Geometry, clip_unit, iou_matrix, nms, short_side_hw
from tubelet.config import decode, encode, override
from tubelet.errors import ConfigError, DataError, InputError, ShapeError, TubeletError
from tubelet.labels import LabelSpace
from tubelet.results import Detections, Tube
from tubelet.types import InputSpec, Key, People

LABELS = LabelSpace.of(["wave", "walk"])


def test_an_error_says_what_where_expected_got_and_what_next() -> None:
    error = InputError("bad box", where="a.csv, row 3", expected="x1 < x2", got=0.5, hint="swap")
    assert str(error).splitlines() == [
        "bad box",
        "  where:    a.csv, row 3",
        "  expected: x1 < x2",
        "  got:      0.5",
        "  try:      swap",
    ]


def test_users_mistakes_exit_with_2_and_failures_with_1() -> None:
    mistakes = (InputError, DataError, ConfigError, ShapeError)
    assert {kind.exit_code for kind in mistakes} == {2}
    assert TubeletError.exit_code == 1


def test_a_key_is_an_integer_moment() -> None:
    assert str(Key(video="film", time_ms=902_040)) == "film@902.040s"
    with pytest.raises(ShapeError, match="integer"):
        Key(video="film", time_ms=1.5)  # type: ignore[arg-type]


def test_people_fill_defaults_and_check_shapes() -> None:
    people = People.of([[0.0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]])
    assert people.scores.tolist() == [1, 1] and people.track_ids.tolist() == [-1, -1]
    assert len(People.of([])) == 0 and People.of([]).boxes.shape == (0, 4)
    with pytest.raises(ShapeError, match="People.scores"):
        People.of([[0, 0, 1, 1]], scores=[0.5, 0.5])
    with pytest.raises(ShapeError, match="not finite"):
        People.of([[0, 0, float("nan"), 1]])


def test_detections_and_tubes_check_that_their_columns_fit() -> None:
    key = Key(video="v", time_ms=0)
    ok = Detections(
        key=key,
        boxes=np.zeros((1, 4), np.float32),
        person_scores=np.ones(1, np.float32),
        action_scores=np.array([[0.2, 0.7]], np.float32),
        track_ids=np.array([3]),
        labels=LABELS,
    )
    [(name, score)] = ok.top(0, 1)
    assert name == "walk" and score == pytest.approx(0.7)
    with pytest.raises(ShapeError, match="action_scores"):
        Detections(
            key=key,
            boxes=ok.boxes,
            person_scores=ok.person_scores,
            action_scores=np.zeros((1, 3), np.float32),
            track_ids=ok.track_ids,
            labels=LABELS,
        )
    with pytest.raises(ShapeError, match="ascend"):
        Tube(
            video="v",
            track_id=1,
            times_ms=np.array([1000, 1000]),
            boxes=np.zeros((2, 4), np.float32),
            person_scores=np.ones(2, np.float32),
            action_scores=np.zeros((2, 2), np.float32),
            labels=LABELS,
        )


def test_label_spaces_keep_file_ids_and_name_the_nearest_class() -> None:
    space = LabelSpace(ids=(1, 4, 80), names=("stand", "walk", "work"), evaluated=(4,))
    assert space.column(80) == 2 and LabelSpace.from_json(space.to_json()) == space
    with pytest.raises(DataError, match="did you mean 'walk'"):
        space.column_of("walkk")
    with pytest.raises(DataError, match="unknown action id 3"):
        space.column(3)
    with pytest.raises(DataError, match="duplicate label"):
        LabelSpace(ids=(1, 1), names=("a", "b"))
    with pytest.raises(DataError, match="at least one class"):
        LabelSpace(ids=(), names=())


def test_iou_and_nms_of_known_boxes() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [4, 4, 4, 4]], np.float32)
    assert iou_matrix(boxes, boxes)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    scores = np.array([0.5, 0.9, 0.1, 0.2], np.float32)
    assert nms(boxes, scores, 0.3).tolist() == [1, 3, 2]
    assert nms(boxes, scores, 0.4).tolist() == [1, 0, 3, 2]
    assert clip_unit(np.array([[-0.1, 0.2, 1.3, 0.4]], np.float32)).tolist()[0] == pytest.approx(
        [0, 0.2, 1, 0.4]
    )


def test_short_side_sizes_keep_the_shape_and_obey_the_long_side() -> None:
    assert short_side_hw((240, 320), 120) == (120, 160)
    assert short_side_hw((1080, 1920), 256, 400) == (225, 400)


def test_geometry_refuses_an_empty_frame() -> None:
    with pytest.raises(ShapeError, match="out_hw"):
        Geometry(source_hw=(1, 1), resized_hw=(1, 1), out_hw=(0, 1))


def _sample(height: int, people: int, video: str) -> Sample:
    boxes = np.tile(np.array([[0, 0, 0.5, 0.5]], np.float32), (people, 1))
    return Sample(
        key=Key(video=video, time_ms=0),
        frames=torch.full((3, 4, height, 8), 7, dtype=torch.uint8),
        people=People.of(boxes),
        boxes_px=torch.zeros(people, 4),
        targets=torch.ones(people, 2),
        known=torch.ones(2, dtype=torch.bool),
        geometry=Geometry(source_hw=(8, 8), resized_hw=(8, 8), out_hw=(8, 8)),
        dataset="set",
    )


def test_a_batch_pads_frames_and_keeps_people_flat() -> None:
    batch = collate([_sample(6, 2, "a"), _sample(8, 0, "b"), _sample(8, 1, "a")])
    assert batch.frames.shape == (3, 3, 4, 8, 8)
    assert batch.frames[0, :, :, 6:].sum() == 0
    assert batch.rois.clip.tolist() == [0, 0, 2]
    assert batch.group.tolist() == [0, 1, 0]
    assert batch.to("cpu").rois.boxes_px.shape == (3, 4)
    with pytest.raises(ShapeError, match="at least one sample"):
        collate([])
    with pytest.raises(ShapeError, match=r"Rois.clip"):
        Rois(boxes_px=torch.zeros(1, 4), boxes_norm=torch.zeros(1, 4), clip=torch.zeros(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    size: int = 1
    rate: float = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    size: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    leaf: Leaf | Other
    maybe: Leaf | None = None
    pair: tuple[int, int] = (1, 2)


def test_configurations_survive_a_round_trip() -> None:
    tree = Tree(leaf=Other(size=9), maybe=Leaf(names=("a",)))
    assert decode(Tree, encode(tree)) == tree
    assert decode(InputSpec, encode(InputSpec(frames=8, fps=25.0))) == InputSpec(frames=8, fps=25.0)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("leaf.sise=3", "did you mean 'size'"),
        ("leaf.size=big", "expected: int"),
        ("leaf.size=1.5", "expected: int"),
        ("leaf.size=true", "expected: int"),
        ("pair=[1,2,3]", "a list of 2"),
        ("pair.5=1", "no element '5'"),
        ("leaf.size.deep=1", "has no fields"),
        ("leaf", "path.to.field=value"),
        ("leaf.type=Stone", "one of Leaf, Other"),
    ],
)
def test_a_wrong_setting_says_where_and_what_was_expected(setting: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(Tree(leaf=Leaf()), [setting])
    assert says in str(caught.value)


def test_settings_change_only_what_they_name() -> None:
    changed = override(Tree(leaf=Leaf()), ["leaf.rate=2", "pair.1=7", 'maybe={"size": 4}'])
    assert changed == Tree(leaf=Leaf(rate=2.0), pair=(1, 7), maybe=Leaf(size=4))
