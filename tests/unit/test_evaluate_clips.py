"""Video mAP of tubes, top-k accuracy and Charades mAP, against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubelet.errors import DataError, InputError, ShapeError
from tubelet.evaluate.topk import charades_map, top_k
from tubelet.evaluate.video_map import ActionTube, action_tubes, evaluate_videos, tube_iou
from tubelet.labels import LabelSpace
from tubelet.results import Tube

LABELS = LabelSpace.of(["run", "jump"])


def tube(
    times: range, box: tuple[float, ...] = (0, 0, 1, 1), label: int = 1, score: float = 1.0
) -> ActionTube:
    return ActionTube(
        video="v",
        label=label,
        times=np.array(times),
        boxes=np.tile(box, (len(times), 1)),
        score=score,
    )


def test_tube_overlap_is_space_times_time() -> None:
    whole, half = tube(range(10)), tube(range(10), (0, 0, 0.5, 1))
    assert tube_iou(whole, whole) == 1.0
    assert tube_iou(whole, half) == 0.5
    assert tube_iou(whole, tube(range(5))) == 0.5
    # Five shared moments of fifteen, half the box.
    assert tube_iou(whole, tube(range(5, 15), (0, 0, 0.5, 1))) == pytest.approx(5 / 15 * 0.5)
    assert tube_iou(whole, tube(range(10, 20))) == 0.0
    assert tube_iou(tube(range(3)), tube(range(2, 5))) == pytest.approx(1 / 5)


def test_whole_pixels_include_their_last_row() -> None:
    a, b = tube(range(2), (0, 0, 9, 9)), tube(range(2), (5, 0, 14, 9))
    assert tube_iou(a, b, pixel=1) == pytest.approx(50 / 150)
    assert tube_iou(a, b) == pytest.approx(36 / 126)


def test_video_map_by_hand() -> None:
    truth = [tube(range(10)), tube(range(10), (2, 0, 3, 1))]
    found = [
        tube(range(10), (5, 5, 6, 6), score=0.9),
        tube(range(10), score=0.8),
        tube(range(10), (2, 0, 2.6, 1), score=0.7),  # IoU 0.6
    ]
    report = evaluate_videos(found, truth, LABELS)
    # Points (recall, precision): (0, 1) (0, 0) (1/2, 1/2) (1, 2/3), joined by straight lines.
    low = 0.5 * (0 + 0.5) / 2 + 0.5 * (0.5 + 2 / 3) / 2
    high = 0.5 * (0 + 0.5) / 2
    assert report.map[0.2] == pytest.approx(low)
    assert report.map[0.5] == pytest.approx(low)
    assert report.map[0.6] == pytest.approx(low)
    assert report.map[0.65] == pytest.approx(high)
    assert report.map_50_95 == pytest.approx((3 * low + 7 * high) / 10)
    assert math.isnan(report.ap[2][0.5])
    assert (report.truths, report.detections, report.videos) == (2, 3, 1)


def test_a_claimed_tube_leaves_room_for_the_next_best() -> None:
    truth = [tube(range(10)), tube(range(10), (0, 0, 0.7, 1))]
    twice = [tube(range(10), score=0.9), tube(range(10), score=0.8)]
    assert evaluate_videos(twice, truth, LABELS, thresholds=[0.5]).map[0.5] == 1.0


def test_videos_and_classes_keep_apart() -> None:
    truth = [tube(range(10)), tube(range(10), label=2)]
    report = evaluate_videos([tube(range(10))], truth, LABELS, thresholds=[0.5])
    assert report.map[0.5] == 0.5
    assert report.map_50_95 is None
    elsewhere = ActionTube(
        video="other", label=1, times=np.arange(10), boxes=np.tile([0, 0, 1, 1], (10, 1))
    )
    report = evaluate_videos([elsewhere], truth, LABELS)
    assert report.map[0.2] == 0.0
    assert "no video is in both" in report.warnings[0]


def test_a_persons_tube_becomes_one_an_action() -> None:
    person = Tube(
        video="v",
        track_id=3,
        times_ms=np.array([0, 40]),
        boxes=np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.float32),
        person_scores=np.ones(2, np.float32),
        action_scores=np.array([[0.9, 0.1], [0.7, 0.3]], np.float32),
        labels=LABELS,
    )
    made = action_tubes(person, threshold=0.5)
    assert [t.label for t in made] == [1]
    assert made[0].score == pytest.approx(0.8)
    assert made[0].times.tolist() == [0, 40]
    assert len(action_tubes(person)) == 2


def test_tubes_refuse_nonsense() -> None:
    with pytest.raises(ShapeError):
        tube(range(0))
    with pytest.raises(ShapeError):
        ActionTube(video="v", label=1, times=np.array([1, 1]), boxes=np.zeros((2, 4)))
    with pytest.raises(DataError):
        tube(range(2), (0, 0, math.nan, 1))
    with pytest.raises(InputError):
        evaluate_videos([], [], LABELS, thresholds=[0.0])


def test_top_k_by_hand() -> None:
    scores = np.array([[0.6, 0.4, 0, 0, 0, 0], [6, 5, 4, 3, 2, 1], [1, 1, 1, 1, 1, 1]])
    assert top_k(scores, [0, 5, 4]).top1 == pytest.approx(1 / 3)
    result = top_k(scores, [0, 5, 4])
    assert result.top5 == pytest.approx(2 / 3)
    assert result.mean_error == pytest.approx(0.5)
    assert math.isnan(top_k(np.zeros((0, 3)), np.zeros(0, int)).top1)


def test_top_k_refuses_what_does_not_fit() -> None:
    for scores, targets in (
        ([[1.0, 2.0]], [2]),
        ([[1.0, 2.0]], [-1]),
        ([[1.0, 2.0]], [0, 1]),
        ([[1.0, math.nan]], [0]),
        ([1.0, 2.0], [0]),
    ):
        with pytest.raises(ShapeError):
            top_k(scores, targets)


def test_charades_map_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.9], [0.7, 0.8], [1.0, 1.0]])
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    report = charades_map(scores, labels)
    # The last video has no label: without that rule its scores would lead both lists.
    assert report.ap.tolist() == pytest.approx([(1 + 2 / 3) / 2, 1.0])
    assert report.map == pytest.approx((5 / 6 + 1) / 2)
    assert report.weighted_map == pytest.approx((5 / 6 + 1) / 2)
    assert report.unlabelled == 1


def test_charades_map_without_positives_of_a_class() -> None:
    report = charades_map([[0.5, 0.5], [0.1, 0.1]], [[1, 0], [1, 0]])
    assert math.isnan(report.ap[1])
    assert report.map == 1.0
    assert report.weighted_map == 1.0
    assert math.isnan(charades_map([[0.5]], [[0]]).map)
    with pytest.raises(ShapeError):
        charades_map([[0.5]], [[0, 1]])
