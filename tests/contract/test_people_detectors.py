"""What every person detector promises, whoever made it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tubelet.errors import ConfigError, InputError, ShapeError
from tubelet.people.detectors import DETECTORS
from tubelet.people.detectors.base import NamedDetector, PersonDetector
from tubelet.people.detectors.efficient import EfficientPersonConfig
from tubelet.people.detectors.residual import SmallPersonConfig
from tubelet.people.detectors.small import KIND, WEIGHTS, SmallPersonDetector
from tubelet.people.named import person_detector
from tubelet.people.sliced import SlicedDetector
from tubelet.plugins import families


def residual() -> PersonDetector:
    torch.manual_seed(0)
    config = SmallPersonConfig(stem=8, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), neck=8)
    return SmallPersonDetector(config.build())


def efficient() -> SmallPersonDetector:
    torch.manual_seed(0)
    config = EfficientPersonConfig(stem=8, widths=(8,) * 7, depths=(1,) * 7, neck=8)
    return SmallPersonDetector(config.build())


def sliced() -> PersonDetector:
    return SlicedDetector(detector=efficient())


def shipped() -> PersonDetector:
    if not WEIGHTS.is_file():
        pytest.skip(f"the weights have not been trained yet: {WEIGHTS}")
    return person_detector(KIND)


def added() -> list[type[NamedDetector]]:
    """Those of plugins that have one name only, without a part that varies."""
    others = [one for one in families(NamedDetector) if one not in DETECTORS]
    return [one for one in others if "<" not in one.spelling]


def maker(family: type[NamedDetector]) -> Callable[[], PersonDetector]:
    return lambda: person_detector(family.spelling)


@pytest.fixture(params=[residual, efficient, sliced, shipped, *map(maker, added())])
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


@pytest.mark.parametrize("one", DETECTORS)
def test_listed_detectors_say_what_they_are(one: type[NamedDetector]) -> None:
    assert one.spelling and one.summary and len(one.summary) <= 72 and one.summary[-1] != "."


def test_each_name_is_claimed_once() -> None:
    for name in ("person_small", "my.safetensors", "hf:some/model"):
        assert sum(one.claims(name) for one in DETECTORS) == 1
    with pytest.raises(InputError, match="did you mean 'person_small'"):
        person_detector("person_smal")


def test_a_name_that_two_detectors_claim_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = classmethod(lambda cls, name: True)
    monkeypatch.setattr(DETECTORS[1], "claims", greedy)
    with pytest.raises(ConfigError, match="ambiguous person detector"):
        person_detector(KIND)
