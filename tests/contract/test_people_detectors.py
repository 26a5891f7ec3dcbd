"""What every person detector promises, whoever made it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tubelet.people.detector import PersonDetector
from tubelet.people.named import DEFAULT, person_detector
from tubelet.people.small import WEIGHTS, SmallPersonConfig, SmallPersonDetector
from tubelet.types import ShapeError


def untrained() -> PersonDetector:
    torch.manual_seed(0)
    config = SmallPersonConfig(stem=8, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), neck=8)
    return SmallPersonDetector(config.build())


def shipped() -> PersonDetector:
    if not WEIGHTS.is_file():
        pytest.skip(f"the weights have not been trained yet: {WEIGHTS}")
    return person_detector(DEFAULT)


@pytest.fixture(params=[untrained, shipped])
def detector(request: pytest.FixtureRequest) -> PersonDetector:
    make: Callable[[], PersonDetector] = request.param
    return make()


@pytest.mark.parametrize("hw", [(240, 320), (37, 53), (1, 1), (3, 400), (400, 3)])
def test_any_size_gives_boxes_in_the_frame(detector: PersonDetector, hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    people = detector(image)
    assert people.boxes.shape == (len(people), 4)
    assert ((people.boxes >= 0) & (people.boxes <= 1)).all()
    assert ((people.scores >= 0) & (people.scores <= 1)).all()
    assert (np.diff(people.scores) <= 0).all()
    assert (people.track_ids == -1).all()


def test_the_frame_is_neither_changed_nor_need_it_be_contiguous(detector: PersonDetector) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    before = image.copy()
    whole, strided = detector(image), detector(np.repeat(image, 2, axis=1)[:, ::2])
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(whole.boxes, strided.boxes)


def test_the_same_frame_gives_the_same_people(detector: PersonDetector) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(detector(image).boxes, detector(image).boxes)


def test_something_else_than_an_rgb_frame_is_refused(detector: PersonDetector) -> None:
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(ShapeError, match="uint8"):
            detector(wrong)
    with pytest.raises(ShapeError, match="float64"):
        detector(np.zeros((8, 8, 3)))  # type: ignore[arg-type]
