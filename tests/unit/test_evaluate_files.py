"""The short way of reading detections must mean what the long way means."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tubelet.data.tables import read_ava_csv
from tubelet.errors import DataError, InputError
from tubelet.evaluate import detection_files
from tubelet.evaluate.boxtable import BoxTable
from tubelet.evaluate.detection_files import read_detections
from tubelet.evaluate.from_annotations import box_table

ROWS = "".join(
    f"video{v},{900 + t}{fraction},0.1,0.2,0.{3 + v}5,0.9,{label},0.{label}{t}\n"
    for v in (1, 0, 2)
    for t, fraction in ((2, ""), (3, ".5"), (2, ".000000"))
    for label in (12, 80, 1)
)


def same(a: BoxTable, b: BoxTable) -> None:
    assert [a.videos[i] for i in a.video] == [b.videos[i] for i in b.video]
    for name in ("time_us", "boxes", "labels", "scores"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def long_way(path: Path, *, strict: bool = True) -> BoxTable:
    return box_table(read_ava_csv(path, kind="detections", strict=strict))


@pytest.mark.parametrize("block", [1, 50, 64, 200, detection_files.BLOCK])
@pytest.mark.parametrize("text", [ROWS, ROWS[:-1], ROWS + ROWS], ids=["lines", "open", "twice"])
def test_blocks_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, text: str
) -> None:
    monkeypatch.setattr(detection_files, "BLOCK", block)
    monkeypatch.setattr(detection_files, "read_ava_csv", None)  # the short way has to do
    path = tmp_path / "det.csv"
    path.write_text(text)
    same(read_detections(path), long_way(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "video_id,timestamp,x1,y1,x2,y2,action_id,score\n" + ROWS,
        ROWS.replace(",0.12\n", "\n"),
        ROWS + "\n\n" + ROWS,
        ROWS.replace(",", "\t"),
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("video1", '"video1"'),
    ],
    ids=["empty", "header", "unscored", "blank lines", "tabs", "windows", "quoted"],
)
def test_whatever_is_not_plain_goes_the_long_way(tmp_path: Path, text: str) -> None:
    path = tmp_path / "det.csv"
    path.write_bytes(text.encode())
    same(read_detections(path), long_way(path))
    packed = tmp_path / "det.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    same(read_detections(packed), long_way(packed))


@pytest.mark.parametrize(
    "bad",
    [
        "video1,902,0.1,0.2,0.3,0.4,12,nan",
        "video1,902,0.1,inf,0.3,0.4,12,0.5",
        "video1,902,0.1,0.2,0.3,0.4,12.5,0.5",
        "video1,902,0.1,0.2,0.3,0.4,twelve,0.5",
        "video1,902,0.1,0.2,0.3,0.4,12,0.5,7",
        "video1,902,0.1,0.2",
        "video1,902,100,200,300,400,12,0.5",
    ],
)
def test_mistakes_name_their_row(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "det.csv"
    path.write_text(ROWS + bad + "\n" + ROWS)
    with pytest.raises(DataError, match=f"row {ROWS.count(chr(10)) + 1}"):
        read_detections(path)


def test_pixels_pass_when_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "det.csv"
    path.write_text("video1,902,100,200,300,400,12,0.5\n")
    assert read_detections(path, strict=False).boxes[0].tolist() == [100, 200, 300, 400]


def test_a_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="read"):
            read_detections(path)
