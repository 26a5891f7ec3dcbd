"""Each foreign format: what it means, in small files written here."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.importers import Options, convert, read, read_frame_list, sniff
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace

BOX = [0.1, 0.2, 0.3, 0.4]


def _write(path: Path, content: Any) -> Path:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _boxes(path: Path, options: Options | None = None) -> Annotations:
    table = read(path, None, options).table
    assert isinstance(table, Annotations)
    return table


def _clips(path: Path, options: Options | None = None) -> ClipLabels:
    table = read(path, None, options).table
    assert isinstance(table, ClipLabels)
    return table


def test_mmaction2_proposals(tmp_path: Path) -> None:
    content = {"a,b,0902": np.array([[*BOX, 0.9], [*BOX, 0.8]]), "a,1.5": np.zeros((0, 5))}
    table = _boxes(_write(tmp_path / "p.pkl", content))
    assert table.frame["video"].to_list() == ["a,b", "a,b", "a"]
    assert table.frame["time_us"].to_list() == [902_000_000, 902_000_000, 1_500_000]
    assert table.frame["score"].to_list() == [0.9, 0.8, None]
    for bad in ({"v": np.ones((1, 5))}, {"v,x": np.ones((1, 5))}, {"v,1": np.ones((1, 3))}):
        with pytest.raises(DataError, match="key"):
            read(_write(tmp_path / "p.pkl", bad), "mmaction2-proposals")


def test_mmaction2_proposals_open_in_numpy_1_and_2(tmp_path: Path) -> None:
    source = _write(tmp_path / "p.pkl", {"v,0902": np.array([[*BOX, 0.9]])})
    convert(source, tmp_path / "q.pkl", to="mmaction2-proposals")
    data = (tmp_path / "q.pkl").read_bytes()
    assert b"numpy._core" not in data
    assert pickle.loads(data)["v,0902"].tolist() == [[*BOX, 0.9]]


def test_mmaction2_predictions(tmp_path: Path) -> None:
    instances = {"bboxes": np.array([BOX]), "scores": np.array([[0.1, 0.2, 0.7]])}
    content = [{"video_id": "v", "timestamp": 902, "pred_instances": instances}]
    path = _write(tmp_path / "r.pkl", content)
    assert _boxes(path).frame["label"].to_list() == [0, 1, 2]
    labels = LabelSpace.of(["walk", "run"])
    assert _boxes(path, Options(labels=labels)).frame["score"].to_list() == [0.2, 0.7]


def test_acar(tmp_path: Path) -> None:
    classes = [{"id": 4, "name": "dance"}, {"id": 9, "name": "sit"}]
    person = {"bounding_box": BOX, "label": [1, 0], "person_id": 3}
    sample = {"video": "v", "time": "0902", "labels": [person], "n_frames": 91}
    empty = {"video": "v", "time": 903, "labels": []}
    path = _write(tmp_path / "a.pkl", ([sample, empty], classes))
    imported = read(path)
    assert isinstance(imported.table, Annotations)
    assert imported.table.frame["label"].to_list() == [9, 4, None]
    assert imported.labels == LabelSpace(ids=(4, 9), names=("dance", "sit"))
    sample["labels"] = [{"bounding_box": BOX, "label": [2]}]
    with pytest.raises(DataError, match="not an index"):
        read(_write(path, ([sample], classes)))


def _coco() -> dict[str, Any]:
    size = {"width": 640, "height": 360}
    return {
        "images": [
            {"id": 7, "movie": "v", "timestamp": 902, **size},
            {"id": 8, "movie": "v", "timestamp": 903, **size},
        ],
        "annotations": [
            {"image_id": 7, "bbox": [64, 36, 320, 180], "action_ids": [1, 12], "person_id": 2}
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


def test_coco_of_alphaction(tmp_path: Path) -> None:
    table = _boxes(_write(tmp_path / "c.json", _coco()))
    assert table.frame["label"].to_list() == [1, 12, None]
    assert table.boxes[0] == pytest.approx([0.1, 0.1, 0.6, 0.6])
    assert np.isnan(table.boxes[2]).all(), "an image without annotation is a frame without people"


def test_plain_coco_takes_the_category_as_action(tmp_path: Path) -> None:
    content = _coco()
    del content["annotations"][0]["action_ids"]
    content["annotations"][0]["category_id"] = 3
    content["categories"] = [{"id": 1, "name": "walk"}, {"id": 3, "name": "run"}]
    content["images"][0] = {"id": 7, "file_name": "v/0902.jpg", "width": 640, "height": 360}
    imported = read(_write(tmp_path / "c.json", content))
    assert isinstance(imported.table, Annotations)
    assert imported.table.frame["label"].to_list() == [3, None]
    assert imported.table.frame["time_us"][0] == 902_000_000
    assert imported.labels is not None
    assert imported.labels.names == ("walk", "run")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"image_id": 99}, "unknown image id"),
        ({"bbox": [1, 2, 3]}, "invalid value type"),
        ({"bbox": [1, 2, 3, "x"]}, "invalid value type"),
        ({"bbox": [64, 36, 32000, 18000]}, "far outside"),
        ({"action_ids": [1.5]}, "invalid value type"),
    ],
)
def test_a_bad_coco_annotation_is_named(change: dict[str, Any], what: str, tmp_path: Path) -> None:
    content = _coco()
    content["annotations"][0] |= change
    with pytest.raises(DataError) as caught:
        read(_write(tmp_path / "c.json", content))
    assert what in caught.value.what
    assert "1" in str(caught.value.where)


_CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><meta><project><tasks>
<task><id>10</id><name>a</name><size>100</size><source>dir/a.mp4</source>
<original_size><width>640</width><height>360</height></original_size></task>
<task><id>11</id><name>b</name><size>50</size><source>b.avi</source>
<original_size><width>320</width><height>240</height></original_size></task>
</tasks><labels><label><name>Person</name><attributes>
<attribute><name>Pose</name><input_type>select</input_type><values>walk
sit</values></attribute>
<attribute><name>Act 1</name><input_type>select</input_type><values>None
read</values></attribute>
<attribute><name>Act 2</name><input_type>select</input_type><values>None
read</values></attribute>
<attribute><name>Number</name><input_type>select</input_type><values>1
2</values></attribute>
</attributes></label></labels></project></meta>
<track id="0" label="Person" task_id="10">
<box frame="30" outside="0" xtl="64" ytl="36" xbr="320" ybr="180">
<attribute name="Pose">sit</attribute>
<attribute name="Act 1">read</attribute><attribute name="Act 2">read</attribute>
<attribute name="Number">1</attribute></box>
<box frame="31" outside="1" xtl="64" ytl="36" xbr="320" ybr="180"/>
</track>
<track id="1" label="Person" task_id="11">
<box frame="130" outside="0" xtl="0" ytl="0" xbr="160" ybr="120">
<attribute name="Pose">walk</attribute>
<attribute name="Act 1">None</attribute></box></track>
</annotations>
"""


def test_cvat_project(tmp_path: Path) -> None:
    imported = read(_write(tmp_path / "c.xml", _CVAT), None, Options(fps=30))
    assert isinstance(imported.table, Annotations)
    frame = imported.table.frame
    assert frame["video"].to_list() == ["a", "a", "b"]
    assert frame["time_us"].to_list() == [1_000_000] * 3, "frames count from their own task"
    assert imported.table.boxes[2].tolist() == [0, 0, 0.5, 0.5]
    assert frame["person"].to_list() == [0, 0, 1]
    assert imported.labels is not None
    assert imported.labels.names == ("walk", "sit", "read")
    assert imported.labels.groups == {"Pose": (1, 2), "Act": (3,)}
    assert frame["label"].to_list() == [2, 3, 1], "two boxes of one choice are one action"


def test_cvat_names_follow_a_given_label_map(tmp_path: Path) -> None:
    path = _write(tmp_path / "c.xml", _CVAT)
    labels = LabelSpace(ids=(5, 6, 7), names=("Walk", "s i t", "read"))
    assert _boxes(path, Options(fps=30, labels=labels)).frame["label"].to_list() == [6, 7, 5]
    with pytest.raises(DataError, match="'sit': not in the label map"):
        read(path, None, Options(fps=30, labels=LabelSpace.of(["walk", "read"])))


def test_cvat_without_a_rate_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="provide fps, or the folder of the videos"):
        read(_write(tmp_path / "c.xml", _CVAT))


def test_cvat_keeps_one_frame_in_a_second(tmp_path: Path) -> None:
    boxes = "".join(
        f'<box frame="{i}" outside="0" xtl="1" ytl="1" xbr="9" ybr="9"/>' for i in range(75)
    )
    text = _CVAT.split("<track")[0] + f'<track id="0" task_id="10">{boxes}</track></annotations>'
    table = _boxes(_write(tmp_path / "c.xml", text), Options(fps=25, every_ms=1000))
    # Of each second the moment nearest to it, as everywhere: the third has frame 74.
    assert table.frame["time_us"].to_list() == [0, 1_000_000, 2_000_000, 2_960_000]


def test_cvat_images_and_plain_labels(tmp_path: Path) -> None:
    text = """<annotations><meta><task><id>1</id><name>film.mp4</name><labels>
    <label><name>walk</name></label><label><name>run</name></label></labels></task></meta>
    <image id="60" name="f.jpg" width="640" height="360">
    <box label="run" xtl="64" ytl="36" xbr="320" ybr="180"/></image></annotations>"""
    table = _boxes(_write(tmp_path / "c.xml", text), Options(fps=30))
    assert table.frame["label"].to_list() == [2]
    assert table.frame["video"].to_list() == ["film"]
    assert table.frame["time_us"].to_list() == [2_000_000]


def test_entity_bombs_are_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><annotations>&b;</annotations>'
    with pytest.raises(DataError, match="document type"):
        read(_write(tmp_path / "c.xml", bomb), "cvat")
    with pytest.raises(DataError, match="invalid XML") as caught:
        read(_write(tmp_path / "c.xml", "<annotations>\n<meta>\n</annotations>"), "cvat")
    assert "row 3" in str(caught.value.where)


def test_via3(tmp_path: Path) -> None:
    region = {"vid": "1", "z": [1.5], "xy": [2, 64, 36, 256, 144], "av": {"1": "0,2", "2": "7"}}
    content = {
        "project": {},
        "config": {},
        "attribute": {
            "1": {"aname": "action", "options": {"0": "walk", "1": "run", "2": "*talk"}},
            "2": {"aname": "person id", "options": {}},
        },
        "file": {"1": {"fname": "dir/film.mp4"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            "a": region,
            "segment": {"vid": "1", "z": [1, 2], "xy": [], "av": {"1": "0"}},
            "point": {"vid": "1", "z": [1], "xy": [1, 5, 5], "av": {}},
        },
    }
    path = _write(tmp_path / "v.json", content)
    imported = read(path, None, Options(size=(640, 360)))
    assert isinstance(imported.table, Annotations)
    frame = imported.table.frame
    assert frame["video"].to_list() == ["film", "film"]
    assert frame["label"].to_list() == [1, 3]
    assert frame["person"].to_list() == [7, 7]
    assert imported.table.boxes[0] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    region["av"] = {"1": "9"}
    with pytest.raises(DataError, match="unknown option"):
        read(_write(path, content), None, Options(size=(640, 360)))


def test_tubes(tmp_path: Path) -> None:
    tube = np.array([[1, 0, 0, 159, 119], [2, 160, 120, 319, 239]], np.float32)
    content = {
        "labels": ["a", "b"],
        "gttubes": {"c/v": {1: [tube]}},
        "resolution": {"c/v": (240, 320)},
        "train_videos": [["c/v"], []],
        "test_videos": [[], ["c/v"]],
    }
    path = _write(tmp_path / "t.pkl", content)
    table = _boxes(path, Options(fps=25))
    assert table.frame["time_us"].to_list() == [0, 40_000]
    assert table.boxes.tolist() == [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    assert table.frame["label"].to_list() == [2, 2]
    content["gttubes"] = {"c/v": {2: [tube]}}
    with pytest.raises(DataError, match="class index"):
        read(_write(path, content), None, Options(fps=25))


def test_pyannot(tmp_path: Path) -> None:
    boxes = np.array([[250, 53, 48, 61]] * 2, np.uint8)
    content = {"Skijet/v": {"annotations": [{"label": 3, "sf": 5, "ef": 7, "boxes": boxes}]}}
    imported = read(_write(tmp_path / "p.pkl", content), None, Options(fps=25))
    assert isinstance(imported.table, Annotations)
    assert imported.table.frame["time_us"].to_list() == [200_000, 240_000]
    assert imported.table.boxes[0, 2] == pytest.approx(298 / 320), "8-bit sums must not wrap"
    assert imported.labels is not None
    assert (imported.labels.ids, imported.labels.names) == ((4,), ("Skijet",))


def test_kinetics(tmp_path: Path) -> None:
    text = "label,youtube_id,time_start,time_end,split\nrun,abc,10,20,train\nbow,d-e,3,13,train\n"
    path = _write(tmp_path / "k.csv", text)
    imported = read(path)
    table = _clips(path)
    assert table.videos() == ["abc_000010_000020", "d-e_000003_000013"]
    assert table.frame["label"].to_list() == [1, 0]
    assert imported.labels is not None
    assert imported.labels.names == ("bow", "run")
    test = "youtube_id,time_start,time_end,split\nabc,10,20,test\n"
    assert _clips(_write(path, test)).frame["label"].to_list() == [None]
    with pytest.raises(DataError, match="ends before") as caught:
        read(_write(path, text + "\nrun,x,9,9,train\n"))
    assert "row 5" in str(caught.value.where)


def test_path_lists(tmp_path: Path) -> None:
    for text in ("a/b.mp4 3\nc.mp4 0\n", "a/b.mp4,3\nc.mp4,0\n", "a/b.mp4 300 3\nc.mp4 20 0\n"):
        assert _clips(_write(tmp_path / "l.txt", text)).labels_of_videos() == {
            "a/b.mp4": (3,),
            "c.mp4": (0,),
        }
    with pytest.raises(DataError, match="unknown class id 3"):
        read(tmp_path / "l.txt", "paths", Options(labels=LabelSpace.of(["a", "b"])))
    with pytest.raises(DataError) as caught:
        read(_write(tmp_path / "l.txt", "a.mp4 3\nb.mp4 x\n"))
    assert "row 2" in str(caught.value.where)


def test_something_something(tmp_path: Path) -> None:
    one = _write(tmp_path / "v1.csv", "10;Holding something\n11;Bending something\n")
    assert _clips(one).labels_of_videos() == {"10": (1,), "11": (0,)}
    content = [{"id": "5", "template": "Putting [something] on [something]"}, {"id": "6"}]
    two = _write(tmp_path / "v2.json", content)
    labels = LabelSpace.of(["Putting something on something"], first_id=7)
    assert _clips(two, Options(labels=labels)).labels_of_videos() == {"5": (7,), "6": ()}


def test_charades(tmp_path: Path) -> None:
    text = 'id,script,actions,length\nAB,"x, y",c092 11.90 21.20;c147 0.00 12.60,30\nCD,,,20\n'
    table = _clips(_write(tmp_path / "c.csv", text))
    assert table.labels_of_videos() == {"AB": (92, 147), "CD": ()}
    assert table.frame["end_us"].to_list() == [21_200_000, 12_600_000, None]
    with pytest.raises(DataError, match="malformed"):
        read(_write(tmp_path / "c.csv", "id,actions\nAB,c1 2 3\n"))


def test_moments(tmp_path: Path) -> None:
    text = "walk/a.mp4,walk,3,1\nclap/b.mp4,clap,4,0\n"
    assert _clips(_write(tmp_path / "m.csv", text)).frame["label"].to_list() == [1, 0]


def test_frame_lists_stay_in_their_folder(tmp_path: Path) -> None:
    head = "original_vido_id video_id frame_id path labels\n"
    path = _write(tmp_path / "f.csv", head + 'v 0 0 v/v_000001.jpg ""\nv 0 1 v/v_000002.jpg ""\n')
    frames = read_frame_list(path)
    assert frames.paths(tmp_path, "v") == [tmp_path / "v" / f"v_00000{i}.jpg" for i in (1, 2)]
    with pytest.raises(DataError, match="outside its folder") as caught:
        read_frame_list(_write(path, head + "v 0 0 ../../etc/passwd x\n"))
    assert "row 2" in str(caught.value.where)
    with pytest.raises(DataError, match="invalid frame list"):
        read_frame_list(_write(path, "v 0 0 v.jpg x\n"))


def test_conversion_says_what_it_cannot_do(tmp_path: Path) -> None:
    boxes = _write(tmp_path / "a.csv", "v,0902,.1,.2,.3,.4,1,0\n")
    clips = _write(tmp_path / "c.csv", "a/b.mp4 3\n")
    with pytest.raises(InputError, match="cannot write the format 'acar'"):
        convert(boxes, tmp_path / "out", to="acar")
    with pytest.raises(InputError, match="unknown format 'x'"):
        convert(boxes, tmp_path / "out", to="x")
    with pytest.raises(InputError, match="whole clips"):
        convert(clips, tmp_path / "out")
    with pytest.raises(InputError, match="provide the label map"):
        convert(boxes, tmp_path / "out", to="cvat", options=Options(fps=30, size=(640, 360)))
    with pytest.raises(InputError, match="frame size in pixels"):
        convert(boxes, tmp_path / "out", to="coco")
    with pytest.raises(DataError, match="unknown file format"):
        sniff(_write(tmp_path / "x", "?"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [{"fps": 0}, {"fps": -1}, {"size": (0, 5)}, {"every_ms": 0}])
def test_impossible_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="invalid (frame|keyframe)"):
        Options(**bad)
