"""Which moments a moment sees: against the definitions, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.errors import ConfigError
from tubelet.models.memory.window import Lookaround, clip_times

TIMES = st.lists(st.integers(0, 20_000), min_size=1, max_size=30, unique=True).map(sorted)


@settings(deadline=None, max_examples=150)
@given(times=TIMES, before=st.integers(0, 9000), after=st.integers(0, 9000))
def test_a_stream_gives_every_moment_its_whole_window(
    times: list[int], before: int, after: int
) -> None:
    stream: Lookaround[int] = Lookaround(before_ms=before, after_ms=after)
    found, waiting = [], 0
    for time in times:
        for own, near in stream.push(time, -time):
            # Nothing leaves before its window has passed, and then at once.
            assert own.time_ms + after <= time
            found.append((own, near))
        oldest = min([t for t in times if t <= time][len(found) :], default=time)
        assert time - oldest < after or not after
        assert len(stream) <= sum(1 for t in times if oldest - before <= t <= time)
        waiting = max(waiting, len(stream))
    found += stream.flush()
    assert [own.time_ms for own, _ in found] == times
    for own, near in found:
        expected = [t for t in times if own.time_ms - before <= t <= own.time_ms + after]
        assert [m.time_ms for m in near] == expected
        assert [m.value for m in near] == [-t for t in expected]


def test_time_that_does_not_advance_is_refused() -> None:
    stream: Lookaround[None] = Lookaround(before_ms=5, after_ms=5)
    stream.push(10, None)
    with pytest.raises(ConfigError, match="time order"):
        stream.push(10, None)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), times=TIMES, clips=st.integers(1, 9), stride=st.integers(100, 3000))
def test_collaborating_clips_are_near_the_moments_wanted(
    data: st.DataObject, times: list[int], clips: int, stride: int
) -> None:
    at = data.draw(st.sampled_from(times))
    chosen = np.array(times)[clip_times(times, at, clips=clips, stride_ms=stride)]
    assert at in chosen
    assert len(chosen) <= clips
    assert (np.diff(chosen) > 0).all()
    # All within reach of `clips` moments, none off the grid by more than half a stride.
    assert chosen[-1] - chosen[0] <= clips * stride
    off = np.abs((chosen - at + stride // 2) % stride - stride // 2)
    assert (off * 2 <= stride + 1).all()


@pytest.mark.parametrize(
    ("at", "clips", "expected"),
    [
        (5, 5, [3, 4, 5, 6, 7]),
        (0, 5, [0, 1, 2, 3, 4]),
        (1, 5, [0, 1, 2, 3, 4]),
        (9, 5, [5, 6, 7, 8, 9]),
        (8, 9, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (5, 4, [3, 4, 5, 6]),
        (3, 1, [3]),
        (4, 30, list(range(10))),
    ],
)
def test_at_the_ends_the_row_of_clips_moves_inwards(
    at: int, clips: int, expected: list[int]
) -> None:
    times = 1000 * np.arange(10)
    chosen = clip_times(times, 1000 * at, clips=clips, stride_ms=1000)
    assert chosen.tolist() == expected


def test_gaps_are_left_out_and_dense_keyframes_are_thinned() -> None:
    gap = [0, 1000, 5000, 6000]
    assert clip_times(gap, 1000, clips=3, stride_ms=1000).tolist() == [0, 1]
    dense = np.arange(0, 10_000, 40)
    chosen = dense[clip_times(dense, 4000, clips=5, stride_ms=1000)]
    assert chosen.tolist() == [2000, 3000, 4000, 5000, 6000]
