"""The recipe of the shipped detector: its pictures, and what it measures on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tubelet.checkpoints import read_header
from tubelet.errors import InputError
from tubelet.people.detectors.small import WEIGHTS, SmallPersonDetector, config_from_header
from tubelet.people.given import GivenPeople
from tubelet.people.measure import measure
from tubelet.people.training.person_small import (
    labelled_frames,
    person_small,
    playground_pictures,
    score,
)
from tubelet.types import Key, People


def test_playground_pictures_are_complete_and_repeat() -> None:
    one, two = (list(playground_pictures(4, seed=3)) for _ in "ab")
    assert {p.image.shape for p in one} == {(96, 128, 3), (192, 256, 3)}
    assert all(p.complete for p in one)
    assert sum(len(p.boxes_px) for p in one) > 0
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.boxes_px.max(initial=0) <= 256


def test_the_shipped_detector_finds_people_of_the_playground_and_nobody_in_noise() -> None:
    detector = SmallPersonDetector.load(precision="fp32")
    pictures = [p for p in playground_pictures(16, seed=99) if p.image.shape[0] == 192]
    scale = np.array([256, 192, 256, 192], np.float32)
    report = measure((detector(p.image), p.boxes_px / scale) for p in pictures)
    assert report.recall > 0.7
    assert report.found < 1.3 * report.truth
    noise = np.random.default_rng(0).integers(0, 256, (192, 256, 3), dtype=np.uint8)
    assert not len(detector(noise))


@pytest.mark.shared
def test_every_labelled_frame_of_a_real_clip_comes_with_its_person(shared: Path) -> None:
    folder = shared / "data" / "jhmdb21"
    truth = folder / "annotations" / "jhmdb21_val_split1.csv"
    given = GivenPeople.read(truth)
    name = given.videos()[0]
    frames = list(labelled_frames(truth, folder / "videos", names=[name]))
    assert len(frames) == len(given.keys(name))
    assert all(len(people) == 1 and image.shape == (240, 320, 3) for image, people in frames)
    third = list(labelled_frames(truth, folder / "videos", names=[name], every=3))
    assert len(third) == -(-len(frames) // 3)


@pytest.mark.shared
def test_a_detector_that_knows_the_truth_scores_one(shared: Path) -> None:
    folder = shared / "data" / "jhmdb21"
    truth = folder / "annotations" / "jhmdb21_keyframes_val_split1.csv"
    given = GivenPeople.read(truth)
    name = given.videos()[0]
    answers = iter([given(key) for key in given.keys(name)])
    report = score(lambda image: next(answers), truth, folder / "videos", names=[name])
    assert (report.ap, report.recall, report.frames) == (1.0, 1.0, len(given.keys(name)))
    blind = score(lambda image: People.of([]), truth, folder / "videos", names=[name])
    assert blind.recall == 0.0


@pytest.mark.shared
def test_a_video_that_is_not_there_is_named(shared: Path) -> None:
    folder = shared / "data" / "jhmdb21"
    truth = folder / "annotations" / "jhmdb21_val_split1.csv"
    absent = GivenPeople([(Key(video="absent", time_ms=0), People.of([]))]).videos()
    with pytest.raises(InputError, match="absent"):
        list(labelled_frames(truth, folder / "videos", names=absent))


def test_the_recipe_makes_the_network_that_ships() -> None:
    recipe = person_small()
    assert recipe.model.build().config == recipe.model
    model, reading = config_from_header(read_header(WEIGHTS), WEIGHTS)
    assert model == recipe.model
    assert (reading.short_side, reading.long_side) == (320, 512)
    assert WEIGHTS.stat().st_size < 10_000_000
    assert recipe.rate(recipe.steps - 1) < 0.1 * recipe.lr
