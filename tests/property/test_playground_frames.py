"""Any frame of any clip is a function of (seed, config, index) alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.playground import PlaygroundConfig, make_clip, render_window, world_of
from tubelet.playground.make import _renderer

TINY = PlaygroundConfig(height=48, width=64, seconds=1.6)
SEEDS = st.integers(0, 2**45)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, order=st.permutations(range(0, 40, 5)))
def test_frames_do_not_depend_on_what_else_is_drawn(seed: int, order: list[int]) -> None:
    clip = make_clip(seed, TINY)
    _renderer.cache_clear()
    world_of(seed + 1, TINY)
    window = render_window(seed, 1000, order, TINY)
    assert (window.frames == clip.frames[order]).all()
    assert (window.people.boxes == clip.boxes[25]).all()
    assert (window.people.track_ids == clip.person_ids[25]).all()
    assert (window.targets == clip.targets[25]).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    size=st.tuples(st.integers(16, 90), st.integers(16, 90)).filter(
        lambda hw: 0.5 <= hw[1] / hw[0] <= 4
    ),
    people=st.integers(1, 8),
    knob=st.floats(0, 3),
    task=st.sampled_from(["atomic", "partner", "event", "scene"]),
)
def test_every_config_draws_frames_and_valid_boxes(
    seed: int, size: tuple[int, int], people: int, knob: float, task: str
) -> None:
    config = PlaygroundConfig(
        height=size[0], width=size[1], seconds=1.2, people=(1, people), clutter=knob,
        occluders=knob, camera=knob, lighting=knob, noise=knob, task=task,  # type: ignore[arg-type]
    )  # fmt: skip
    window = render_window(seed, 1000, [0, 29], config)
    assert window.frames.shape == (2, *size, 3)
    boxes = window.people.boxes
    assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= 1).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_different_seeds_give_different_clips(seed: int) -> None:
    a = render_window(seed, 1000, [10], TINY).frames
    b = render_window(seed + 1, 1000, [10], TINY).frames
    assert (a != b).mean() > 0.2
