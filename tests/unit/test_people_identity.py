"""HOTA, IDF1 and switches, against what TrackEval 1.3.0 computes from the same people."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubelet.people.identity import Moment, measure_tracks
from tubelet.types import People


def film(seed: int, moments: int, people: int) -> list[Moment]:
    """People who drift, are missed, change their ids and get new ones, and a ghost."""
    rng, found = np.random.default_rng(seed), list[Moment]()
    corner, speed = rng.uniform(0, 0.6, (people, 2)), rng.normal(0, 0.01, (people, 2))
    size, ids = rng.uniform(0.15, 0.35, (people, 2)), np.arange(people)
    given = ids + 10
    for t in range(moments):
        boxes = np.hstack([corner + speed * t, corner + speed * t + size])
        here, seen = rng.random(people) < 0.9, rng.random(people) < 0.8
        if rng.random() < 0.15:
            i, j = rng.choice(people, 2, replace=False)
            given[[i, j]] = given[[j, i]]
        if rng.random() < 0.1:
            given[rng.integers(people)] = 100 + t
        boxes_found = boxes[seen] + rng.normal(0, 0.02, (seen.sum(), 4))
        boxes_found[:, 2:] = np.maximum(boxes_found[:, 2:], boxes_found[:, :2] + 0.01)
        ids_found = given[seen]
        if rng.random() < 0.3:
            boxes_found = np.vstack([boxes_found, [[0.8, 0.8, 0.95, 0.99]]])
            ids_found = np.append(ids_found, 77)
        true = People.of(boxes[here], None, ids[here])
        found.append((true, People.of(boxes_found, None, ids_found)))
    return found


def test_the_figures_are_trackevals() -> None:
    report = measure_tracks([film(0, 40, 5), film(1, 30, 3), film(2, 10, 8)])
    assert report.hota == pytest.approx(0.4200588688897175, abs=1e-9)
    assert report.detection == pytest.approx(0.548894659618885, abs=1e-9)
    assert report.association == pytest.approx(0.3238802671681667, abs=1e-9)
    assert report.idf1 == pytest.approx(0.5182926829268293, abs=1e-9)
    assert report.switches == 25
    assert (report.people, report.strangers) == (16, 3)  # the ghost, once a film


def test_perfect_and_absent_tracks() -> None:
    true = [moment[0] for moment in film(3, 12, 4)]
    perfect = measure_tracks([[(people, people) for people in true]])
    assert perfect.hota == pytest.approx(1)
    assert (perfect.idf1, perfect.switches) == (1, 0)
    assert (perfect.people, perfect.ids, perfect.strangers) == (4, 4, 0)
    nobody = measure_tracks([[(people, People.of([])) for people in true]])
    assert (nobody.hota, nobody.idf1, nobody.people) == (0, 0, 0)
    assert math.isnan(measure_tracks([[(People.of([]), People.of([]))]]).hota)


def test_a_name_that_changes_is_one_switch() -> None:
    box = [[0.1, 0.1, 0.5, 0.9]]
    names = [1, 1, 2, 2, 1]
    report = measure_tracks(
        [[(People.of(box, None, [7]), People.of(box, None, [n])) for n in names]]
    )
    assert (report.switches, report.people, report.ids) == (2, 1, 2)
    assert report.idf1 == pytest.approx(3 / 5)
