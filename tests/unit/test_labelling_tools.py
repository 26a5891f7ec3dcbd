"""Exports as people have them, in small files written here: times, meanings, pictures, formats."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.importers import FORMATS, Imported, Options, convert, read, read_all, sniff
from tubelet.data.prepare import prepare
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace
from tubelet.media.stamps import frame_times
from tubelet.media.video import Video
from tubelet.media.writer import VideoWriter

UNEVEN = (0, 40, 80, 400, 440, 1000, 1040, 2000)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`even.mp4` at 25 frames a second, and `uneven.mp4`, whose frames are stamped `UNEVEN`."""
    folder = tmp_path_factory.mktemp("films")
    for name, times in (("even", range(0, 4000, 40)), ("uneven", UNEVEN)):
        with VideoWriter(folder / f"{name}.mp4", 25, (48, 64)) as writer:
            for time_ms in times:
                writer.write(np.full((48, 64, 3), time_ms % 255, np.uint8), time_ms)
    return folder


def _cvat(body: str, labels: str = "", tasks: str | None = None, kind: str = "task") -> str:
    size = "<original_size><width>64</width><height>48</height></original_size>"
    task = f"<id>1</id><name>even.mp4</name><size>100</size>{size}<source>even.mp4</source>"
    labels = labels or "<label><name>walk</name></label><label><name>sit</name></label>"
    meta = tasks or f"<{kind}>{task}<labels>{labels}</labels></{kind}>"
    return f"<annotations><meta>{meta}</meta>{body}</annotations>"


def _box(frame: int, x: float = 8, inner: str = "", **more: object) -> str:
    marks = {"outside": 0, "keyframe": 1, "xtl": x, "ytl": 12, "xbr": x + 8, "ybr": 24} | more
    attributes = " ".join(f'{k}="{v}"' for k, v in marks.items())
    return f'<box frame="{frame}" {attributes}>{inner}</box>'


def _track(*boxes: str, label: str = "walk", number: int = 0, **more: object) -> str:
    extra = " ".join(f'{k}="{v}"' for k, v in more.items())
    return f'<track id="{number}" label="{label}" {extra}>{"".join(boxes)}</track>'


def _said(name: str, value: str) -> str:
    return f'<attribute name="{name}">{value}</attribute>'


def _choice(name: str, *values: str, kind: str = "select") -> str:
    listed = "\n".join(values)
    return (
        f"<attribute><name>{name}</name><input_type>{kind}</input_type>"
        f"<values>{listed}</values></attribute>"
    )


def _read(path: Path, content: Any, options: Options | None = None) -> Imported:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return read(path, None, options or Options(fps=25, size=(64, 48)))


def _table(imported: Imported) -> Annotations:
    assert isinstance(imported.table, Annotations)
    return imported.table


def _times(imported: Imported) -> list[float]:
    return [t / 1e6 for t in _table(imported).frame["time_us"].to_list()]


def _names(imported: Imported) -> list[str | None]:
    space = imported.labels
    labels = _table(imported).frame["label"].to_list()
    return [None if i is None or space is None else space.names[space.column(i)] for i in labels]


# A frame number is a frame of its film.


def test_the_stamps_of_a_film_are_those_of_its_frames(films: Path) -> None:
    for name in ("even", "uneven"):
        with Video(films / f"{name}.mp4") as film:
            decoded = [frame.time_ms for frame in film.frames()]
        assert frame_times(films / f"{name}.mp4").tolist() == decoded
    assert decoded == list(UNEVEN)


def test_a_film_that_changes_its_rate_keeps_its_own_times(films: Path, tmp_path: Path) -> None:
    text = _cvat(_track(_box(3), _box(5), _box(7))).replace("even.mp4", "uneven.mp4")
    with_film = _read(tmp_path / "a.xml", text, Options(videos=films))
    assert _times(with_film) == [0.4, 1.0, 2.0]
    stated = _read(tmp_path / "a.xml", text, Options(videos=films, fps=25))
    assert _times(stated) == [0.4, 1.0, 2.0], "a film's frames are counted, whatever the rate"
    without = _read(tmp_path / "a.xml", text)
    assert _times(without) == [0.12, 0.2, 0.28]
    assert any("films were not given" in line for line in without.report.lines())
    with pytest.raises(DataError, match="no frame 8 in the film") as caught:
        _read(tmp_path / "a.xml", _cvat(_track(_box(8))).replace("even", "uneven"),
              Options(videos=films))  # fmt: skip
    assert "8 frames" in str(caught.value.expected)


def test_a_task_s_start_and_step_count_towards_the_next(films: Path, tmp_path: Path) -> None:
    def task(number: int, size: int, start: int, step: int, subset: str) -> str:
        return (
            f"<task><id>{number}</id><name>t{number}</name><size>{size}</size><subset>{subset}"
            f"</subset><start_frame>{start}</start_frame><frame_filter>step={step}</frame_filter>"
            "<original_size><width>64</width><height>48</height></original_size>"
            f"<source>film{number}.mp4</source></task>"
        )

    tasks = (
        f"<project><tasks>{task(1, 10, 5, 3, 'a')}{task(2, 4, 0, 2, 'a')}{task(3, 9, 0, 1, 'b')}"
        "</tasks><labels><label><name>walk</name></label></labels></project>"
    )
    body = (
        _track(_box(5), _box(8), task_id=1) + _track(_box(35), _box(37), task_id=2, number=1)
        + _track(_box(2), task_id=3, number=2)
    )  # fmt: skip
    imported = _read(tmp_path / "p.xml", _cvat(body, tasks=tasks))
    frame = _table(imported).frame
    found = list(zip(frame["video"], [round(t * 25 / 1e6) for t in frame["time_us"]], strict=True))
    assert found == [("film1", 5), ("film1", 8), ("film2", 0), ("film2", 2), ("film3", 2)]
    assert imported.report.subsets == {
        "film1": {"a"},
        "film2": {"a"},
        "film3": {"b"},
    }


def test_a_player_counts_from_the_films_first_frame(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    with VideoWriter(folder / "late.mp4", 25, (48, 64)) as writer:
        for index in range(50):
            writer.write(np.zeros((48, 64, 3), np.uint8), 1480 + 40 * index)
    start = int(frame_times(folder / "late.mp4")[0])
    imported = _read(tmp_path / "v.json", _via({"z": [1.0]}, "late.mp4"), Options(videos=folder))
    assert _times(imported) == [1.0 + start / 1000]
    again = tmp_path / "again.json"
    convert(tmp_path / "v.json", again, to="via3", options=Options(videos=folder))
    assert json.loads(again.read_text())["metadata"]["1_00000000"]["z"] == [1.0]


def _via(region: dict[str, Any], name: str, **attribute: Any) -> dict[str, Any]:
    one = {"aname": "act", "type": 4, "options": {"0": "walk", "1": "sit"}} | attribute
    full = {"vid": "1", "z": [], "xy": [2, 8, 12, 8, 12], "av": {"1": "0"}} | region
    return {
        "project": {},
        "config": {},
        "attribute": {"1": one},
        "file": {"1": {"fname": name, "type": 4}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"a": full},
    }


# What is said of a box.


def test_what_is_left_out_has_a_line_and_a_count(tmp_path: Path) -> None:
    labels = (
        f"<label><name>person</name><attributes>{_choice('act', 'walk', 'sit')}"
        f"{_choice('age', '0', '99', '1', kind='number')}{_choice('note', kind='text')}"
        "</attributes></label><label><name>car</name></label>"
    )
    body = _track(_box(0, inner=_said("act", "sit") + _said("note", "x")), label="person") + _track(
        _box(0), _box(1), label="car", number=1
    )
    path = tmp_path / "c.xml"
    with pytest.raises(InputError, match="which labels are people") as caught:
        _read(path, _cvat(body, labels))
    assert "label 'car', 2 boxes" in str(caught.value.expected)
    options = Options(fps=25, person_labels=("Person",))
    told = _read(path, _cvat(body, labels), options)
    assert _names(told) == ["sit"]
    lines = "\n".join(told.report.lines())
    assert "label 'car', not a person's label (2 boxes)" in lines
    assert "'age' (numbers)" in lines
    assert "'note' (free text)" in lines
    same = _read(path, _cvat(body, labels), Options(fps=25, ignored=("car",)))
    assert _names(same) == ["sit"]
    with pytest.raises(InputError, match="no label is called 'persn'"):
        _read(path, _cvat(body, labels), Options(fps=25, person_labels=("persn",)))


def test_a_property_of_the_person_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "c.xml"
    for other in (_choice("role", "foreman", "guest"), _choice("vest", "yes", "no"),
                  _choice("team", "T1", "T2"),
                  _choice("wearing a hat", kind="checkbox")):  # fmt: skip
        labels = (
            f"<label><name>p</name><attributes>{_choice('doing', 'walk', 'sit')}{other}"
            "</attributes></label>"
        )
        body = _track(_box(0, inner=_said("doing", "walk")), label="p")
        with pytest.raises(InputError, match="which are") as caught:
            _read(path, _cvat(body, labels))
        assert caught.value.arguments == ("attribute", "ignore")
        assert _names(_read(path, _cvat(body, labels), Options(fps=25, attributes=("doing",)))) == [
            "walk"
        ]
        given = Options(fps=25, labels=LabelSpace.of(["sit", "walk"]))
        assert _table(_read(path, _cvat(body, labels), given)).frame["label"].to_list() == [2]


def test_a_label_map_with_a_part_of_a_choice_asks_for_the_rest(tmp_path: Path) -> None:
    labels = (
        f"<label><name>p</name><attributes>{_choice('act', 'walk', 'sit')}</attributes></label>"
    )
    body = _track(
        *(_box(i, inner=_said("act", v)) for i, v in enumerate(("walk", "sit"))), label="p"
    )
    path, space = tmp_path / "c.xml", LabelSpace.of(["walk"])
    with pytest.raises(DataError, match="'sit': not in the label map"):
        _read(path, _cvat(body, labels), Options(fps=25, labels=space))
    told = _read(path, _cvat(body, labels), Options(fps=25, labels=space, ignored=("sit",)))
    assert _table(told).frame["label"].to_list() == [1, None], "the box stays, without an action"
    assert "class 'sit', as asked (1 boxes)" in "\n".join(told.report.lines())


def test_persons_without_actions_are_boxes_and_nothing_to_train_on(
    films: Path, tmp_path: Path
) -> None:
    text = _cvat(_track(_box(0), label="person"), "<label><name>person</name></label>")
    imported = _read(tmp_path / "c.xml", text)
    assert _names(imported) == [None]
    assert imported.report.nothing is not None
    with pytest.raises(InputError, match="nothing is labelled"):
        prepare(tmp_path / "c.xml", films, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box {m} xtl="28" ytl="4" xbr="36" ybr="44" rotation="90"/>', (12, 20, 52, 28)),
        ('<polygon {m} points="8,12;16,12;12,24"/>', (8, 12, 16, 24)),
        ('<ellipse {m} cx="16" cy="16" rx="8" ry="4" rotation="90"/>', (12, 8, 20, 24)),
        ('<mask {m} rle="1,2,3,2" left="8" top="12" width="4" height="2"/>', (9, 12, 12, 14)),
        ('<skeleton {m}><points label="a" points="8,12"/><points label="b" points="16,24"/>'
         '<points label="c" outside="1" points="60,40"/></skeleton>', (8, 12, 16, 24)),
        ('<polyline {m} points="8,12;16,24"/>', (8, 12, 16, 24)),
    ],
)  # fmt: skip
def test_the_box_around_a_shape(shape: str, box: tuple[int, ...], tmp_path: Path) -> None:
    element = shape.format(m='frame="0" keyframe="1" outside="0"')
    imported = _read(tmp_path / "c.xml", _cvat(_track(element)))
    assert _table(imported).boxes[0] * [64, 48, 64, 48] == pytest.approx(np.array(box))
    inner = shape.format(m='label="walk"')
    image = f'<image id="0" name="x" width="64" height="48">{inner}</image>'
    imported = _read(tmp_path / "c.xml", _cvat(image))
    assert _table(imported).boxes[0] * [64, 48, 64, 48] == pytest.approx(np.array(box))


def test_shapes_without_a_box_are_told(tmp_path: Path) -> None:
    body = (
        '<image id="0" name="x" width="64" height="48"><tag label="walk"/>'
        '<points label="walk" points="3,4"/><box label="sit" xtl="1" ytl="2" xbr="3" ybr="4"/>'
        "</image>"
    )
    lines = "\n".join(_read(tmp_path / "c.xml", _cvat(body)).report.lines())
    assert "<tag> of 'walk': has no box (1 boxes)" in lines
    assert "<points> of 'walk': too few points" in lines


def test_numbered_attributes_stay_one_choice(tmp_path: Path) -> None:
    labels = (
        f"<label><name>p</name><attributes>{_choice('act 1', 'walk', 'talk')}"
        f"{_choice('act 2', 'walk', 'talk')}</attributes></label>"
    )
    inner = _said("act 1", "walk") + _said("act 2", "talk")
    imported = _read(tmp_path / "c.xml", _cvat(_track(_box(0, inner=inner), label="p"), labels))
    assert _names(imported) == ["walk", "talk"]


def test_via_regions_of_all_kinds(tmp_path: Path) -> None:
    content = _via({"z": [1.0]}, "even.mp4")
    content["metadata"] |= {
        "circle": {"vid": "1", "z": [2], "xy": [3, 16, 16, 4], "av": {"1": "1"}},
        "lasting": {"vid": "1", "z": [2.2, 3.6], "xy": [2, 8, 12, 8, 12], "av": {"1": "0"}},
        "segment": {"vid": "1", "z": [1, 2], "xy": [], "av": {"1": "0"}},
        "line": {"vid": "1", "z": [1], "xy": [5, 1, 2, 3, 4], "av": {}},
    }
    imported = _read(tmp_path / "v.json", content)
    assert _times(imported) == [1.0, 2.0, 2.2, 3.6]
    assert _table(imported).boxes[1] * [64, 48, 64, 48] == pytest.approx(np.array([12, 12, 20, 20]))
    lines = "\n".join(imported.report.lines())
    assert "segments of time without a region: they have no box (1 boxes)" in lines
    assert "lines: they have no box (1 boxes)" in lines
    thinned = _read(tmp_path / "v.json", content, Options(size=(64, 48), every_ms=500))
    assert _times(thinned) == [1.0, 2.0, 2.5, 3.0, 3.5]


def test_names_of_people_are_numbered(tmp_path: Path) -> None:
    content = _via({"z": [1.0], "av": {"1": "0", "2": "Ann"}}, "even.mp4")
    content["attribute"]["2"] = {"aname": "who", "type": 1, "options": {}}
    content["metadata"]["b"] = content["metadata"]["a"] | {"av": {"1": "1", "2": "Bob"}}
    assert _table(_read(tmp_path / "v.json", content)).frame["person"].to_list() == [0, 1]
    content["metadata"]["b"]["av"]["2"] = "4"
    with pytest.raises(DataError, match="numbers and some are names"):
        _read(tmp_path / "v.json", content)


# Of each period one moment.


def test_every_is_one_rule_for_all_formats(tmp_path: Path) -> None:
    text = _cvat(_track(*(_box(frame) for frame in range(3, 100, 7))))
    text = text.replace("<size>", "<frame_filter>step=7</frame_filter><size>")
    options = Options(fps=25, every_ms=500, labels=LabelSpace.of(["walk", "sit"]), size=(64, 48))
    kept = _times(_read(tmp_path / "c.xml", text, options))
    assert kept == [0.12, 0.4, 0.96, 1.52, 2.08, 2.36, 2.92, 3.48, 3.76]
    for to in ("ava-csv", "via3", "coco"):
        convert(tmp_path / "c.xml", tmp_path / to, to=to,
                options=Options(fps=25, labels=options.labels, size=(64, 48)))  # fmt: skip
        assert _times(read(tmp_path / to, None, options)) == kept, to


def test_between_key_frames_boxes_and_angles_move(tmp_path: Path) -> None:
    text = _cvat(
        _track(_box(0, 8, rotation=350), _box(50, 28, rotation=10), _box(75, 28, outside=1))
    )
    plain = _read(tmp_path / "c.xml", text)
    assert _times(plain) == [0, 2]
    assert any("key frames only" in line for line in plain.report.lines())
    filled = _read(tmp_path / "c.xml", text, Options(fps=25, every_ms=1000))
    assert _times(filled) == [0, 1, 2, 2.96]
    middle = _table(filled).boxes[1] * [64, 48, 64, 48]
    assert middle == pytest.approx(np.array([18, 12, 26, 24])), "halfway, upright on its way"


def test_a_hidden_track_is_not_filled(tmp_path: Path) -> None:
    text = _cvat(_track(_box(0), _box(25, outside=1), _box(75), _box(99)))
    filled = _read(tmp_path / "c.xml", text, Options(fps=25, every_ms=1000))
    assert _times(filled) == [0, 0.96, 3, 3.96]


# Pictures are frames.


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("even_000026.jpg", [1.0]),
        ("even/img_00026.jpg", [1.0]),
        ("even/26.png", [1.0]),
        ("frames/even/frame_0026.jpg", [1.0]),
        ("even-000026.jpeg", [1.0]),
        ("even/frame_000025.PNG", [1.0]),
        ("even_mp4-0025_jpg.rf.0123456789abcdef.jpg", [1.0]),
        ("even.mp4-25.jpg", [1.0]),
    ],
)
def test_what_a_picture_is_called(name: str, times: list[float], tmp_path: Path) -> None:
    coco = _coco([{"id": 1, "file_name": name}])
    imported = _read(tmp_path / "c.json", coco)
    assert _table(imported).videos() == ["even"]
    assert _times(imported) == times
    assert any("film 'even': 1 pictures" in line for line in imported.report.lines())


def _coco(images: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "images": [{"width": 64, "height": 48} | image for image in images],
        "annotations": [
            {"image_id": image["id"], "category_id": 1, "bbox": [8, 12, 8, 12]} for image in images
        ],
        "categories": [{"id": 1, "name": "walk"}, {"id": 2, "name": "sit"}],
        **more,
    }


def test_pictures_taken_out_at_another_rate_than_the_film_s(films: Path, tmp_path: Path) -> None:
    coco = _coco([{"id": i, "file_name": f"even_{i:06d}.jpg"} for i in (1, 3)])
    imported = _read(tmp_path / "c.json", coco, Options(videos=films, fps=1))
    assert _times(imported) == [0, 2]
    assert any("counted at 1 a second, the film has 25" in x for x in imported.report.lines())
    assert _times(_read(tmp_path / "c.json", coco, Options(videos=films))) == [0, 0.08]
    assert _times(_read(tmp_path / "c.json", coco, Options(fps=25, first_frame=0))) == [0.04, 0.12]


def test_a_set_counts_its_pictures_from_one_number(tmp_path: Path) -> None:
    for number in (0, 25):
        shape = {"label": "walk", "points": [[8, 12], [16, 24]], "shape_type": "rectangle"}
        content = {"imagePath": f"even_{number:06d}.jpg", "imageWidth": 64, "imageHeight": 48,
                   "shapes": [shape | {"flags": {"talks": number > 0}}]}  # fmt: skip
        (tmp_path / f"even_{number:06d}.json").write_text(json.dumps(content))
    imported = read(tmp_path, None, Options(fps=25, attributes=("talks",)))
    assert _times(imported) == [0, 1]
    assert _names(imported) == [None, "talks"]


# Formats.


def test_cocovid_and_youtube_vis(tmp_path: Path) -> None:
    video = {"id": 5, "name": "even", "width": 64, "height": 48, "length": 3,
             "file_names": ["even/0.jpg", "even/1.jpg", "even/2.jpg"]}  # fmt: skip
    tubes = {
        "videos": [video],
        "annotations": [
            {
                "id": 9,
                "video_id": 5,
                "category_id": 2,
                "bboxes": [[8, 12, 8, 12], None, [1, 2, 3, 4]],
            }
        ],
        "categories": [{"id": 1, "name": "walk"}, {"id": 2, "name": "sit"}],
    }
    imported = _read(tmp_path / "c.json", tubes)
    boxed = _table(imported).frame.drop_nulls("x1")
    assert boxed["time_us"].to_list() == [0, 80_000]
    assert set(boxed["person"]) == {9}
    images = [{"id": 1, "video_id": 5, "frame_index": 50, "file_name": "a.jpg"}]
    vid = _coco(images, videos=[{"id": 5, "name": "even.mp4"}])
    assert _times(_read(tmp_path / "c.json", vid)) == [2.0]


def test_label_studio_s_choices_and_short_form(tmp_path: Path) -> None:
    key = {"frame": 1, "enabled": True, "x": 12.5, "y": 25, "width": 12.5, "height": 25}
    region = {"framesCount": 100, "duration": 4.0, "labels": ["person"],
              "sequence": [key, key | {"frame": 3, "enabled": False}]}  # fmt: skip
    result = [
        {"id": "r", "type": "videorectangle", "value": region, "from_name": "box"},
        {"id": "r", "type": "choices", "value": {"choices": ["sit"]}, "from_name": "action"},
        {"id": "t", "type": "timelinelabels", "value": {"ranges": [], "timelinelabels": ["x"]}},
    ]
    task = {"id": 1, "data": {"video": "/data/local-files/?d=a/even.mp4"},
            "annotations": [{"result": [], "was_cancelled": True}, {"result": result}]}  # fmt: skip
    imported = _read(tmp_path / "l.json", [task])
    assert (_times(imported), _names(imported)) == ([0, 0.04], ["sit", "sit"])
    assert any("timelinelabels" in line for line in imported.report.lines())
    short = [{"id": 1, "video": "/u/even.mp4", "box": [region | {"labels": ["walk"]}]}]
    imported = _read(tmp_path / "l.json", short)
    assert (_times(imported), _names(imported)) == ([0, 0.04], ["walk", "walk"])
    assert _table(imported).boxes[0].tolist() == [0.125, 0.25, 0.25, 0.5]


def test_mot_with_the_names_that_cvat_writes(films: Path, tmp_path: Path) -> None:
    (tmp_path / "gt").mkdir()
    rows = "1,1,8,12,8,12,1,2,1.0\n26,1,8,12,8,12,1,1,1.0\n27,1,8,12,8,12,0,1,1.0\n"
    (tmp_path / "gt" / "gt.txt").write_text(rows)
    (tmp_path / "gt" / "labels.txt").write_text("walk\nsit\n")
    imported = read(tmp_path / "gt" / "gt.txt", None, Options(videos=films, video="even"))
    assert (_times(imported), _names(imported)) == ([0, 1], ["sit", "walk"])
    assert any("marked to be ignored" in line for line in imported.report.lines())
    with zipfile.ZipFile(tmp_path / "mot.zip", "w") as packed:
        for name in ("gt/gt.txt", "gt/labels.txt"):
            packed.write(tmp_path / name, name)
    zipped = read(tmp_path / "mot.zip", None, Options(videos=films, video="even"))
    assert _names(zipped) == ["sit", "walk"]


def test_the_annotations_own_subsets_are_the_sides(films: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as packed:
        for folder, name in (("train", "uneven"), ("valid", "even")):
            coco = _coco([{"id": 1, "file_name": f"{name}_mp4-0001_jpg.rf.00aa.jpg"}])
            packed.writestr(f"{folder}/_annotations.coco.json", json.dumps(coco))
        packed.writestr("README.roboflow.txt", "exported")
    prepared = prepare(tmp_path / "export.zip", films, tmp_path / "out")
    assert (prepared.train_videos, prepared.val_videos) == (("uneven",), ("even",))
    assert prepared.space.names == ("walk", "sit")


def test_several_files_share_their_classes(tmp_path: Path) -> None:
    for name, labels in (("a", ("walk", "sit")), ("b", ("sit", "run"))):
        listed = "".join(f"<label><name>{label}</name></label>" for label in labels)
        text = _cvat(_track(_box(0), label="sit"), listed).replace("even", name)
        (tmp_path / f"{name}.xml").write_text(text)
    both = read_all([tmp_path / "a.xml", tmp_path / "b.xml"], None, Options(fps=25))
    assert both.labels is not None
    assert both.labels.names == ("walk", "sit", "run")
    assert _names(both) == ["sit", "sit"]
    (tmp_path / "c.csv").write_text("c,1,0.1,0.2,0.3,0.4,1,0\n")
    with pytest.raises(DataError, match="some only number them"):
        read_all([tmp_path / "a.xml", tmp_path / "c.csv"], None, Options(fps=25))


def test_results_inside_the_folder_are_no_annotations(films: Path, tmp_path: Path) -> None:
    for name in ("even", "uneven"):
        text = _cvat(_track(_box(0))).replace("even.mp4", f"{name}.mp4")
        (tmp_path / f"{name}.xml").write_text(text)
    first = prepare(tmp_path, films, tmp_path / "out")
    again = prepare(tmp_path, films, tmp_path / "out")
    assert again.space == first.space
    assert again.train.read_text() == first.train.read_text()


def test_a_film_that_is_not_there_is_named(films: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no film 'evens' in the folder") as caught:
        _read(tmp_path / "c.xml", _cvat(_track(_box(0))).replace("even.mp4", "evens.mp4"),
              Options(videos=films))  # fmt: skip
    assert "'even'" in str(caught.value.hint)


def test_pictures_in_a_task_of_pictures(tmp_path: Path) -> None:
    task = "<task><id>1</id><name>my pictures</name><size>2</size></task>"
    body = "".join(
        f'<image id="{i}" name="even/{i * 25 + 1:06d}.jpg" width="64" height="48">'
        f'<box label="walk" xtl="8" ytl="12" xbr="16" ybr="24"/></image>'
        for i in range(2)
    )
    imported = _read(tmp_path / "c.xml", _cvat(body, tasks=task))
    assert _table(imported).videos() == ["even"]
    assert _times(imported) == [0, 1]


def test_frame_numbers_for_seconds_are_refused(films: Path, tmp_path: Path) -> None:
    coco = _coco([{"id": 1, "file_name": "even/0050.jpg"}])
    with pytest.raises(InputError, match="is it a frame number"):
        _read(tmp_path / "c.json", coco, Options(videos=films))
    assert _times(_read(tmp_path / "c.json", coco, Options(videos=films, fps=25))) == [1.96]
    rows = [f"{name},{time},.1,.2,.3,.4,1,0" for name in ("even", "uneven") for time in (1, 50)]
    (tmp_path / "t.csv").write_text("\n".join([*rows, "even,2,.1,.2,.3,.4,1,0", ""]))
    options = Options(labels=LabelSpace.of(["walk"]))
    prepared = prepare(tmp_path / "t.csv", films, tmp_path / "out", options=options)
    assert any(line.startswith("warning: labelled keyframes") for line in prepared.report.lines())
    (tmp_path / "t.csv").write_text("".join(f"{n},5,.1,.2,.3,.4,1,0\n" for n in ("even", "uneven")))
    with pytest.raises(DataError, match="before the first or after the last frame") as caught:
        prepare(tmp_path / "t.csv", films, tmp_path / "other", options=options)
    assert "frame numbers" in str(caught.value.hint)
    assert not (tmp_path / "other").exists()


def test_an_unknown_file_is_told_what_it_nearly_is(tmp_path: Path) -> None:
    for content, words in (
        ("<annotation><object/></annotation>", "Pascal VOC"),
        ('{"_via_img_metadata": {}, "_via_settings": {}}', "VIA 2"),
        ("<root/>", "cvat (CVAT XML, for video or for images): lacks the root <annotations>"),
        ('{"categories": {}, "things": []}', "datumaro (Datumaro JSON): lacks the fields"),
        ("PAR1", "Parquet"),
    ):
        path = tmp_path / "unknown"
        path.write_text(content)
        try:
            assert sniff(path) == "coco", content
        except DataError as error:
            assert words in str(error), content


@pytest.mark.parametrize(
    ("text", "people"),
    [
        (
            ";video_id;timestamp;x1;y1;x2;y2;action_id;person_id\n0;even;1;0,1;0,2;0,3;0,4;1;7\n",
            [7],
        ),
        ("even;1,5;0,1;0,2;0,3;0,4;1;7\n", [7]),
        ("0,even,1,.1,.2,.3,.4,1,7\n1,even,2,.1,.2,.3,.4,1,8\n", [7, 8]),
        ("even,1,.1,.2,.3,.4,1,0.0\neven,1,.5,.2,.7,.4,1,1.0\n", [0, 1]),
        ("even\t1\t.1\t.2\t.3\t.4\t1\t7\n", [7]),
    ],
)
def test_dialects_of_ava(text: str, people: list[int], tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path = tmp_path / "t.csv"
        path.write_text(text, encoding=encoding)
        assert sniff(path) == "ava-csv"
        table = _table(read(path))
        assert table.frame["person"].to_list() == people
        assert table.boxes[0].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_scores_stay_scores(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for text in ("v,1,.1,.2,.3,.4,1,1.0\nv,1,.5,.2,.7,.4,1,1.0\n", "v,1,.1,.2,.3,.4,1,0.5\n",
                 "v,1,.1,.2,.3,.4,1,1.0\n"):  # fmt: skip
        path.write_text(text)
        assert sniff(path) == "detections-csv", text


def test_names_of_actions_need_a_label_map(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("video,time,x1,y1,x2,y2,action,person\nv,1,.1,.2,.3,.4,Sit,0\n")
    with pytest.raises(DataError, match="names of actions") as caught:
        read(path)
    assert caught.value.arguments == ("labels",)
    table = _table(read(path, None, Options(labels=LabelSpace.of(["walk", "sit"]))))
    assert table.frame["label"].to_list() == [2]


WRITABLE = [form.name for form in FORMATS if form.write is not None]
BOXES = [name for name in WRITABLE if name in ("ava-csv", "cvat", "via3", "coco")]


@pytest.mark.parametrize("one", BOXES)
@pytest.mark.parametrize("two", BOXES)
def test_there_and_back_gives_the_same_rows(one: str, two: str, tmp_path: Path) -> None:
    """Every pair of the formats that hold people with ids and actions."""
    rng = np.random.default_rng(len(one) * 10 + len(two))
    corners = np.sort(rng.uniform(0, 1, (12, 2, 2)), axis=1).reshape(12, 4)
    table = Annotations.of(
        video=["a", "b.c", "a"] * 4,
        time_us=(rng.integers(0, 40, 12) * 40_000),
        boxes=corners,
        label=[1, 3, 2, 3] * 3,
        person=list(range(12)),
        source="made",
    )
    options = Options(fps=25, size=(640, 360), labels=LabelSpace.of(["walk", "run 2", "sit down"]))
    start = tmp_path / "start.csv"
    convert_table = {form.name: form for form in FORMATS}
    write = convert_table["ava-csv"].write
    assert write is not None
    write(start, table, options)
    first, second, last = (tmp_path / name for name in ("first", "second", "last.csv"))
    convert(start, first, to=one, options=options)
    convert(first, second, to=two, options=options)
    convert(second, last, options=options)
    order = ["video", "person", "time_us", "label"]
    rows = [_table(read(path)).frame.select(*order, "x1", "y1", "x2", "y2").sort(order)
            for path in (start, last)]  # fmt: skip
    assert rows[0].select(order).equals(rows[1].select(order))
    assert np.allclose(rows[0].select("x1", "y1", "x2", "y2"),
                       rows[1].select("x1", "y1", "x2", "y2"), atol=1e-9)  # fmt: skip
