"""Label maps in every form the field writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tubelet.data.labelmaps import read_label_map, write_pbtxt
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace


def _read(folder: Path, text: str) -> LabelSpace:
    path = folder / "labels"
    path.write_text(text, encoding="utf-8")
    return read_label_map(path)


@pytest.mark.parametrize(
    "text",
    [
        'item {\n  name: "walk"\n  id: 3\n}\nitem {\n  name: "run"\n  id: 7\n}\n',
        'label {\n\tname: "walk"\n\tlabel_id: 3\n}\n\nlabel {\n\tname: "run"\n\tlabel_id: 7\n}',
        "item { id: 3 name: 'walk' } item_count: 2\nitem{id:7,name:'run'}",
        '# a comment\nitem {\r\n  id: 3\r\n  name: "walk"\r\n}\r\nitem {\r\n id: 7\r\n name: "run"}',  # noqa: E501
        "3: walk\n7: run\n",
        "3\twalk\n7\trun",
        "c003 walk\nc007 run\n",
        "walk,3\nrun,7\n",
        '{"3": "walk", "7": "run"}',
        '{"walk": 3, "run": 7}',
        '{"walk": "3", "run": "7"}',
    ],
    ids=["item", "label", "one-line", "crlf", "mmaction2", "tabs", "charades", "moments",
         "json", "json-name", "json-ssv2"],
)  # fmt: skip
def test_one_map_in_many_spellings(text: str, tmp_path: Path) -> None:
    labels = _read(tmp_path, text)
    assert labels.ids == (3, 7)
    assert labels.names == ("walk", "run")


@pytest.mark.parametrize(
    "text",
    [
        "v,0902,0.1,0.1,0.5,0.5,1,0\nv,0903,0.1,0.1,0.5,0.5,2,0\n",
        "walk\nrun\nwalk\n",
        "# Title\n\nSome words\n",
        "Walk this way.\nRun\n",
        "PYTHON = python3\nVENV\n",
        ".venv/\nruns\n",
        "runs/\n",
        "http://example.org/labels\n",
        "902\n903\n",
        "walk\trun\n",
        "import os\nimport sys\n\ndef main():\n    pass\n",
        "x" * 121,
    ],
)
def test_text_that_is_no_list_of_names_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no label found[\s\S]*row \d"):
        _read(tmp_path, text)


def test_this_repository_holds_no_label_map() -> None:
    root = Path(__file__).parents[2]
    for name in ("README.md", "LICENSE", "Makefile", "pyproject.toml", ".gitignore"):
        with pytest.raises(DataError):
            read_label_map(root / name)


def test_plain_names_count_from_one(tmp_path: Path) -> None:
    assert _read(tmp_path, "walk\n\nrun fast\n").ids == (1, 2)
    assert _read(tmp_path, '["walk", "run"]').names == ("walk", "run")


def test_label_types_become_groups(tmp_path: Path) -> None:
    types = ("PERSON_MOVEMENT", "OBJECT_MANIPULATION", "PERSON_INTERACTION", "MOOD")
    blocks = [
        f'label {{ name: "n{i}" label_id: {i} label_type: {t} }}' for i, t in enumerate(types)
    ]
    groups = _read(tmp_path, "\n".join(blocks)).groups
    assert groups == {"pose": (0,), "person_object": (1,), "person_person": (2,), "mood": (3,)}


def test_names_keep_their_quotes_and_braces(tmp_path: Path) -> None:
    text = 'item {\n  name: "say \\"hi\\" {loud} it\'s"\n  id: 1\n}\n'
    assert _read(tmp_path, text).names == ('say "hi" {loud} it\'s',)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    labels = LabelSpace(
        ids=(2, 5, 9), names=('a "b"', "é\\", "c"), groups={"pose": (2,), "mood": (9,)}
    )
    write_pbtxt(tmp_path / "map.pbtxt", labels)
    assert read_label_map(tmp_path / "map.pbtxt") == labels


def test_a_json_label_space_keeps_everything(tmp_path: Path) -> None:
    import json

    labels = LabelSpace(ids=(1, 2), names=("a", "b"), exclusive=True, evaluated=(2,))
    assert _read(tmp_path, json.dumps(labels.to_json())) == labels


def test_a_repeated_name_is_told_apart_by_its_id(tmp_path: Path) -> None:
    assert _read(tmp_path, "1: face\n2: face\n").names == ("face", "face (2)")


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "no label found", "labels"),
        ("\n \n", "no label found", "labels"),
        ("item {\n}\n", "incomplete", "row 1"),
        ('item {\n name: "a"\n id: 1\n}\nitem {\n name: "b"\n}\n', "incomplete", "row 5"),
        ('item {\n name: "a"\n id: 1\n}\nitem {\n name: "b"\n id: 1\n}\n', "duplicate", "row 5"),
        ("items [\n {oops}\n]\n", "no label found", "row 2"),
        ("1: walk\nrun\n", "missing id", "row 2"),
        ("[1, 2]", "expected an id and a name", "entry 1"),
        ('{"a": ', "invalid JSON", "labels"),
        ("{}", "no label found", "labels"),
    ],
)
def test_a_bad_map_says_where(text: str, what: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path, text)
    assert what in caught.value.what
    assert where in str(caught.value.where)


def test_a_map_that_parses_to_nothing_shows_its_first_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"first lines entry \{ \|   oops"):
        _read(tmp_path, "entry {\n  oops\n}\n")


def test_a_missing_map_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_label_map(tmp_path / "absent")


def test_blocks_may_share_a_line(tmp_path: Path) -> None:
    path = tmp_path / "map.pbtxt"
    path.write_text(
        'item { name: "run" id: 3 } item {name: "sit" id: 1}\nlabel{name:"x" label_id:2}'
    )
    assert read_label_map(path).ids == (3, 1, 2)
