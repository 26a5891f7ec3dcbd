"""Segments and boxes between keyframes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tubelet.errors import InputError
from tubelet.labels import LabelSpace
from tubelet.render.timeline import Segment, Spans, segments
from tubelet.results import Tube, interval

LABELS = LabelSpace.of(["walk", "wave"])
HALF = Spans(on=0.5)


def tube(walk: list[float], times: list[int] | None = None, track_id: int = 4) -> Tube:
    n = len(walk)
    boxes = [[0.1 * i, 0.2, 0.1 * i + 0.3, 0.8] for i in range(n)]
    return Tube(
        video="film",
        track_id=track_id,
        times_ms=np.array(times if times is not None else np.arange(n) * 1000, np.int64),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        person_scores=np.ones(n, np.float32),
        action_scores=np.stack([np.array(walk), np.full(n, 0.01)], 1).astype(np.float32),
        labels=LABELS,
    )


def spans(found: list[Segment]) -> list[tuple[int, int]]:
    return [(s.start_ms, s.end_ms) for s in found]


def test_a_segment_reaches_half_an_interval_beyond_its_keyframes() -> None:
    (found,) = segments(tube([0.1, 0.6, 0.8, 0.1]), HALF, 1000)
    assert (found.start_ms, found.end_ms) == (500, 2500)
    assert (found.track_id, found.column, found.peak_ms) == (4, 0, 2000)
    assert found.score == pytest.approx(0.7)
    assert found.peak == pytest.approx(0.8)


def test_a_score_that_trembles_about_the_threshold_is_one_action() -> None:
    assert spans(segments(tube([0.52, 0.45, 0.51, 0.48]), HALF, 1000)) == [(0, 3500)]


def test_a_score_below_the_release_ends_the_action() -> None:
    found = segments(tube([0.9, 0.39, 0.9]), HALF, 1000)
    assert spans(found) == [(0, 500), (1500, 2500)]


def test_an_action_that_never_reaches_the_threshold_is_none() -> None:
    assert segments(tube([0.45, 0.49, 0.45]), HALF, 1000) == []


def test_one_lost_keyframe_is_bridged_and_two_are_not() -> None:
    assert len(segments(tube([0.9, 0.9], [0, 2000]), HALF, 1000)) == 1
    assert len(segments(tube([0.9, 0.9], [0, 3000]), HALF, 1000)) == 2


def test_nothing_begins_before_the_film_but_negative_times_stay() -> None:
    assert spans(segments(tube([0.9], [200]), HALF, 1000)) == [(0, 700)]
    assert spans(segments(tube([0.9], [-200]), HALF, 1000)) == [(-200, 300)]


def test_odd_intervals_leave_no_gap() -> None:
    found = segments(tube([0.9, 0.1, 0.9], [0, 333, 666]), HALF, 333)
    assert spans(found) == [(0, 167), (500, 833)]


def test_an_empty_tube_has_no_segments_and_no_box() -> None:
    assert segments(tube([]), HALF, 1000) == []
    assert tube([]).box_at(0, 1000) is None


@pytest.mark.parametrize(("threshold", "every_ms"), [(1.2, 1000), (-0.1, 1000), (0.5, 0)])
def test_impossible_settings_are_refused(threshold: float, every_ms: int) -> None:
    with pytest.raises(InputError):
        segments(tube([0.9]), Spans(on=threshold), every_ms)


def test_a_box_moves_linearly_and_only_within_the_tubes_life() -> None:
    person = tube([0.9, 0.9], [1000, 2000])
    middle = person.box_at(1250, 1000)
    assert middle is not None
    np.testing.assert_allclose(middle, [0.025, 0.2, 0.325, 0.8], atol=1e-6)
    held = person.box_at(2499, 1000)
    assert held is not None
    np.testing.assert_allclose(held, person.boxes[1])
    assert person.box_at(499, 1000) is None
    assert person.box_at(2500, 1000) is None


def test_scores_are_those_of_the_nearest_keyframe() -> None:
    person = tube([0.2, 0.7])
    assert person.scores_at(499)[0] == pytest.approx(0.2)
    assert person.scores_at(501)[0] == pytest.approx(0.7)


def test_the_interval_is_the_median_step() -> None:
    assert interval([tube([0.1, 0.2, 0.3], [0, 400, 800]), tube([0.1, 0.2], [0, 1200])]) == 400
    assert interval([tube([0.1])]) == 1000


def test_an_action_ends_where_it_is_told_to() -> None:
    flickering = tube([0.9, 0.39, 0.9, 0.05])
    assert spans(segments(flickering, Spans(on=0.5, off=0.3), 1000)) == [(0, 2500)]
    assert len(segments(flickering, Spans(on=0.5, off=0.5), 1000)) == 2
    assert Spans(on=0.5, off=0.1).release == pytest.approx(0.2)
    assert Spans(on=0.0, off=0.0).release == 1


def test_what_is_over_too_soon_is_left_out() -> None:
    brief = tube([0.9, 0.1, 0.1, 0.9, 0.9])
    assert spans(segments(brief, Spans(on=0.5, least_ms=1001), 1000)) == [(2500, 4500)]
    assert len(segments(brief, Spans(on=0.5, least_ms=500), 1000)) == 2


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"on": 1.2}, "threshold"),
        ({"on": 0.5, "off": 0.6}, "off"),
        ({"off": -0.1}, "off"),
        ({"least_ms": -1}, "least"),
        ({"on": float("nan")}, "threshold"),
    ],
)
def test_spans_that_cannot_be_are_refused(wrong: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        Spans(**wrong)
    assert caught.value.arguments == (argument,)


@pytest.mark.parametrize("film_end_ms", [2001, 2200, 2499, 2500, 2900, 3000])
def test_nothing_ends_after_the_film_nor_before_it_where_no_keyframe_follows(
    film_end_ms: int,
) -> None:
    person = tube([0.9, 0.9, 0.9])
    last = int(person.times_ms[-1])
    end_ms = last + film_end_ms - 2000
    (part,) = segments(person, Spans(on=0.5), 1000, film_end_ms=end_ms)
    assert part.end_ms == end_ms == person.life(1000, end_ms)[1]
    boxes = person.boxes_at([last, end_ms - 1, end_ms], 1000, end_ms)
    assert np.isnan(boxes).all(axis=1).tolist() == [False, False, True]
