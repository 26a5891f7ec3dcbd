"""A user's annotations made into a set: whose films, which split, which classes exclude others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tubelet.cli import main
from tubelet.data.importers import Options, read
from tubelet.data.importers.naming import ids_in, shortened
from tubelet.data.prepare import PreparedSet, prepare
from tubelet.data.tables import read_ava_csv
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace
from tubelet.media.video import find_films
from tubelet.media.writer import VideoWriter
from tubelet.people.given import GivenPeople
from tubelet.recipes.own import own_labels
from tubelet.types import Key, People

LABELS = LabelSpace(ids=(1, 2), names=("walk", "sit"))
ROW = "{video},{time},0.1,0.1,0.4,0.9,{label},0"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, 10, (48, 64)) as writer:
        for number in range(25):
            writer.write(np.full((48, 64, 3), number * 9, np.uint8))
    return path


def films(folder: Path, film: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, folder / name)
    return folder


def csv_of(path: Path, rows: list[tuple[str, int]], header: str = "", more: str = "") -> Path:
    lines = [ROW.format(video=video, time=1, label=label) + more for video, label in rows]
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n")
    return path


def made(tmp_path: Path, source: Path, videos: Path, **options: object) -> PreparedSet:
    return prepare(source, videos, tmp_path / "set", options=Options(labels=LABELS), **options)  # type: ignore[arg-type]


def test_ids_are_paths_in_the_folder_of_videos(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "park/x.mp4", "yard/x.mp4", "z.v1.mp4", "sub/deep/y.mkv")
    source = csv_of(
        tmp_path / "a.csv",
        [("park/x", 1), ("data/yard/x.mp4", 2), ("z.v1.mp4", 1), ("y", 2)],
    )
    found = made(tmp_path, source, videos)
    assert {*found.train_videos, *found.val_videos} == {"park/x", "yard/x", "z.v1", "sub/deep/y"}
    table = read_ava_csv(found.train)
    assert set(table.videos()) == set(found.train_videos)


def test_a_name_that_fits_two_films_is_refused(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "park/x.mp4", "yard/x.mp4", "z.mp4")
    source = csv_of(tmp_path / "a.csv", [("x", 1), ("z", 2)])
    with pytest.raises(DataError, match="could be several films"):
        made(tmp_path, source, videos)


def test_two_names_do_not_become_one_film(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "x.mp4", "z.mp4")
    source = csv_of(tmp_path / "a.csv", [("park/x", 1), ("yard/x", 2), ("z", 2)])
    with pytest.raises(DataError, match="two films of the same name"):
        made(tmp_path, source, videos)


def test_films_that_differ_in_the_suffix_keep_it(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "x.mp4", "x.mkv")
    assert ids_in(videos, ["x.mp4", "x.mkv"]) == {"x.mp4": "x.mp4", "x.mkv": "x.mkv"}


def test_without_films_a_tools_names_are_as_short_as_they_can_be() -> None:
    assert shortened(["/data/upload/1/a.mp4", "b.mp4"]) == {
        "/data/upload/1/a.mp4": "a",
        "b.mp4": "b",
    }
    assert shortened(["p/x.mp4", "y/x.mp4"]) == {"p/x.mp4": "p/x", "y/x.mp4": "y/x"}


def cvat(tasks: list[str], attribute: str) -> str:
    """A CVAT project whose tasks have a walking and a sitting person each."""
    meta = "".join(
        f"<task><id>{i}</id><name>{name}</name><size>20</size><source>{name}</source>"
        "<original_size><width>64</width><height>48</height></original_size></task>"
        for i, name in enumerate(tasks)
    )
    boxes = "".join(
        f'<track id="{2 * i + k}" label="person" task_id="{i}"><box frame="{20 * i + f}" '
        f'outside="0" keyframe="1" xtl="5" ytl="5" xbr="30" ybr="40">'
        f'<attribute name="does">{value}</attribute></box></track>'
        for i in range(len(tasks))
        for k, value in enumerate(("walk", "sit"))
        for f in (0, 10)
    )
    return (
        f"<annotations><version>1.1</version><meta><project><labels><label><name>person</name>"
        f"<attributes><attribute><name>does</name>{attribute}</attribute></attributes></label>"
        f"</labels><tasks>{meta}</tasks></project></meta>{boxes}</annotations>"
    )


SELECT = "<input_type>select</input_type><values>walk\nsit</values>"


def test_tasks_of_one_name_in_two_folders_stay_two(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "park/x.mp4", "yard/x.mp4")
    (tmp_path / "a.xml").write_text(cvat(["park/x.mp4", "yard/x.mp4"], SELECT))
    found = prepare(tmp_path / "a.xml", videos, tmp_path / "set")
    assert {*found.train_videos, *found.val_videos} == {"park/x", "yard/x"}
    bare, _, _ = read(tmp_path / "a.xml", options=Options(fps=10.0))
    assert sorted(set(bare.frame["video"])) == ["park/x", "yard/x"]


def test_a_choice_excludes_its_other_values(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "a.mp4", "b.mp4")
    (tmp_path / "a.xml").write_text(cvat(["a.mp4", "b.mp4"], SELECT))
    assert prepare(tmp_path / "a.xml", videos, tmp_path / "one").single_choice
    source = csv_of(tmp_path / "a.csv", [("a", 1), ("b", 2)])
    assert not made(tmp_path, source, videos).single_choice


def test_the_command_takes_a_select_for_exclusive(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = films(tmp_path / "v", film, "a.mp4", "b.mp4")
    (tmp_path / "a.xml").write_text(cvat(["a.mp4", "b.mp4"], SELECT))
    line = ["data", "prepare", str(tmp_path / "a.xml"), "--videos", str(videos)]
    assert main([*line, "--out", str(tmp_path / "one")]) == 0
    assert "exactly one of the classes at a time" in capsys.readouterr().out
    assert '"exclusive": true' in (tmp_path / "one" / "recipe.json").read_text()
    assert main([*line, "--out", str(tmp_path / "many"), "--no-exclusive"]) == 0
    assert '"exclusive": true' not in (tmp_path / "many" / "recipe.json").read_text()


def test_one_class_alone_cannot_exclude(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "a.mp4", "b.mp4")
    source = csv_of(tmp_path / "a.csv", [("a", 1), ("b", 1)])
    one = Options(labels=LabelSpace(ids=(1,), names=("walk",)))
    found = prepare(source, videos, tmp_path / "set", options=one)
    assert any("everybody labelled does it" in note for note in found.split_notes)
    with pytest.raises(InputError, match="the only class"):
        own_labels(found, name="set", exclusive=True)


def test_the_split_as_the_user_names_it(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "a.mp4", "b.mp4", "c.mp4")
    source = csv_of(tmp_path / "a.csv", [("a", 1), ("b", 2), ("c", 1)])
    found = made(tmp_path, source, videos, val_videos=["b.mp4"])
    assert (found.train_videos, found.val_videos) == (("a", "c"), ("b",))
    assert any("sit" in note and "training" not in note for note in found.split_notes)


def test_the_split_of_a_column(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "a.mp4", "b.mp4", "c.mp4")
    sides = {"a.mp4": "train", "b": "validation", "c": "test"}
    lines = ["video,timestamp,x1,y1,x2,y2,action,person,part"]
    lines += [ROW.format(video=v, time=1, label=1) + f",{side}" for v, side in sides.items()]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = made(tmp_path, tmp_path / "a.csv", videos, split_column="part")
    assert (found.train_videos, found.val_videos, found.test_videos) == (("a",), ("b",), ("c",))
    with pytest.raises(DataError, match="no column 'fold'"):
        made(tmp_path, tmp_path / "a.csv", videos, split_column="fold")
    both = (tmp_path / "a.csv").read_text() + ROW.format(video="b", time=2, label=1) + ",train\n"
    (tmp_path / "a.csv").write_text(both)
    with pytest.raises(DataError, match="one side"):
        made(tmp_path, tmp_path / "a.csv", videos, split_column="part")


def test_films_found_by_detect_and_people_have_the_same_ids(film: Path, tmp_path: Path) -> None:
    videos = films(tmp_path / "v", film, "park/x.mp4", "yard/x.mp4")
    assert list(find_films([videos])) == ["park/x", "yard/x"]
    assert list(find_films([videos / "park" / "x.mp4"])) == ["x"]
    named = [videos / "park" / "x.mp4", videos / "yard" / "x.mp4"]
    assert list(find_films(named)) == ["park/x", "yard/x"]


def test_given_boxes_are_found_under_a_films_other_names() -> None:
    people = People.of([(0.1, 0.1, 0.5, 0.9)])
    given = GivenPeople([(Key(video="park/x.mp4", time_ms=0), people)])
    for name in ("park/x.mp4", "park/x", "x"):
        assert len(given(Key(video=name, time_ms=0))) == 1
        assert [key.time_ms for key in given.keys(name)] == [0]
    two = GivenPeople(
        [(Key(video="park/x", time_ms=0), people), (Key(video="yard/x", time_ms=0), people)]
    )
    assert len(two(Key(video="x", time_ms=0))) == 0
