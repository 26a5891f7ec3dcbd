"""Proposals joined to truth, against a plain loop and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubelet.boxes import iou_matrix
from tubelet.data.annotations import Annotations
from tubelet.data.proposals import for_testing, for_training, quality
from tubelet.errors import InputError


def _truth() -> Annotations:
    return Annotations.of(
        video=["v", "v", "v", "w"],
        time_us=[1, 1, 1, 1],
        boxes=[[0.0, 0, 0.5, 1], [0.0, 0, 0.5, 1], [0.5, 0, 1, 1], [0.0, 0, 1, 1]],
        label=[3, 5, 7, 3],
        person=[0, 0, 1, 0],
    )


def test_a_close_proposal_takes_all_labels_of_its_person() -> None:
    proposals = Annotations.of(
        video=["v", "v", "v", "w"],
        time_us=[1, 1, 2, 1],
        boxes=[[0, 0, 0.49, 1], [0.55, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.95, 1]],
        score=[0.9, 0.8, 0.7, 0.6],
    )
    joined = for_training(_truth(), proposals).frame[4:]
    assert joined["label"].to_list() == [3, 5, 3]
    assert joined["person"].to_list() == [0, 0, 0]
    assert joined["score"].to_list() == [0.9, 0.9, 0.6]
    assert joined["x2"].to_list() == [0.49, 0.49, 0.95]
    assert len(for_training(_truth(), proposals, iou=0.75)) == 4 + 4
    assert len(for_training(_truth(), proposals, iou=0.75, min_score=0.85)) == 4 + 2
    alone = for_training(_truth(), proposals, iou=0.75, keep_truth=False)
    assert alone.frame.equals(for_training(_truth(), proposals, iou=0.75).frame[4:])
    missed = for_training(_truth(), proposals.at_least(0.75), keep_truth=False)
    assert missed.keys() == _truth().keys() and len(missed.frame.drop_nulls("x1")) == 2


def test_truth_comes_first_and_unchanged() -> None:
    truth = _truth()
    joined = for_training(truth, truth)
    assert Annotations(frame=joined.frame[:4]).same_content(truth)
    assert len(for_training(truth, Annotations.of(video=[], time_us=[]))) == 4


def test_the_threshold_is_exclusive_as_in_the_papers() -> None:
    truth = Annotations.of(video=["v"], time_us=[1], boxes=[[0, 0, 1, 1]], label=[1])
    half = Annotations.of(video=["v"], time_us=[1], boxes=[[0, 0, 0.5, 1]])
    assert len(for_training(truth, half, iou=0.5)) == 1
    assert quality(truth, half, iou=0.5).recall == 1.0, "the metric's threshold is inclusive"


def test_the_join_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)

    def boxes(count: int) -> np.ndarray:
        corners = rng.integers(0, 6, (count, 2))
        return np.concatenate([corners, corners + rng.integers(2, 5, (count, 2))], 1) / 10.0

    t, p = boxes(200), boxes(300)
    t_time, p_time = rng.integers(0, 20, 200), rng.integers(0, 20, 300)
    truth = Annotations.of(video=["v"] * 200, time_us=t_time, boxes=t, label=np.arange(200))
    proposals = Annotations.of(video=["v"] * 300, time_us=p_time, boxes=p)
    expected = set()
    for moment in range(20):
        ours, theirs = np.flatnonzero(t_time == moment), np.flatnonzero(p_time == moment)
        for i in theirs:
            overlap = iou_matrix(p[i : i + 1], t[ours])[0]
            if len(ours) and overlap.max() > 0.5:
                best = t[ours[overlap.argmax()]]
                same = [j for j in ours if (t[j] == best).all()]
                expected |= {(moment, *p[i], int(j)) for j in same}
    added = for_training(truth, proposals, iou=0.5).frame[200:]
    got = {tuple(r) for r in added.select("time_us", "x1", "y1", "x2", "y2", "label").iter_rows()}
    assert got == expected
    assert len(expected) > 50


def test_quality_by_hand() -> None:
    proposals = Annotations.of(
        video=["v", "v", "v", "x"],
        time_us=[1, 1, 1, 1],
        boxes=[[0.0, 0, 0.5, 1], [0.0, 0, 0.45, 1], [0.5, 0, 0.9, 1], [0.0, 0, 1, 1]],
        score=[0.9, 0.8, 0.7, 1.0],
    )
    found = quality(_truth(), proposals)
    assert found.people == 3
    assert found.proposals == 3, "moments that are not labelled do not count"
    assert found.recall == pytest.approx(2 / 3)
    assert found.ap == pytest.approx((1 + 2 / 3) / 3), "a second box on one person is a miss"
    assert found.moments_without == 1


def test_quality_of_nothing() -> None:
    nothing = Annotations.of(video=[], time_us=[])
    assert math.isnan(quality(nothing, _truth()).recall)
    assert quality(_truth(), nothing).recall == 0
    assert quality(_truth(), nothing).ap == 0


def test_testing_boxes_are_distinct_and_above_the_score() -> None:
    proposals = Annotations.of(
        video=["v"] * 4,
        time_us=[1] * 4,
        boxes=[[0, 0, 0.5, 1]] * 2 + [[0, 0, 1, 1]] * 2,
        label=[1, 2, 1, 2],
        score=[0.9, 0.9, 0.5, 0.5],
    )
    kept = for_testing(proposals, min_score=0.8).frame
    assert kept["label"].to_list() == [None]
    assert len(for_testing(proposals, min_score=0.2)) == 2


@pytest.mark.parametrize("iou", [-0.1, 1.5, math.nan])
def test_impossible_thresholds(iou: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        for_training(_truth(), _truth(), iou=iou)
