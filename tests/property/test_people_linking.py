"""Linking: what must hold for any detections, and what must hold for people who simply move."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import ConfigError, DataError, InputError
from tubelet.labels import LabelSpace
from tubelet.people.linking import LinkConfig, Linker, link, smooth
from tubelet.results import Detections, Tube
from tubelet.types import Key

LABELS = LabelSpace.of(["stand", "walk"])


def moment(
    time_ms: int,
    boxes: Sequence[Sequence[float]],
    *,
    scores: Sequence[float] | None = None,
    ids: Sequence[int] | None = None,
    actions: Sequence[Sequence[float]] | None = None,
    video: str = "v",
) -> Detections:
    n = len(boxes)
    return Detections(
        key=Key(video=video, time_ms=time_ms),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        person_scores=np.array([0.9] * n if scores is None else scores, np.float32),
        action_scores=np.array([[0.5, 0.5]] * n if actions is None else actions, np.float32),
        track_ids=np.array([-1] * n if ids is None else ids, np.int64),
        labels=LABELS,
    )


def at(x: float, y: float = 0.5, width: float = 0.1, height: float = 0.4) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


@st.composite
def films(draw: st.DrawFn) -> list[Detections]:
    """Up to 8 keyframes, at uneven times, of up to 5 people anywhere, sure and doubtful."""
    gaps = draw(st.lists(st.integers(1, 4000), min_size=1, max_size=8))
    corner = st.integers(0, 800).map(lambda v: v / 1000)
    side = st.integers(20, 200).map(lambda v: v / 1000)
    person = st.tuples(corner, corner, side, side, st.floats(0, 1, width=32))
    film = []
    for time in np.cumsum(gaps).tolist():
        people = draw(st.lists(person, max_size=5, unique_by=lambda p: p[:4]))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in people]
        film.append(moment(time, boxes, scores=[p[4] for p in people]))
    return film


def contents(tubes: list[Tube]) -> list[list[tuple[int, bytes]]]:
    return sorted(
        [(int(t), b.tobytes()) for t, b in zip(tube.times_ms, tube.boxes, strict=True)]
        for tube in tubes
    )


@settings(deadline=None, max_examples=40)
@given(films())
def test_every_detection_ends_in_exactly_one_tube(film: list[Detections]) -> None:
    linked = [place for tube in contents(link(film)) for place in tube]
    there = [(m.key.time_ms, box.tobytes()) for m in film for box in m.boxes]
    assert sorted(linked) == sorted(there)


@settings(deadline=None, max_examples=40)
@given(films(), st.integers(0, 3000))
def test_times_ascend_without_longer_gaps_than_allowed(film: list[Detections], gap: int) -> None:
    tubes = link(film, max_gap_ms=gap)
    for tube in tubes:
        steps = np.diff(tube.times_ms)
        assert (steps > 0).all()
        assert (steps <= gap).all()
    assert len({t.track_id for t in tubes}) == len(tubes)


@settings(deadline=None, max_examples=40)
@given(films(), st.randoms(use_true_random=False))
def test_the_order_of_people_and_keyframes_does_not_matter(
    film: list[Detections], rnd: random.Random
) -> None:
    mixed = []
    for m in film:
        order = rnd.sample(range(len(m)), len(m))
        mixed.append(
            moment(m.key.time_ms, m.boxes[order].tolist(), scores=m.person_scores[order].tolist())
        )
    rnd.shuffle(mixed)
    assert contents(link(film)) == contents(link(mixed))


@settings(deadline=None, max_examples=40)
@given(films())
def test_the_streaming_form_gives_the_same_ids(film: list[Detections]) -> None:
    linker = Linker()
    seen = [linker.update(m) for m in film]
    for before, after in zip(film, seen, strict=True):
        np.testing.assert_array_equal(before.boxes, after.boxes)
        assert len(set(after.track_ids.tolist())) == len(after)
        assert (after.track_ids >= 1).all()
    # Linking what is already linked changes nothing.
    again = link(seen)
    assert contents(again) == contents(link(film))
    assert [t.track_id for t in again] == [t.track_id for t in link(film)]


@settings(deadline=None, max_examples=40)
@given(st.floats(0.2, 0.8), st.integers(1, 3000), st.integers(2, 12))
def test_a_still_person_keeps_one_id(x: float, step: int, count: int) -> None:
    rng = np.random.default_rng(0)
    film = [moment(i * step, [at(x + rng.uniform(-0.01, 0.01))]) for i in range(count)]
    assert len(link(film)) == 1


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([40, 200, 500]), st.floats(0.05, 0.25), st.floats(0, 0.1))
def test_people_who_cross_keep_their_ids(step: int, speed: float, offset: float) -> None:
    """Two people walk through each other, up to a quarter of the frame a second."""
    moves = speed * step / 1000
    film = []
    for i in range(int(0.6 / moves)):
        right, left = at(0.2 + offset + i * moves), at(0.8 - i * moves, 0.52)
        film.append(moment(i * step, [right, left] if i % 2 else [left, right]))
    tubes = link(film)
    assert len(tubes) == 2
    for tube in tubes:
        directions = np.sign(np.diff(tube.boxes[:, 0]))
        assert abs(directions.sum()) == len(directions)


def test_a_jump_of_more_than_a_body_at_one_keyframe_a_second() -> None:
    film = [moment(0, [at(0.2), at(0.8)]), moment(1000, [at(0.35), at(0.65)])]
    np.testing.assert_allclose([t.boxes[:, 0] for t in link(film)], [[0.15, 0.3], [0.75, 0.6]])
    apart = [moment(0, [at(0.1)]), moment(1000, [at(0.9)])]
    assert len(link(apart)) == 2


def test_a_gap_is_bridged_along_the_motion() -> None:
    """Two people walk abreast; one is hidden for a second and comes out further on."""
    film = [
        moment(t, [at(0.1 + 0.2 * t / 1000), at(0.1 + 0.2 * t / 1000, 0.1, 0.1, 0.1)][: 1 + seen])
        for t, seen in ((0, 1), (250, 1), (500, 1), (750, 0), (1000, 0), (1250, 0), (1500, 1))
    ]
    assert sorted(map(len, link(film))) == [4, 7]


def test_a_doubtful_box_continues_a_track_but_does_not_steal_it() -> None:
    film = [
        moment(0, [at(0.5)]),
        moment(100, [at(0.52), at(0.5)], scores=[0.9, 0.2]),
        moment(200, [at(0.53)], scores=[0.2]),
    ]
    longest = max(link(film), key=len)
    np.testing.assert_allclose(longest.boxes[:, 0], [0.45, 0.47, 0.48], atol=1e-6)


def test_given_ids_are_kept_wherever_the_boxes_are() -> None:
    film = [
        moment(0, [at(0.2), at(0.8), at(0.5)], ids=[7, 3, -1]),
        moment(100, [at(0.2), at(0.8), at(0.5)], ids=[3, 7, -1]),
        moment(9000, [at(0.2)], ids=[7]),
    ]
    tubes = {t.track_id: t for t in link(film)}
    assert sorted(tubes) == [3, 7, 8]
    assert tubes[7].times_ms.tolist() == [0, 100, 9000]
    assert tubes[8].times_ms.tolist() == [0, 100]


def test_an_id_that_already_names_somebody_else_is_refused() -> None:
    linker = Linker()
    linker.update(moment(0, [at(0.2)]))
    with pytest.raises(DataError, match="already taken"):
        linker.update(moment(100, [at(0.8)], ids=[1]))
    with pytest.raises(DataError, match="duplicated"):
        Linker().update(moment(0, [at(0.2), at(0.8)], ids=[4, 4]))


def test_refusals() -> None:
    linker = Linker()
    linker.update(moment(100, []))
    with pytest.raises(InputError, match="ascending"):
        linker.update(moment(100, []))
    with pytest.raises(InputError, match="one video"):
        linker.update(moment(200, [], video="w"))
    with pytest.raises(InputError, match="ascending"):
        link([moment(0, [at(0.5)]), moment(0, [at(0.5)])])
    with pytest.raises(ConfigError):
        LinkConfig(iou=0)
    with pytest.raises(ConfigError):
        link([], smooth_ms=-1)


def test_videos_are_linked_apart_and_nothing_gives_nothing() -> None:
    film = [moment(0, [at(0.5)], video="b"), moment(0, [at(0.5)], video="a")]
    assert [(t.video, t.track_id) for t in link(film)] == [("a", 1), ("b", 1)]
    assert link([]) == link([moment(0, [])]) == []


def test_memory_holds_only_the_people_of_the_last_gap() -> None:
    linker = Linker(LinkConfig(max_gap_ms=500))
    for i in range(200):
        linker.update(moment(i * 1000, [at(0.1 + 0.8 * (i % 2))]))
    assert len(linker._tracks) == 1


def test_smoothing_averages_over_a_centred_window() -> None:
    film = [
        moment(t, [at(0.5)], actions=[[a, 1 - a]])
        for t, a in ((0, 0.0), (100, 1.0), (200, 0.0), (1000, 1.0))
    ]
    (tube,) = link(film, smooth_ms=200)
    np.testing.assert_allclose(tube.action_scores[:, 0], [0.5, 1 / 3, 0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(tube.action_scores.sum(1), 1, atol=1e-6)
    (raw,) = link(film)
    assert raw.action_scores[:, 0].tolist() == [0, 1, 0, 1]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.integers(0, 2000))
def test_smoothing_stays_within_the_window(gaps: list[int], window: int) -> None:
    times = np.cumsum(gaps)
    scores = np.random.default_rng(len(gaps)).random((len(gaps), 3)).astype(np.float32)
    for i, time in enumerate(times):
        near = np.abs(times - time) <= window / 2
        expected = scores[near].mean(0)
        np.testing.assert_allclose(smooth(times, scores, window)[i], expected, atol=1e-5)
