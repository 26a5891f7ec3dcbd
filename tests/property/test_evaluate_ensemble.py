"""Ensembles of predictions: what averaging must and must not change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.data.annotations import Annotations
from tubelet.errors import ConfigError, DataError
from tubelet.evaluate.clip_scores import ClipScores
from tubelet.evaluate.ensemble import Coverage, join_clips, join_detections, normalised

BOXES = [(0.0, 0.0, 0.5, 0.5), (0.1, 0.0, 0.5, 0.5), (0.1, 0.0, 0.5, 0.5)]  # two are equal
LABELS = (1, 4)


def table(scores: Sequence[Sequence[float]], people: Sequence[int]) -> Annotations:
    """Rows of every class of some of six people: three boxes at two moments."""
    rows = [(p, label, s) for p, own in zip(people, scores, strict=True)
            for label, s in zip(LABELS, own, strict=True)]  # fmt: skip
    return Annotations.of(
        video=["v"] * len(rows),
        time_us=[902_000_000 + 1_000_000 * (p // 3) for p, _, _ in rows],
        boxes=[BOXES[p % 3] for p, _, _ in rows],
        label=[label for _, label, _ in rows],
        score=[s for _, _, s in rows],
    )


def joined(tables: Sequence[Annotations], weights: Sequence[float]) -> dict[object, float]:
    found, _ = join_detections(tables, normalised(weights, len(tables)))
    rows = found.frame.select("time_us", "x1", "label", "score").iter_rows()
    seen: dict[object, float] = {}
    for time, x1, label, score in rows:
        nth = sum(key[:3] == (time, x1, label) for key in seen)  # type: ignore[index]
        seen[time, x1, label, nth] = score
    return seen


score = st.floats(0, 1, width=32)
everybody = st.lists(st.tuples(score, score), min_size=6, max_size=6)
members = st.lists(everybody, min_size=1, max_size=4)
weight = st.floats(0.1, 10)


@settings(max_examples=30)
@given(everybody, weight)
def test_an_ensemble_of_one_is_itself(scores: list[tuple[float, float]], w: float) -> None:
    own = table(scores, range(6))
    found, coverage = join_detections([own], normalised([w], 1))
    assert found.frame.drop("row").equals(own.frame.drop("row"))
    assert coverage == Coverage(total=6, unit="people", of_members=(6,))


@settings(max_examples=50)
@given(members, st.data(), st.floats(0.01, 100))
def test_the_mean_is_by_hand_whatever_the_order_and_the_weights_sum(
    scores: list[list[tuple[float, float]]], data: st.DataObject, scale: float
) -> None:
    weights = data.draw(st.lists(weight, min_size=len(scores), max_size=len(scores)))
    order = data.draw(st.permutations(range(len(scores))))
    tables = [table(own, range(6)) for own in scores]
    found = joined(tables, weights)
    expected = np.average(np.array(scores), axis=0, weights=weights).reshape(-1)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-9)
    scaled = joined(tables, [w * scale for w in weights])
    turned = joined([tables[i] for i in order], [weights[i] for i in order])
    for other in (scaled, turned):
        assert other.keys() == found.keys()
        np.testing.assert_allclose([other[k] for k in found], list(found.values()), atol=1e-9)


@settings(max_examples=50)
@given(st.sets(st.integers(1, 5)), st.sets(st.integers(1, 5)))
def test_people_whom_a_member_lacks_are_averaged_over_the_others(a: set[int], b: set[int]) -> None:
    # The second of two equal boxes is only there where the first is.
    first, second = (sorted({0, *s} - {p for p in (2, 5) if p - 1 not in s}) for s in (a, b))
    tables = [
        table([(0.2, 0.4)] * len(first), first),
        table([(0.8, 0.6)] * len(second), second),
    ]
    found, coverage = join_detections(tables, normalised([1, 3], 2))
    assert coverage.total == len({*first, *second})
    assert coverage.of_members == (len(first), len(second))
    both = len({*first} & {*second})
    scores = found.frame["score"].to_numpy()
    assert np.isclose(scores, 0.65).sum() == np.isclose(scores, 0.55).sum() == both
    assert np.isclose(scores, 0.2).sum() == len(first) - both
    assert np.isclose(scores, 0.8).sum() == len(second) - both


def test_an_action_that_a_member_leaves_out_of_a_person_has_the_score_0() -> None:
    whole, part = table([(0.4, 0.8)], [0]), table([(0.4, 0.8)], [0])
    part = Annotations(frame=part.frame.head(1))
    found, coverage = join_detections([whole, part], (0.5, 0.5))
    np.testing.assert_allclose(found.frame["score"].to_numpy(), [0.4, 0.4])
    assert coverage.notes(["a", "b"]) == []


def test_members_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(DataError, match="share no person"):
        join_detections([table([(0, 0)], [0]), table([(0, 0)], [1])], (0.5, 0.5))
    one = ClipScores(videos=("a",), ids=(0, 1), scores=np.zeros((1, 2)))
    other = ClipScores(videos=("b",), ids=(1, 0), scores=np.zeros((1, 2)))
    with pytest.raises(DataError, match="share no video"):
        join_clips([one, other], (0.5, 0.5))
    with pytest.raises(DataError, match="different classes"):
        join_clips([one, ClipScores(videos=("a",), ids=(0,), scores=np.zeros((1, 1)))], (0.5, 0.5))
    for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(ConfigError, match="positive weight"):
            normalised(weights, 2)


def test_videos_are_averaged_class_by_class_and_views_first() -> None:
    one = ClipScores(videos=("a", "b"), ids=(0, 1), scores=np.array([[0.2, 0.8], [0.5, 0.5]]))
    views = np.array([[0.0, 1.0], [0.5, 0.5], [0.1, 0.9]])
    other = ClipScores(videos=("a", "a", "c"), ids=(1, 0), scores=views)
    found, coverage = join_clips([one, other], normalised([3, 1], 2))
    assert found.videos == ("a", "b", "c")
    assert found.ids == (0, 1)
    expected = [[0.75 * 0.2 + 0.25 * 0.75, 0.75 * 0.8 + 0.25 * 0.25], [0.5, 0.5], [0.9, 0.1]]
    np.testing.assert_allclose(found.scores, expected)
    assert coverage.of_members == (2, 2)
    [first, second] = coverage.notes(["x", "y"])
    assert "x is missing 1 of 3 videos" in first
    assert "y is missing 1 of 3 videos" in second
