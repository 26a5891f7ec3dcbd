"""Every format keeps the same promises, and every writer's file is read back and recognised."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from tubelet.data.annotations import CONTENT, Annotations
from tubelet.data.importers import FORMATS, Format, FormatFamily, Options, formats, read, sniff
from tubelet.errors import ConfigError, InputError, TubeletError
from tubelet.labels import LabelSpace

WRITABLE = [f for f in formats() if f.write is not None]
OPTIONS = Options(fps=30, size=(640, 360), labels=LabelSpace.of(["walk", "run", "sit down"]))


def _table(scored: bool) -> Annotations:
    boxes = np.array([[0.1, 0.2, 0.3, 0.4]] * 2 + [[0.5, 0.25, 1.0, 0.75]] * 2)
    return Annotations.of(
        video=["a", "a", "b_c", "b_c"],
        time_us=[902_000_000, 902_000_000, 1_500_000, 2_000_000],
        boxes=boxes,
        label=[1, 3, 2, 2],
        person=None if scored else [0, 0, 1, 1],
        score=[0.75, 0.5, 1.0, 0.25] if scored else None,
    )


@pytest.mark.parametrize("form", WRITABLE, ids=lambda f: f.name)
def test_what_is_written_is_recognised_and_read_back(form: Format, tmp_path: Path) -> None:
    assert form.write is not None
    scored = form.name in ("detections-csv", "proposals-csv", "mmaction2-proposals")
    table = _table(scored)
    if "proposals" in form.name:
        table = Annotations(frame=table.frame.drop("label"))
    path = tmp_path / "file"
    form.write(path, table, OPTIONS)
    assert sniff(path) == form.name
    again = read(path, None, OPTIONS).table
    assert isinstance(again, Annotations)
    sort = ["video", "time_us", "label", "score"]
    one, two = (t.frame.select(CONTENT).sort(sort) for t in (table, again))
    assert two.select("video", "time_us", "label", "person", "score").equals(
        one.select("video", "time_us", "label", "person", "score")
    )
    corners = ["x1", "y1", "x2", "y2"]
    assert np.allclose(one.select(corners), two.select(corners), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", formats(), ids=lambda f: f.name)
def test_absent_and_senseless_files_are_refused(form: Format, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        form.read(tmp_path / "absent", OPTIONS)
    for content in (b"\x00\x01\x02", b"{", b"<", b"\x80\x04.", b'{"a": 1}', b"x y z w\n"):
        path = tmp_path / "bad"
        path.write_bytes(content)
        with pytest.raises(TubeletError) as caught:
            form.read(path, OPTIONS)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("form", WRITABLE, ids=lambda f: f.name)
def test_writers_are_atomic(form: Format, tmp_path: Path) -> None:
    assert form.write is not None
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        form.write(folder, _table(False), OPTIONS)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_names_are_unique_and_described() -> None:
    names = [f.name for f in formats()]
    assert len(set(names)) == len(names)
    assert all(f.about for f in formats())


def test_a_name_that_two_formats_have_is_refused() -> None:
    class Twice(FormatFamily):
        @classmethod
        def formats(cls) -> tuple[Format, ...]:
            return (FORMATS[0],)

    try:
        with pytest.raises(ConfigError, match="duplicate annotation format 'cvat'"):
            formats()
    finally:
        del Twice
        gc.collect()
    assert formats()
