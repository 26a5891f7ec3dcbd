"""No bytes make a reader raise anything but our error, run a pickle, or leave the data folder."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tubelet.data import importers
from tubelet.data.annotations import Annotations
from tubelet.data.importers import FORMATS, Options, read_frame_list
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import (
    KINDS,
    Kind,
    _layout,
    _parse_fast,
    _parse_slow,
    read_ava_csv,
    read_excluded,
    read_included,
    write_ava_csv,
)
from tubelet.data.untrusted.pickles import unpickle
from tubelet.data.untrusted.reading import find_video, inside
from tubelet.errors import DataError, TubeletError
from tubelet.evaluate.clip_scores import read_clip_scores
from tubelet.labels import LabelSpace

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OPTIONS = Options(fps=30, size=(640, 360))


def _seeds() -> list[bytes]:
    """One small valid file of every format: mutations of them reach deep into the readers."""
    rows = b"v1,0902,0.1,0.2,0.3,0.4,12,0\nv1,902.5,0.1,0.2,0.3,0.4,3,1\n\nv2,0903\n"
    scored = b"v1,0902,0.1,0.2,0.3,0.4,,0.95\nv1,0903,0.1,0.2,0.3,0.4,,0.5\n"
    box = np.array([[0.1, 0.2, 0.3, 0.4, 0.9]])
    tube = np.array([[1, 10, 20, 30, 40], [2, 11, 20, 30, 40]], np.float32)
    tubes = {
        "labels": ["a", "b"],
        "gttubes": {"v": {0: [tube]}},
        "resolution": {"v": (240, 320)},
        "train_videos": [["v"]],
        "test_videos": [[]],
        "nframes": {"v": 2},
    }
    pyannot = {"a/v": {"annotations": [{"label": 0, "sf": 0, "ef": 1, "boxes": tube[:1, 1:]}]}}
    predictions = [
        {"video_id": "v", "timestamp": 3, "pred_instances": {"bboxes": box[:, :4], "scores": box}}
    ]
    person = {"bounding_box": [0.1, 0.2, 0.3, 0.4], "label": [0]}
    acar = ([{"video": "v", "time": 902, "labels": [person]}], [{"id": 1, "name": "walk"}])
    coco = {
        "images": [{"id": 1, "movie": "v", "timestamp": 902, "width": 640, "height": 360}],
        "annotations": [{"image_id": 1, "bbox": [1, 2, 30, 40], "action_ids": [1]}],
        "categories": [{"id": 1, "name": "person"}],
    }
    via = {
        "project": {},
        "config": {},
        "attribute": {"1": {"aname": "act", "options": {"0": "walk"}}},
        "file": {"1": {"fname": "v.mp4"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"a": {"vid": "1", "z": [1.5], "xy": [2, 1, 2, 30, 40], "av": {"1": "0"}}},
    }
    cvat = (
        b"<?xml version='1.0'?><annotations><meta><task><id>1</id><name>v.mp4</name><labels><label>"
        b"<name>person</name><attribute><name>act</name><input_type>select</input_type><values>None"
        b"\nwalk</values></attribute></label></labels><original_size><width>640</width><height>360"
        b"</height></original_size></task></meta><track id='0' label='person'><box frame='3' "
        b"outside='0' xtl='1' ytl='2' xbr='30' ybr='40'><attribute name='act'>walk</attribute>"
        b"</box></track></annotations>"
    )
    key = {"frame": 1, "enabled": True, "x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    value = {"framesCount": 9, "duration": 0.3, "labels": ["walk"],
             "sequence": [key, key | {"frame": 4, "enabled": False}]}  # fmt: skip
    studio = [{"id": 1, "data": {"video": "/u/v.mp4"},
               "annotations": [{"result": [{"id": "r", "type": "videorectangle",
                                            "value": value}]}]}]  # fmt: skip
    datumaro = {"categories": {"label": {"labels": [{"name": "walk"}]}}, "items": [
        {"id": "v/frame_000003", "attr": {"frame": 3}, "image": {"size": [360, 640]},
         "annotations": [{"type": "bbox", "label_id": 0, "bbox": [1, 2, 30, 40],
                          "attributes": {"track_id": 1, "sits": True}}]}]}  # fmt: skip
    labelme = {"imagePath": "v_000004.jpg", "imageWidth": 640, "imageHeight": 360, "shapes": [
        {"label": "walk", "points": [[1, 2], [30, 40]], "group_id": 1,
         "shape_type": "rectangle", "flags": {"sits": False}}]}  # fmt: skip
    vid = {
        "videos": [{"id": 1, "name": "v"}],
        "categories": [{"id": 1, "name": "walk"}, {"id": 2, "name": "sit"}],
        "images": [{"id": 1, "video_id": 1, "frame_id": 3, "width": 640, "height": 360}],
        "annotations": [{"image_id": 1, "category_id": 2, "instance_id": 7, "bbox": [1, 2, 3, 4]}],
    }
    pictures = {
        **via,
        "file": {"1": {"fname": "v_000004.jpg", "type": 2}},
        "metadata": {"a": {"vid": "1", "z": [], "xy": [7, 1, 2, 30, 40], "av": {"1": "0"}}},
    }
    shapes = cvat.replace(b"<box frame='3' outside='0' xtl='1' ytl='2' xbr='30' ybr='40'>",
        b"<polygon frame='3' keyframe='1' points='1,2;30,40;9,50'/><mask frame='4' rle='2,3,9,1' "
        b"left='1' top='2' width='5' height='3'/><ellipse frame='5' cx='9' cy='9' rx='3' ry='2' "
        b"rotation='30'/><skeleton frame='6'><points points='1,2'/><points points='9,9'/>"
        b"</skeleton>"
        b"<box frame='9' outside='1' xtl='1' ytl='2' xbr='30' ybr='40'>")  # fmt: skip
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("annotations.xml", cvat)
    pickles = [tubes, pyannot, predictions, acar, {"v,0902": box}]
    return [
        rows,
        scored,
        cvat,
        shapes,
        packed.getvalue(),
        *(
            json.dumps(seed).encode()
            for seed in (
                coco,
                via,
                [{"id": "1", "template": "a [b]"}],
                studio,
                datumaro,
                labelme,
                vid,
                pictures,
            )
        ),
        b"1,1,41.0,60.0,80.0,160.0,1,1,1.0\n26,2,66.0,60.0,80.0,160.0,0,1,1.0\n",
        b"0 0.25 0.58 0.25 0.66 1\n0 0.65 0.58 0.25 0.66 0.9 2\n",
        b"video;seconds;x1;y1;x2;y2;action;person\nv;1,5;0,1;0,2;0,3;0,4;1;0\n",
        "v,1.5,0.1,0.2,0.3,0.4,1,0\n".encode("utf-16"),
        *(pickle.dumps(value, protocol) for value in pickles for protocol in (0, 2, 4)),
        b'{"frames": {"1": {"objects": {"objects": [{"label": "walk", "index": 1, "bounding_box": '
        b'{"top_left": {"x": 0.1, "y": 0.2}, "bottom_right": {"x": 0.3, "y": 0.4}}, '
        b'"attrs": {"attrs": [{"name": "sits", "value": true}]}}]}}}}',
        b"time_ms,x1,y1,x2,y2,track_id,score\n1500,0.1,0.2,0.3,0.4,7,0.9\n",
        b"label,youtube_id,time_start,time_end,split\nwalk,abc,1,11,train\n",
        b"id,actions,length\nABC,c092 11.9 21.2;c147 0.0 12.6,30\n",
        b"74225;Holding something\n",
        b"walk/a.mp4,walk,3,1\n",
        b"a/b.mp4 3\n",
        b'original_vido_id video_id frame_id path labels\nv 0 0 v/v_000001.jpg ""\n',
        b'item {\n name: "walk"\n id: 3\n label_type: PERSON_MOVEMENT\n}\n',
        b"1: walk\n3: run\n",
        b'{"1": "walk"}',
        b"video,0,1\na,0.5,0.5\nb,0.25,1e-7\n",
        b"a 0.5 0.5\nb  0.25 1\n",
        b"0902\n0903.5\n",
        b"v1,0902\nv2,0903.5\n",
    ]


SEEDS = _seeds()
Reader = Callable[[Path], Any]


def _readers() -> list[tuple[str, Reader]]:
    def csv(kind: Kind, strict: bool) -> Reader:
        return lambda path: read_ava_csv(path, kind=kind, strict=strict)

    def imported(name: str) -> Reader:
        return lambda path: importers.read(path, name, OPTIONS)

    return [
        *((f"csv-{kind}", csv(kind, True)) for kind in KINDS),
        ("csv-lenient", csv("truth", False)),
        *((f.name, imported(f.name)) for f in FORMATS),
        ("sniffed", lambda path: importers.read(path, None, OPTIONS)),
        ("thinned", lambda path: importers.read(path, None, replace(OPTIONS, every_ms=100))),
        ("label map", read_label_map),
        ("excluded", read_excluded),
        ("included", read_included),
        ("frame list", read_frame_list),
        ("clip scores", read_clip_scores),
        ("submission", lambda path: read_clip_scores(path, LabelSpace.of(["sit", "stand"]))),
    ]


READERS = _readers()


def _read_all(data: bytes, folder: Path) -> None:
    path = folder / "film_7"
    path.write_bytes(data)
    for _name, reader in READERS:
        try:
            reader(path)
        except TubeletError as error:
            assert str(path) in str(error), "an error must name the file"


@FUZZ
@given(data=st.binary(max_size=300))
def test_no_bytes_escape_the_error_tree(data: bytes, tmp_path: Path) -> None:
    _read_all(data, tmp_path)


@settings(FUZZ, max_examples=250)
@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6)), min_size=1, max_size=4
    ),
)
def test_no_mutation_of_a_valid_file_escapes_the_error_tree(
    seed: bytes, cuts: list[tuple[float, int, bytes]], tmp_path: Path
) -> None:
    data = seed
    for place, length, replacement in cuts:
        at = int(place * len(data))
        data = data[:at] + replacement + data[at + length :]
    _read_all(data, tmp_path)


_CELL = st.sampled_from(
    ["", "v1", "0902", "902.5", "-1", "nan", "inf", "1e400", "0.5", "1.5", "300", "12", "x", " ",
     "1_0", "9" * 400, '"', "\x00", "é", "0x1", "+.5", "1e-7", "../v", "True"]
)  # fmt: skip
_ROW = st.lists(_CELL, min_size=0, max_size=10).map(",".join)


@settings(FUZZ, max_examples=200)
@given(lines=st.lists(_ROW, max_size=5), kind=st.sampled_from(KINDS))
def test_csv_errors_name_the_row(lines: list[str], kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    try:
        table = read_ava_csv(path, kind=kind)
    except TubeletError as error:
        assert "row " in str(error.where)
    else:
        assert len(table) == sum(bool(line.replace(",", "").strip()) for line in lines) or (
            len(table) == len([x for x in lines if x.replace(",", "").strip()]) - 1
        ), "only blank lines and one header may be skipped"


def test_a_stray_quote_swallows_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('v,902\n"v,903\nw",904\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"unclosed quote") as caught:
        read_ava_csv(path)
    assert "row 2" in str(caught.value.where)


_NUMBER = st.floats(-1, 2).map(repr) | st.sampled_from(["0902", "1e-05", "-0.0", ".5", "5."])
_GOOD = st.tuples(st.sampled_from(["a", "b_c", "-x"]), st.lists(_NUMBER, min_size=5, max_size=5))


@FUZZ
@given(rows=st.lists(_GOOD, min_size=1, max_size=8))
def test_the_fast_and_the_exact_parser_agree(rows: list[tuple[str, list[str]]]) -> None:
    data = "".join(f"{video},{','.join(numbers)},7,\n" for video, numbers in rows).encode()
    layout = _layout(data, "x", "proposals")
    fast, slow = _parse_fast(data, layout), _parse_slow(data, layout, "x")
    assert fast is not None
    assert fast.select(slow.columns).equals(slow.cast({"row": fast["row"].dtype}))


_TIME = st.integers(-(10**9), 10**13)
_UNIT = st.floats(-0.5, 1.5, allow_nan=False)


@st.composite
def _tables(draw: st.DrawFn) -> Annotations:
    count = draw(st.integers(0, 6))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    corners = np.array(column(st.tuples(_UNIT, _UNIT, _UNIT, _UNIT)), np.float64).reshape(-1, 4)
    boxes = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]),
                            np.maximum(corners[:, :2], corners[:, 2:])], 1)  # fmt: skip
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"),
                    min_size=1, max_size=6).filter(lambda s: s.strip() != "")  # fmt: skip
    return Annotations.of(
        video=[f"v{name}" for name in column(names)],
        time_us=column(_TIME),
        boxes=boxes,
        label=column(st.none() | st.integers(0, 80)),
        person=column(st.none() | st.integers(0, 2**40)),
        score=[None] * count,
    )


@settings(FUZZ, max_examples=150)
@given(table=_tables())
def test_what_is_written_reads_back_the_same(table: Annotations, tmp_path: Path) -> None:
    path = tmp_path / "round.csv"
    write_ava_csv(path, table)
    again = read_ava_csv(path)
    assert again.same_content(table), (table.frame, again.frame)


@FUZZ
@given(video=st.text(st.sampled_from("ab./\\:\0~ "), max_size=8))
def test_no_video_id_leaves_the_folder(video: str, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir(exist_ok=True)
    (tmp_path / "a.mp4").touch()
    try:
        path = inside(folder, video)
        found = find_video(folder, video)
    except TubeletError:
        return
    assert path.resolve().is_relative_to(folder.resolve())
    assert found is None or found.resolve().is_relative_to(folder.resolve())


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(FUZZ, max_examples=150)
@given(value=_VALUE, protocol=st.integers(2, 5))
def test_plain_pickles_come_back_as_they_were(value: Any, protocol: int) -> None:
    assert unpickle(pickle.dumps(value, protocol), "test") == value


_OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]


@settings(FUZZ, max_examples=300)
@given(pieces=st.lists(st.sampled_from(_OPCODES) | st.binary(max_size=5), max_size=40))
def test_no_opcode_soup_escapes_the_error_tree(pieces: list[bytes]) -> None:
    try:
        unpickle(b"\x80\x04" + b"".join(pieces) + b".", "soup")
    except TubeletError as error:
        assert "soup" in str(error.where)


@pytest.mark.parametrize("name", [name for name, _ in READERS])
def test_every_reader_reads_some_seed(name: str, tmp_path: Path) -> None:
    """Were all seeds refused at the door, the mutations would test nothing."""
    reader = dict(READERS)[name]
    for index, seed in enumerate(SEEDS):
        path = tmp_path / f"seed{index}"
        path.write_bytes(seed)
        try:
            result = reader(path)
        except TubeletError:
            continue
        table = getattr(result, "table", result)
        frame = getattr(table, "frame", None)
        if not isinstance(frame, pl.DataFrame) or len(frame):
            return
    pytest.fail("no seed file is read")
