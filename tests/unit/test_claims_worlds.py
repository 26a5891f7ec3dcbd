"""The drawn worlds of the claims bench: what is labelled is what is drawn, and is drawn once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from benchmarks.claims.cofinetuning import others, steps_of, target_of
from benchmarks.claims.context import PlaceSource
from benchmarks.claims.held import DrawnSource
from benchmarks.claims.memory_bank import MIDDLE, MOMENTS, FilmSource
from benchmarks.claims.pathways import SwayingSource
from benchmarks.claims.poses import POSES, PoseSource
from benchmarks.claims.relations import PeopleSource

from tubelet.data.annotations import Annotations
from tubelet.types import InputSpec

WORLDS: tuple[DrawnSource, ...] = (
    PoseSource(name="poses", counts=(1,) * len(POSES)),
    PeopleSource(name="people", count=6),
    PlaceSource(name="places", count=4),
    SwayingSource(name="swaying", count=4),
    FilmSource(name="films", films=(1, 2)),
)


@pytest.mark.parametrize("source", WORLDS, ids=lambda s: s.name)
def test_samples_show_what_the_truth_says(source: DrawnSource, tmp_path: Path) -> None:
    data = source.held(tmp_path)
    truth = data.truth()
    assert isinstance(truth, Annotations)
    spec = InputSpec(frames=2, stride=2, short_side=data.middle(0).shape[0])
    labelled: Counter[tuple[str, int, int]] = Counter()
    for index in range(len(data)):
        sample = data.sample(index, spec=spec)
        assert sample.targets is not None
        assert np.array_equal(sample.frames[:, 1].permute(1, 2, 0).numpy(), data.middle(index))
        assert (sample.people.boxes[:, 2:] > sample.people.boxes[:, :2]).all()
        for _, column in sample.targets.nonzero().tolist():
            labelled[sample.key.video, sample.key.time_ms, data.labels.ids[column]] += 1
    rows = truth.frame.select("video", "time_us", "label").iter_rows()
    assert labelled == Counter((video, time // 1000, label) for video, time, label in rows)


def test_a_world_is_drawn_once_and_its_test_clips_are_everybodys(tmp_path: Path) -> None:
    drawn = PlaceSource(name="places", count=2)
    first = drawn.held(tmp_path).middle(0)
    assert len(list(tmp_path.glob("PlaceSource_*.npz"))) == 1
    again = PlaceSource(name="places", count=2, seed=1).held(tmp_path).middle(0)
    assert not np.array_equal(first, again)
    one, other = (
        PlaceSource(name="places", split="test", count=2, seed=s).held(tmp_path / str(s)).middle(0)
        for s in (0, 1)
    )
    assert np.array_equal(one, other)


def test_both_views_of_a_film_are_of_one_film(tmp_path: Path) -> None:
    some = FilmSource(name="some", films=(1, 1)).held(tmp_path)
    every = FilmSource(name="every", films=(1, 1), moments="all").held(tmp_path)
    assert (len(some), len(every)) == (MOMENTS + 1, 2 * MOMENTS)
    assert some.key(MOMENTS) == every.key(MOMENTS + MIDDLE)
    assert np.array_equal(some.middle(MOMENTS), every.middle(MOMENTS + MIDDLE))


def test_whoever_stands_notices_whoever_acts(tmp_path: Path) -> None:
    data = PeopleSource(name="people", count=30).held(tmp_path)
    spec = InputSpec(frames=1, stride=1, short_side=data.middle(0).shape[0])
    for index in range(len(data)):
        targets = data.sample(index, spec=spec).targets
        assert targets is not None
        own = targets[:, :3].argmax(1).tolist()
        for does, noticed in zip(own, targets[:, 3:].bool().tolist(), strict=True):
            assert noticed == [does == 0 and 1 in own, does == 0 and 2 in own]


def test_co_finetuning_sees_every_set_equally_often() -> None:
    target, sets = target_of(3), others(3)
    sizes = [sum(target.counts), *(s.count for s in sets)]
    assert steps_of(*sizes) == pytest.approx(sum(map(steps_of, sizes)), abs=len(sizes))
