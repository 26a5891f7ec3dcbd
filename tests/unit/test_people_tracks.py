"""My detector and my tracker: tracks from files and iterators, and what is asked about them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubelet.data.annotations import Annotations
from tubelet.data.importers import sniff
from tubelet.errors import DataError, InputError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.media.writer import VideoWriter
from tubelet.people.given import GivenPeople, nearest_to_multiples
from tubelet.people.linking import link
from tubelet.results import Detections
from tubelet.types import Key

HEADER = "frame,track_id,x1,y1,x2,y2,score"
LABELS = LabelSpace(ids=(3, 12), names=("walk", "wave"))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`yard.mp4`, 4 seconds at 25 frames a second, 64×48."""
    folder = tmp_path_factory.mktemp("films")
    with VideoWriter(folder / "yard.mp4", 25, (48, 64)) as writer:
        for number in range(100):
            writer.write(np.full((48, 64, 3), number, np.uint8))
    return folder


def tracks(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def at(people: GivenPeople, time_ms: int) -> list[tuple[int, list[float]]]:
    found = people(Key(video="yard", time_ms=time_ms))
    boxes = np.round(found.boxes.astype(float), 4).tolist()
    return list(zip(found.track_ids.tolist(), boxes, strict=True))


def test_a_table_with_named_columns_is_a_film_s_tracks(films: Path, tmp_path: Path) -> None:
    path = tracks(tmp_path / "yard.csv", "0,7,16,12,32,24,0.9", "25,7,20,12,36,24,0.9",
                  "25,-1,0,0,8,8,0.5")  # fmt: skip
    assert sniff(path) == "tracks-csv"
    people = GivenPeople.from_file(path, videos=films)
    assert at(people, 0) == [(7, [0.25, 0.25, 0.5, 0.5])]
    assert [i for i, _ in at(people, 1000)] == [7, -1]
    assert people(Key(video="yard", time_ms=1000)).scores.tolist() == pytest.approx([0.9, 0.5])
    assert people.free_id("yard") == 8 and people.period_ms("yard") == 1000


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index",
         "16,12,32,24,0,0.9,7,0"),
        ("video,time_ms,id,bb_left,bb_top,bb_width,bb_height", "yard.mp4,0,7,16,12,16,12"),
        ("time_s,person_id,x1,y1,x2,y2", "0.0,7.0,0.25,0.25,0.5,0.5"),
        ("track_id,frame,left,top,width,height", "7,0,16,12,16,12"),
    ],
)  # fmt: skip
def test_columns_are_called_as_other_programs_call_them(
    header: str, row: str, films: Path, tmp_path: Path
) -> None:
    people = GivenPeople.from_file(tracks(tmp_path / "yard.csv", row, header=header), videos=films)
    assert at(people, 0) == [(7, [0.25, 0.25, 0.5, 0.5])]


def test_whether_frames_count_from_0_is_asked(films: Path, tmp_path: Path) -> None:
    path = tracks(tmp_path / "yard.csv", "1,7,16,12,32,24,0.9", "26,7,16,12,32,24,0.9")
    with pytest.raises(InputError, match="0 or 1") as caught:
        GivenPeople.from_file(path, videos=films)
    assert caught.value.arguments == ("first_frame",)
    one = GivenPeople.from_file(path, videos=films, first_frame=1)
    assert [k.time_ms for k in one.keys("yard")] == [0, 1000]
    zero = GivenPeople.from_file(path, videos=films, first_frame=0)
    assert [k.time_ms for k in zero.keys("yard")] == [40, 1040]


def test_a_time_is_asked_for_no_frame(films: Path, tmp_path: Path) -> None:
    """`frames.csv` has both, and begins at whatever frame somebody is first on."""
    header = "video_id,frame,time_s,person_id,x1,y1,x2,y2,seen,actions"
    path = tracks(tmp_path / "f.csv", "yard,25,1.000,7,0.25,0.25,0.5,0.5,1,walk", header=header)
    people = GivenPeople.from_file(path, videos=films)
    assert at(people, 1000) == [(7, [0.25, 0.25, 0.5, 0.5])]


def test_what_nothing_tells_is_asked(films: Path, tmp_path: Path) -> None:
    path = tracks(tmp_path / "yard.csv", "0,7,16,12,32,24,0.9")
    with pytest.raises(InputError, match="size in pixels|frame rate"):
        GivenPeople.from_file(path)
    with pytest.raises(DataError, match="no frame 100"):
        GivenPeople.from_file(tracks(path, "0,7,0,0,9,9,1", "100,7,0,0,9,9,1"), videos=films)
    cars = tracks(path, "0,7,16,12,32,24,person", "0,8,0,0,9,9,car",
                  header="frame,id,x1,y1,x2,y2,class_name")  # fmt: skip
    with pytest.raises(InputError, match="which are people") as caught:
        GivenPeople.from_file(cars, videos=films)
    assert "car (1 boxes)" in str(caught.value.got)
    people = GivenPeople.from_file(cars, videos=films, person_labels=["person"])
    assert [i for i, _ in at(people, 0)] == [7]
    with pytest.raises(DataError, match="row 3"):
        GivenPeople.from_file(tracks(path, "0,7,0,0,9,9,1", "1,7,0,0"), videos=films)


def test_a_mot_file_with_a_frame_0_counts_from_it(films: Path, tmp_path: Path) -> None:
    path = tmp_path / "yard.txt"
    for first, stated in ((0, None), (1, None), (0, 0), (1, 1)):
        path.write_text(
            f"{first},7,16,12,16,12,0.9,-1,-1,-1\n{first + 25},7,16,12,16,12,0.9,-1,-1,-1\n"
        )
        people = GivenPeople.from_file(path, videos=films, first_frame=stated)
        assert [k.time_ms for k in people.keys("yard")] == [0, 1000]
        assert at(people, 0) == [(7, [0.25, 0.25, 0.5, 0.5])]


def test_a_folder_of_yolo_texts(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    for frame in (1, 26):
        (folder / f"yard_{frame}.txt").write_text("0 0.375 0.375 0.25 0.25 0.9 7\n")
    people = GivenPeople.from_file(folder, videos=films)
    assert at(people, 1000) == [(7, [0.25, 0.25, 0.5, 0.5])]
    (folder / "yard_26.txt").write_text("0 0.375 0.375 0.25 0.25 0.9 7\n2 0.5 0.5 1 1 0.8 9\n")
    with pytest.raises(InputError, match="which are people"):
        GivenPeople.from_file(folder, videos=films)
    people = GivenPeople.from_file(folder, videos=films, person_labels=["0"])
    assert [i for i, _ in at(people, 1000)] == [7]


def test_an_iterator_of_boxes_and_ids() -> None:
    def mine() -> Iterator[tuple[int, Any, Any]]:
        yield 0, [[16, 12, 32, 24], [0, 0, 8, 8]], [7, None]
        yield 1000, np.array([[20, 12, 36, 24]]), np.array([7])
        yield 2000, [], []

    people = GivenPeople.from_tracks("yard", mine(), size=(64, 48))
    assert at(people, 0) == [(7, [0.25, 0.25, 0.5, 0.5]), (-1, [0, 0, 0.125, 0.1667])]
    assert at(people, 2000) == []
    with pytest.raises(InputError, match="in pixels"):
        GivenPeople.from_tracks("yard", mine())
    with pytest.raises(ShapeError, match="as many ids"):
        GivenPeople.from_tracks("yard", [(0, [[0, 0, 1, 1]], [1, 2])])
    with pytest.raises(ShapeError, match="wrong form"):
        GivenPeople.from_tracks("yard", [(0, [[0, 0, 1, 1]])])
    scored = GivenPeople.from_tracks("yard", [(0, [[0, 0, 1, 1]], [1], [0.5])])
    assert scored(Key(video="yard", time_ms=0)).scores.tolist() == [0.5]


@given(
    times=st.lists(st.integers(0, 20_000), unique=True, max_size=60).map(sorted),
    every_ms=st.sampled_from([40, 333, 1000, 5000]),
)
def test_of_each_period_the_same_moments_as_a_table_keeps(times: list[int], every_ms: int) -> None:
    table = Annotations.of(video=["v"] * len(times), time_us=np.array(times, np.int64) * 1000)
    kept = table.every(every_ms).frame["time_us"].to_numpy() // 1000
    ours = np.array(times, np.int64)[nearest_to_multiples(np.array(times, np.int64), every_ms)]
    assert ours.tolist() == kept.tolist()


def moment() -> Detections:
    return Detections(
        key=Key(video="yard", time_ms=1000),
        boxes=np.array([[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 0.125, 0.125]], np.float32),
        person_scores=np.array([0.9, 0.4], np.float32),
        action_scores=np.array([[0.8, 0.1], [0.2, 0.7]], np.float32),
        track_ids=np.array([4, -1]),
        labels=LABELS,
    )


def test_supervision_s_objects_there_and_back() -> None:
    sv = pytest.importorskip("supervision", reason="needs supervision (not a dependency)")
    found = moment().to_supervision((64, 48))
    assert isinstance(found, sv.Detections) and len(found) == 2
    assert found.xyxy.tolist() == [[16, 12, 32, 24], [0, 0, 8, 6]]
    assert (found.class_id.tolist(), found.tracker_id.tolist()) == ([3, 12], [4, -1])
    assert found["class_name"].tolist() == ["walk", "wave"]
    assert found.confidence.tolist() == pytest.approx([0.8, 0.7])
    # Its own tools take them: a filter, an annotator, a sink.
    assert len(found[found.confidence > 0.75]) == 1
    picture = sv.BoxAnnotator().annotate(np.zeros((48, 64, 3), np.uint8), found)
    assert picture.any()
    people = GivenPeople.from_tracks("yard", [(1000, found)], size=(64, 48), class_id=3)
    assert at(people, 1000) == [(4, [0.25, 0.25, 0.5, 0.5])]
    with pytest.raises(InputError, match="several classes"):
        GivenPeople.from_tracks("yard", [(1000, found)], size=(64, 48))
    (first, _) = link([moment()])
    ((time_ms, alone),) = first.to_supervision((64, 48))
    assert (time_ms, alone.tracker_id.tolist()) == (1000, [first.track_id])
    assert len(moment().filter(persons=99).to_supervision((64, 48))) == 0


def test_supervision_s_table_is_read(films: Path, tmp_path: Path) -> None:
    sv = pytest.importorskip("supervision", reason="needs supervision (not a dependency)")
    with sv.CSVSink(str(tmp_path / "yard.csv")) as sink:
        sink.append(moment().to_supervision((64, 48)), {"frame_index": 0})
    people = GivenPeople.from_file(
        tmp_path / "yard.csv", videos=films, person_labels=["walk", "wave"]
    )
    assert [i for i, _ in at(people, 0)] == [4, -1]


def test_fiftyone_s_objects() -> None:
    fo = pytest.importorskip("fiftyone", reason="needs FiftyOne (not a dependency)")
    found = moment().to_fiftyone(top=1)
    assert isinstance(found, fo.Detections)
    walk, wave = found.detections
    assert (walk.label, walk.index, walk["actions"], wave.index) == ("walk", 4, ["walk"], None)
    assert walk.bounding_box == pytest.approx([0.25, 0.25, 0.25, 0.25])
    assert walk.confidence == pytest.approx(0.8) and walk["person_score"] == pytest.approx(0.9)
    (tube, _) = link([moment()])
    ((frame, alone),) = tube.to_fiftyone(25).items()
    assert (frame, alone.index) == (26, tube.track_id)


@pytest.mark.parametrize("package", ["supervision", "fiftyone"])
def test_a_package_that_is_not_there_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=package) as caught:
        if package == "supervision":
            moment().to_supervision((64, 48))
        else:
            moment().to_fiftyone()
    assert caught.value.hint == f"pip install {package}"


def test_a_table_of_ava_is_no_table_of_tracks(tmp_path: Path) -> None:
    header = "video_id,timestamp,x1,y1,x2,y2,action_id,person_id"
    path = tracks(tmp_path / "a.csv", "a,902,0.1,0.1,0.5,0.5,3,1", header=header)
    assert sniff(path) == "ava-csv"
    with pytest.raises(DataError, match="row 1"):
        GivenPeople.from_file(tracks(tmp_path / "b.csv", header="a,0902,0.1"))
