"""Laws of segments, for any scores and any keyframe times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tubelet.labels import LabelSpace
from tubelet.render.timeline import Spans, segments
from tubelet.results import Tube

STEPS = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1, width=32)), min_size=1, max_size=40)


@given(
    steps=STEPS, threshold=st.floats(0.0625, 1, width=32), every_ms=st.sampled_from([33, 400, 1000])
)
def test_segments_cover_each_high_keyframe_once_and_never_overlap(
    steps: list[tuple[int, float]], threshold: float, every_ms: int
) -> None:
    times = np.cumsum([step * every_ms for step, _ in steps])
    scores = np.array([[score] for _, score in steps], np.float32)
    n = len(steps)
    tube = Tube(
        video="film",
        track_id=0,
        times_ms=times,
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)),
        person_scores=np.ones(n, np.float32),
        action_scores=scores,
        labels=LabelSpace.of(["walk"]),
    )
    found = segments(tube, Spans(on=threshold), every_ms)
    for before, after in pairwise(found):
        assert before.end_ms <= after.start_ms
    for time, (score,) in zip(times, scores, strict=True):
        holders = [s for s in found if s.start_ms <= time < s.end_ms]
        assert len(holders) <= 1
        if score >= threshold:
            assert len(holders) == 1
    assert all(s.peak >= threshold and s.score <= s.peak + 1e-6 for s in found)
