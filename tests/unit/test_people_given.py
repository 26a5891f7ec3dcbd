"""People from files: nearest moment, tolerance, ids or scores, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tubelet.errors import ConfigError, DataError, InputError
from tubelet.people.given import GivenPeople
from tubelet.types import Key, People


def key(time_ms: int, video: str = "a") -> Key:
    return Key(video=video, time_ms=time_ms)


def at(*times: int, tolerance_ms: int = 20) -> GivenPeople:
    return GivenPeople(
        ((key(t), People.of([[0, 0, t / 1000, 1]])) for t in times), tolerance_ms=tolerance_ms
    )


@pytest.mark.parametrize(
    ("asked", "found"),
    [(100, 100), (110, 100), (120, 100), (121, None), (79, None), (80, 100), (981, 1000)],
)
def test_the_nearest_moment_within_the_tolerance(asked: int, found: int | None) -> None:
    people = at(1000, 100)(key(asked))
    assert len(people) == (found is not None)
    if found is not None:
        assert people.boxes[0, 2] == np.float32(found / 1000)


def test_of_two_equally_near_the_earlier() -> None:
    assert at(100, 120)(key(110)).boxes[0, 2] == np.float32(0.1)


def test_an_unknown_video_has_no_people() -> None:
    assert len(at(100)(key(100, "b"))) == 0
    with pytest.raises(InputError, match="unknown video"):
        at(100).keys("b")
    assert at(200, 100).keys("a") == [key(100), key(200)]


def test_twice_the_same_moment_is_refused() -> None:
    with pytest.raises(DataError, match="duplicate people"):
        at(100, 100)
    with pytest.raises(ConfigError):
        at(100, tolerance_ms=-1)


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_eighth_column_as_scores(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.csv", "a,1.0,0,0,0.5,1,,0.9", "a,1.0,0.5,0,1.04,1,,0.2", "a,2.0,0,0,1,1,,0.8"
    )
    given = GivenPeople.read(path)
    people = given(key(1000))
    np.testing.assert_allclose(people.scores, [0.9, 0.2])
    assert people.boxes.max() == 1
    assert people.track_ids.tolist() == [-1, -1]
    assert len(GivenPeople.read(path, threshold=0.5)(key(1000))) == 1
    assert len(given) == 2


def test_the_eighth_column_as_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,1.0,0,0,0.5,1,12,4", "a,1.0,0,0,0.5,1,14,4",
                 "a,1.0,0.5,0,1,1,12,7")  # fmt: skip
    people = GivenPeople.read(path)(key(1000))
    assert people.track_ids.tolist() == [4, 7]
    assert people.scores.tolist() == [1, 1]


def test_whole_numbers_that_repeat_are_scores(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,1.0,0,0,0.5,1,,1", "a,1.0,0.5,0,1,1,,1")
    people = GivenPeople.read(path)(key(1000))
    assert people.track_ids.tolist() == [-1, -1]
    given = GivenPeople.read(path, kind="truth")(key(1000))
    assert given.track_ids.tolist() == [1, 1]


def test_a_box_without_action_score_or_id(tmp_path: Path) -> None:
    people = GivenPeople.read(write(tmp_path / "b.csv", "a,1.0,0,0,0.5,1"))(key(1000))
    assert (people.scores.tolist(), people.track_ids.tolist()) == ([1.0], [-1])
