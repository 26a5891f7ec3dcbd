"""Person AP and recall against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tubelet.errors import ShapeError
from tubelet.people.measure import measure
from tubelet.types import People

A, B, C = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0], [0.0, 0.6, 0.3, 1.0]


def truth(*boxes: list[float]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def test_perfect_and_blind() -> None:
    report = measure([(People.of([A, B]), truth(A, B))])
    assert (report.ap, report.recall) == (1.0, 1.0)
    report = measure([(People.of([]), truth(A))])
    assert (report.ap, report.recall, report.found) == (0.0, 0.0, 0)


def test_order_of_scores_decides_the_precision() -> None:
    # Right, wrong, right by falling score: precision 1 and 2/3 at recalls 1/2 and 1.
    people = People.of([A, C, B], [0.9, 0.8, 0.7])
    report = measure([(people, truth(A, B))])
    assert report.ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert "0.8333" in str(report)


def test_a_second_box_on_one_person_is_an_error() -> None:
    report = measure([(People.of([A, A], [0.5, 0.9]), truth(A))])
    assert report.ap == 1.0
    report = measure([(People.of([A, A, B], [0.5, 0.9, 0.4]), truth(A, B))])
    assert report.ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_frames_are_ranked_together() -> None:
    report = measure([(People.of([C], [0.9]), truth(A)), (People.of([A], [0.1]), truth(A))])
    assert report.ap == pytest.approx(0.25)
    assert (report.recall, report.truth) == (0.5, 2)


def test_the_overlap_that_counts_is_inclusive() -> None:
    half = [0.0, 0.0, 0.25, 0.5]
    pair = [(People.of([half]), truth([0.0, 0.0, 0.5, 0.5]))]
    assert measure(pair).recall == 1.0
    assert measure(pair, iou=0.51).recall == 0.0


def test_without_truth_there_is_no_figure() -> None:
    report = measure([(People.of([A]), truth())])
    assert np.isnan(report.ap)
    assert np.isnan(report.recall)
    with pytest.raises(ShapeError):
        measure([], iou=0)
