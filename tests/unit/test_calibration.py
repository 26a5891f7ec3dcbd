"""Scores as probabilities: how far they are from it, and what is fitted to mend it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubelet.errors import DataError
from tubelet.evaluate.boxtable import BoxTable
from tubelet.evaluate.confidence.calibration import (
    abstention,
    best_of_boxes,
    fit_platt,
    fit_temperature,
    logits_of,
    reliability,
)
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.labels import LabelSpace


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_the_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    found = reliability([0.9, 0.9, 0.9, 0.9, 0.2], [1, 1, 0, 0, 0], bins=10)
    assert found.count.tolist()[9] == 4 and found.count.tolist()[2] == 1
    assert found.error == pytest.approx((4 * 0.4 + 0.2) / 5)
    assert np.isnan(reliability([], []).error)


def test_a_confidence_beyond_one_is_refused() -> None:
    with pytest.raises(DataError, match="probability"):
        reliability([1.2], [1])


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40))
def test_the_threshold_for_a_precision_keeps_it(rows: list[tuple[int, bool]]) -> None:
    scores, right = np.array([s / 20 for s, _ in rows]), np.array([r for _, r in rows])
    curve = abstention(scores, right)
    least = curve.least(0.7)
    kept = {s: right[scores >= s].mean() for s in scores}
    good = [s for s, precision in kept.items() if precision >= 0.7]
    assert least == (min(good) if good else None)
    for threshold in kept:
        share, precision = curve.at(threshold)
        assert share == pytest.approx((scores >= threshold).mean())
        assert precision == pytest.approx(kept[threshold])
    assert curve.at(2.0)[0] == 0


def test_a_known_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (4000, 5))
    y = np.eye(5)[[rng.choice(5, p=p) for p in _softmax(z)]]
    slope, offset = fit_temperature(z * 4, y)
    assert slope == pytest.approx(0.25, rel=0.1) and offset == 0
    before, after = (
        reliability(p.max(axis=1), y[np.arange(len(y)), p.argmax(axis=1)]).error
        for p in (_softmax(z * 4), _softmax(z * 4 * slope))
    )
    assert after < 0.03 < before


def test_none_of_these_is_fitted_with_its_offset() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(0, 2, (4000, 3))
    p = _softmax(np.concatenate([z, np.zeros((len(z), 1))], axis=1))
    y = np.eye(4)[[rng.choice(4, p=row) for row in p]][:, :3]
    slope, offset = fit_temperature(2 * z - 1, y, none=True)
    assert slope == pytest.approx(0.5, rel=0.1) and offset == pytest.approx(0.5, abs=0.1)


def test_platt_finds_each_class_and_all_together_where_examples_are_few() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(0, 2, (4000, 3))
    y = (rng.random(z.shape) < 1 / (1 + np.exp(-z))).astype(float)
    moved = z * [1, 2, 1] + [0, 1, 0]
    y[:, 2] = 0
    slopes, offsets = fit_platt(moved, y)
    assert slopes[:2] == pytest.approx([1, 0.5], rel=0.15)
    assert offsets[:2] == pytest.approx([0, -0.5], abs=0.15)
    together = fit_platt(moved.reshape(-1, 1), y.reshape(-1, 1))
    assert (slopes[2], offsets[2]) == pytest.approx((together[0][0], together[1][0]))


@pytest.mark.parametrize("none", [False, True])
def test_logits_are_those_of_the_scores(none: bool) -> None:
    z = np.random.default_rng(3).normal(size=(6, 4))
    rows = np.concatenate([z, np.zeros((6, 1))], axis=1) if none else z
    scores = _softmax(rows)[:, :4]
    found = logits_of(scores, exclusive=True, none=none)
    if none:
        np.testing.assert_allclose(found, z, atol=1e-9)
    np.testing.assert_allclose(np.diff(found, axis=1), np.diff(z, axis=1), atol=1e-9)
    sigmoids = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(logits_of(sigmoids, exclusive=False), z, atol=1e-9)


def test_nothing_to_fit_on_is_refused() -> None:
    with pytest.raises(DataError, match="nobody is labelled"):
        fit_temperature(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(DataError, match="nobody is labelled"):
        fit_platt(np.zeros((0, 3)), np.zeros((0, 3)))


def test_a_box_answers_with_its_best_class() -> None:
    box, other = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    truth = BoxTable.of(videos=["v"], time_us=[0], boxes=[box], labels=[1])
    found = BoxTable.of(
        videos=["v"] * 4, time_us=[0] * 4, boxes=[box, box, other, other], labels=[1, 2, 1, 2],
        scores=[0.7, 0.2, 0.4, 0.5],
    )  # fmt: skip
    space = LabelSpace.of(("a", "b"))
    confidence, right = best_of_boxes(evaluate_frames(found, truth, space).matches)
    assert sorted(zip(confidence.tolist(), right.tolist(), strict=True)) == [
        (0.5, False),
        (0.7, True),
    ]
