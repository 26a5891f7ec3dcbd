"""Identities corrected on the page, and what results were made with, written and read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.cli.correcting import correct
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace
from tubelet.render.export import VideoMeta, read_tubes, write_tubes
from tubelet.render.identities import Identity, read_identities, with_identities
from tubelet.render.made_by import MadeBy
from tubelet.results import Tube

LABELS = LabelSpace.of(["walk", "wave"])
MADE = MadeBy(
    tubelet="1", model="m", people="p", threshold=0.45, every_ms=1000, notes=("it guesses",)
)


def tube(track_id: int, times: list[int], sure: float, path: bool = False) -> Tube:
    n = len(times)
    box = np.array([0.1 * track_id, 0.2, 0.1 * track_id + 0.2, 0.8], np.float32)
    boxes = np.tile(box, (n, 1))
    return Tube(
        video="film",
        track_id=track_id,
        times_ms=np.array(times),
        boxes=boxes,
        person_scores=np.full(n, sure, np.float32),
        action_scores=np.full((n, 2), 0.1 * track_id, np.float32),
        labels=LABELS,
        path_ms=np.array(times if path else [], np.int64),
        path_boxes=boxes if path else np.zeros((0, 4), np.float32),
    )


def saved(tmp_path: Path, people: Any, **head: Any) -> Path:
    path = tmp_path / "identities.json"
    file = {"format": "tubelet.identities", "version": 1, "video": None, "people": people}
    path.write_text(json.dumps(file | head), encoding="utf-8")
    return path


def test_tracks_of_one_person_become_one_and_the_surer_box_stays() -> None:
    tubes = [tube(1, [0, 1000], 0.5), tube(2, [5000], 0.9), tube(3, [1000, 2000], 0.8)]
    one, other = with_identities(tubes, [Identity(track_ids=(1, 3), name="Ann")])
    assert (one.track_id, one.name, one.times_ms.tolist()) == (1, "Ann", [0, 1000, 2000])
    assert one.boxes[:, 0] == pytest.approx([0.1, 0.3, 0.3])
    assert one.action_scores[:, 0] == pytest.approx([0.1, 0.3, 0.3])
    assert other is tubes[1]


def test_a_path_keeps_every_point_of_both() -> None:
    tubes = [tube(1, [0, 1000], 0.5, path=True), tube(3, [1000, 2000], 0.4)]
    (one,) = with_identities(tubes, [Identity(track_ids=(1, 3))])
    assert one.path_ms.tolist() == [0, 1000, 2000]
    assert one.path_boxes[:, 0] == pytest.approx([0.1, 0.1, 0.3])


def test_identities_of_another_film_are_refused() -> None:
    with pytest.raises(DataError, match="another film"):
        with_identities([tube(1, [0], 0.5)], [Identity(track_ids=(1, 4))])


@pytest.mark.parametrize(
    "people",
    [
        "x",
        [[1]],
        [{"track_ids": []}],
        [{"track_ids": [1, 1]}],
        [{"track_ids": [-1]}],
        [{"track_ids": [True]}],
        [{"track_ids": [1], "name": 3}],
        [{"track_ids": [1], "name": "x" * 61}],
        [{"track_ids": [1, 2]}, {"track_ids": [2]}],
    ],
)
def test_what_is_no_identity_is_refused(people: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_identities(saved(tmp_path, people))


def test_another_file_or_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="identities"):
        read_identities(saved(tmp_path, [], version=2))
    with pytest.raises(InputError):
        read_identities(tmp_path / "none.json")


def test_results_are_corrected_and_read_back(tmp_path: Path) -> None:
    meta = VideoMeta(name="f.mp4", fps=25, width=8, height=8, start_ms=0, duration_ms=2400)
    tubes = [tube(1, [0, 1000], 0.5), tube(6, [2000], 0.8)]
    write_tubes(
        tmp_path / "tubes.json", tubes, video=meta, labels=LABELS, every_ms=1000, made_by=MADE
    )
    file = saved(tmp_path, [{"track_ids": [1, 6], "name": "Ann"}])
    correct(tmp_path, file, tmp_path / "new", None, None)
    back = read_tubes(tmp_path / "new" / "tubes.json")
    assert back.made_by == MADE
    assert [(t.name, t.times_ms.tolist()) for t in back.tubes] == [("Ann", [0, 1000, 2000])]
    # The threshold is that of the results: 0.1 is below it, 0.6 above.
    rows = (tmp_path / "new" / "actions.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert rows[1].split(",")[4:6] == ["1.500", "2.400"]


def test_corrected_actions_end_and_last_as_they_were_asked_to(tmp_path: Path) -> None:
    made = replace(MADE, off=0.1, least_ms=1200, sensitive_threshold=0.95)
    scores = np.array([[0.5, 0.0], [0.2, 0.9], [0.0, 0.0]], np.float32)
    harmful = LabelSpace.of(["walk", "shoot_gun"])
    one = replace(tube(1, [0, 1000, 2000], 0.5), labels=harmful, action_scores=scores)
    short = replace(tube(2, [0], 0.5), labels=harmful, action_scores=scores[:1])
    write_tubes(
        tmp_path / "tubes.json",
        [one, short],
        video=None,
        labels=harmful,
        every_ms=1000,
        made_by=made,
    )
    correct(tmp_path, saved(tmp_path, []), tmp_path / "new", None, None)
    rows = (tmp_path / "new" / "actions.csv").read_text(encoding="utf-8").splitlines()
    # One walks until 1.5 s; the other's second is too short, and 0.9 is too little for a gun.
    assert [row.split(",")[1:3] for row in rows[1:]] == [["1", "walk"]]
    assert [float(cell) for cell in rows[1].split(",")[4:6]] == [0, 1.5]


def test_made_by_of_the_first_days_is_read() -> None:
    older = MADE.to_json()
    for field in ("off", "least_ms", "sensitive_threshold"):
        del older[field]
    assert MadeBy.from_json(older) == MADE


def test_made_by_says_all_in_a_line_and_comes_back() -> None:
    some = replace(MADE, classes=("walk", "wave"), person_threshold=0.46)
    assert MadeBy.from_json(json.loads(json.dumps(some.to_json()))) == some
    assert some.line() == "m · people by p ≥ 0.46 · walk, wave ≥ 0.45 · every 1 s · tubelet 1"
    assert "all classes ≥ 0.45" in MADE.line() and "people by p ·" in MADE.line()
    for field in ("model", "classes", "threshold"):
        with pytest.raises(DataError):
            MadeBy.from_json(MADE.to_json() | {field: 3 if field != "threshold" else "high"})
