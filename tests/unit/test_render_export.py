"""AVA's CSV, the CSV for people, and tubes.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace
from tubelet.render.actions import ACTIONS, write_actions
from tubelet.render.export import (
    VideoMeta,
    read_tubes,
    write_detections,
    write_tubes,
)
from tubelet.render.timeline import Spans
from tubelet.result_files import seconds
from tubelet.results import Detections, Tube
from tubelet.types import Key

LABELS = LabelSpace(ids=(3, 12), names=("walk", 'say "hi", wave'), exclusive=True)
META = VideoMeta(name="film.mp4", fps=29.97, width=320, height=240, start_ms=0, duration_ms=5_000)


def keyframe(time_ms: int = 1000, video: str = "film", score: float = 0.25) -> Detections:
    return Detections(
        key=Key(video=video, time_ms=time_ms),
        boxes=np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
        person_scores=np.ones(1, np.float32),
        action_scores=np.array([[score, 0.75]], np.float32),
        track_ids=np.array([7]),
        labels=LABELS,
    )


def person(scores: list[list[float]], track_id: int = 7) -> Tube:
    n = len(scores)
    rng = np.random.default_rng(n)
    corner = rng.uniform(0, 0.5, (n, 2))
    return Tube(
        video="film",
        track_id=track_id,
        times_ms=np.arange(n) * 1000,
        boxes=np.hstack([corner, corner + 0.3]).astype(np.float32),
        person_scores=rng.uniform(0, 1, n).astype(np.float32),
        action_scores=np.array(scores, np.float32),
        labels=LABELS,
    )


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("time_ms", "shown"),
    [(902_000, "902"), (1500, "1.500"), (40, "0.040"), (0, "0"), (-5, "-0.005")],
)
def test_timestamps_are_avas_seconds(time_ms: int, shown: str) -> None:
    assert seconds(time_ms) == shown
    assert round(float(shown) * 1000) == time_ms


def test_detections_are_avas_columns(tmp_path: Path) -> None:
    out = tmp_path / "new" / "actions.csv"
    assert write_detections(out, [keyframe(902_000), keyframe(902_500)]) == 4
    assert out.read_text(encoding="utf-8").splitlines()[:3] == [
        "film,902,0.100000,0.200000,0.300000,0.400000,3,0.25",
        "film,902,0.100000,0.200000,0.300000,0.400000,12,0.75",
        "film,902.500,0.100000,0.200000,0.300000,0.400000,3,0.25",
    ]


def test_small_scores_can_be_left_out_and_keep_their_order(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    assert write_detections(out, [keyframe(score=1e-7)], min_score=0.5) == 1
    assert write_detections(out, [keyframe(score=1e-7)]) == 2
    assert float(rows(out)[0][-1]) == pytest.approx(1e-7)


def test_a_video_name_with_commas_quotes_and_lines_survives(tmp_path: Path) -> None:
    out, name = tmp_path / "a.csv", 'a, "b"\nc'
    write_detections(out, [keyframe(video=name)])
    assert {row[0] for row in rows(out)} == {name}


def test_an_interrupted_run_leaves_the_former_file(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("former")

    def broken() -> Iterator[Detections]:
        yield keyframe()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_detections(out, broken())
    assert out.read_text() == "former"
    assert leftovers(tmp_path) == ["a.csv"]


def test_rows_stay_hidden_until_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"

    def watched() -> Iterator[Detections]:
        yield keyframe()
        assert not out.exists()

    assert write_detections(out, watched()) == len(rows(out)) == 2


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"film@1\.000s"):
        write_detections(tmp_path / "a.csv", [keyframe(score=float("nan"))])
    tube = person([[float("inf"), 0.1]])
    with pytest.raises(DataError, match="track 7"):
        write_tubes(tmp_path / "t.json", [tube], video=META, labels=LABELS, every_ms=1000)
    assert leftovers(tmp_path) == []


def test_a_folder_is_no_output_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_detections(tmp_path, [])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        write_detections(tmp_path / "file" / "a.csv", [])


def test_actions_are_one_row_a_segment(tmp_path: Path) -> None:
    out = tmp_path / "readable.csv"
    tube = person([[0.9, 0.1], [0.7, 0.1], [0.1, 0.8]])
    assert write_actions(out, [tube], spans=Spans(on=0.5), every_ms=1000) == 2
    with out.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        first, second = table
        assert table.fieldnames == list(ACTIONS.columns)
    assert (first["person_id"], first["action"], first["action_id"]) == ("7", "walk", "3")
    assert (first["start_s"], first["end_s"], first["score"]) == ("0.000", "1.500", "0.8000")
    assert (first["peak_score"], first["peak_s"]) == ("0.9000", "0.000")
    assert (second["action"], second["start_s"]) == ('say "hi", wave', "1.500")
    assert float(second["x1"]) == pytest.approx(float(tube.boxes[2, 0]), abs=1e-4)


def test_tubes_survive_a_round_trip(tmp_path: Path) -> None:
    out = tmp_path / "tubes.json"
    tubes = [person([[0.123456, 0.5], [0.2, 0.1]]), person([[0.3, 0.4]], track_id=-1)]
    write_tubes(out, tubes, video=META, labels=LABELS, every_ms=400)
    back = read_tubes(out)
    assert (back.video, back.every_ms, back.labels) == (META, 400, LABELS)
    for tube, copy in zip(tubes, back.tubes, strict=True):
        assert (copy.track_id, copy.video) == (tube.track_id, tube.video)
        np.testing.assert_array_equal(copy.times_ms, tube.times_ms)
        np.testing.assert_allclose(copy.boxes, tube.boxes, atol=1e-6)
        np.testing.assert_allclose(copy.person_scores, tube.person_scores, atol=1e-6)
        np.testing.assert_allclose(copy.action_scores, tube.action_scores, atol=1e-6)


def test_a_film_without_people_is_a_file_too(tmp_path: Path) -> None:
    write_tubes(tmp_path / "t.json", [], video=META, labels=LABELS, every_ms=400)
    assert read_tubes(tmp_path / "t.json").tubes == ()


def test_a_tube_of_other_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="different label space"):
        write_tubes(
            tmp_path / "t.json",
            [person([[0.1, 0.2]])],
            video=META,
            labels=LabelSpace.of(["a", "b"]),
            every_ms=400,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "coco"}, "not a tubes.json"),
        ({"version": 2}, "unknown version"),
        ({"labels": {}}, "KeyError"),
        ({"video": {"name": "x"}}, "TypeError"),
        ({"tubes": [{"video": "v", "track_id": 1}]}, "tube 0"),
        ({"tubes": 5}, "TypeError"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    out = tmp_path / "tubes.json"
    write_tubes(out, [person([[0.1, 0.2]])], video=META, labels=LABELS, every_ms=400)
    out.write_text(json.dumps(json.loads(out.read_text()) | change))
    with pytest.raises(DataError, match=message) as caught:
        read_tubes(out)
    assert "tubes.json" in str(caught.value)


def test_times_that_do_not_ascend_name_the_file_and_the_tube(tmp_path: Path) -> None:
    out = tmp_path / "tubes.json"
    write_tubes(out, [person([[0.1, 0.2], [0.1, 0.2]])], video=META, labels=LABELS, every_ms=400)
    data = json.loads(out.read_text())
    data["tubes"][0]["times_ms"] = [5, 5]
    out.write_text(json.dumps(data))
    with pytest.raises(DataError, match="tube 0"):
        read_tubes(out)


def test_no_file_and_no_json_are_the_users_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_tubes(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(DataError, match="invalid JSON"):
        read_tubes(tmp_path / "text.json")
