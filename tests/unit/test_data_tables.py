"""The normal form and AVA's CSV: what is read, what is refused and how the refusal reads."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.tables import (
    read_ava_csv,
    read_excluded,
    read_included,
    write_ava_csv,
)
from tubelet.data.untrusted.reading import find_video, read_bytes, video_path, write_atomic
from tubelet.errors import DataError, InputError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.types import Key


def _file(folder: Path, text: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_every_width_of_row_is_read(tmp_path: Path) -> None:
    text = "a,0902\nb,0903,.1,.2,.3,.4\nc,904.5,.1,.2,.3,.4,12\nd,0905,.1,.2,.3,.4,12,7\n"
    table = read_ava_csv(_file(tmp_path, text))
    frame = table.frame
    assert frame["video"].to_list() == ["a", "b", "c", "d"]
    assert frame["time_us"].to_list() == [902_000_000, 903_000_000, 904_500_000, 905_000_000]
    assert frame["label"].to_list() == [None, None, 12, 12]
    assert frame["person"].to_list() == [None, None, None, 7]
    assert np.isnan(table.boxes[0]).all()
    assert table.boxes[3].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert table.time_ms.to_list() == [902_000, 903_000, 904_500, 905_000]


@pytest.mark.parametrize(
    "text",
    [
        "\n\nv,0902,.1,.2,.3,.4,1,0\n\n",
        "v,0902,.1,.2,.3,.4,1,0",
        "v,0902,.1,.2,.3,.4,1,0\r\n",
        "\ufeffv,0902,.1,.2,.3,.4,1,0\n",
        "v\t902\t.1\t.2\t.3\t.4\t1\t0\n",
        "video_id,timestamp,x1,y1,x2,y2,action_id,person_id\nv,0902,.1,.2,.3,.4,1,0\n",
        "v , 902.0 , .1 ,.2,.3,.4,1.0,0.0\n".replace("v ,", "v,"),
        '"v",0902,.1,.2,.3,.4,1,0\n',
        "v,0902,.1,.2,.3,.4,1,0\r",
    ],
    ids=["blank", "no-newline", "crlf", "bom", "tabs", "header", "spaces", "quotes", "mac"],
)
def test_spellings_of_one_row_are_one_table(text: str, tmp_path: Path) -> None:
    expected = Annotations.of(
        video=["v"], time_us=[902_000_000], boxes=[[0.1, 0.2, 0.3, 0.4]], label=[1], person=[0]
    )
    assert read_ava_csv(_file(tmp_path, text)).same_content(expected)


def test_row_numbers_count_every_line_of_the_file(tmp_path: Path) -> None:
    text = "video,timestamp\n\nv,0902\n\nv,0903\n"
    table = read_ava_csv(_file(tmp_path, text))
    assert table.frame["row"].to_list() == [3, 5]
    assert table.where(1).endswith("rows.csv, row 5")


@pytest.mark.parametrize(
    ("bad", "where", "what"),
    [
        ("v,x,.1,.2,.3,.4,1,0", "column 2", "invalid number"),
        ("v,nan,.1,.2,.3,.4,1,0", "column 2", "invalid time"),
        ("v,,.1,.2,.3,.4,1,0", "column 2", "invalid time"),
        (",0902,.1,.2,.3,.4,1,0", "column 1", "missing video id"),
        ("v,0902,.1,.2,.3", "columns 3 to 6", "incomplete box"),
        ("v,0902,,,,,1,0", "columns 3 to 6", "incomplete box"),
        ("v,0902,.1,.2,inf,.4,1,0", "columns 3 to 6", "not a finite number"),
        ("v,0902,.1,.2,.3,.4,0.93,", "column 7", "not an integer"),
        ("v,0902,.1,.2,.3,.4,1,0.98", "column 8", "not an integer"),
        ("v,0902,.1,.2,.3,.4,1,0,9", "row 4", "too many columns"),
        ("v,0902,64,48,320,240,1,0", "columns 3 to 6", "outside the frame"),
        ("v,0902,.3,.2,.1,.4,1,0", "columns 3 to 6", "inverted"),
    ],
)
@pytest.mark.parametrize("extra", ["", 'w,"0902"\n'], ids=["fast", "exact"])
def test_a_bad_row_is_named(bad: str, where: str, what: str, extra: str, tmp_path: Path) -> None:
    good = "v,0902,.1,.2,.3,.4,1,0\n"
    path = _file(tmp_path, good + "\n" + good + bad + "\n" + extra)
    with pytest.raises(DataError) as caught:
        read_ava_csv(path)
    assert what in caught.value.what
    assert f"{path}, row 4" in str(caught.value.where)
    assert where in str(caught.value.where)


def test_pixels_and_scores_come_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="divide x by the width"):
        read_ava_csv(_file(tmp_path, "v,1,64,48,320,240,1\n"))
    with pytest.raises(DataError, match="detections or proposals"):
        read_ava_csv(_file(tmp_path, "v,1,.1,.2,.3,.4,1,0.5\n"))


def test_lenient_reading_keeps_what_the_doctor_must_see(tmp_path: Path) -> None:
    path = _file(tmp_path, "v,1,64,48,320,240,1\nv,1,.3,.2,.1,.4,1\n")
    assert len(read_ava_csv(path, strict=False)) == 2


def test_detections_may_be_inverted_unscored_and_score_anything(tmp_path: Path) -> None:
    path = _file(tmp_path, "v,1,.3,.2,.1,.4,1,-3\nv,1,.1,.2,.3,.4,1\nv,1,.1,.2,.3,.4,2,17\n")
    table = read_ava_csv(path, kind="detections")
    assert table.frame["score"].to_list() == [-3.0, None, 17.0]
    with pytest.raises(DataError, match="missing action"):
        read_ava_csv(_file(tmp_path, "v,1,.1,.2,.3,.4\n"), kind="detections")
    with pytest.raises(DataError, match="invalid score"):
        read_ava_csv(_file(tmp_path, "v,1,.1,.2,.3,.4,1,nan\n"), kind="detections")


def test_headers_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'score' is in the wrong place"):
        read_ava_csv(_file(tmp_path, "video,time,score,x1,y1,x2,y2\nv,1,.9,.1,.2,.3,.4\n"))
    with pytest.raises(DataError, match="8th column is 'score'"):
        read_ava_csv(_file(tmp_path, "video,time,x1,y1,x2,y2,label,score\nv,1,.1,.2,.3,.4,1,1\n"))


def test_unknown_labels_and_ids_that_count_from_zero(tmp_path: Path) -> None:
    labels = LabelSpace.of(["walk", "run"])
    path = _file(tmp_path, "v,1,.1,.2,.3,.4,1\nv,2,.1,.2,.3,.4,0\n")
    with pytest.raises(DataError, match="off by one") as caught:
        read_ava_csv(path, labels=labels)
    assert "row 2" in str(caught.value.where)
    with pytest.raises(DataError, match="label map that belongs"):
        read_ava_csv(_file(tmp_path, "v,1,.1,.2,.3,.4,9\n"), labels=labels)


def test_empty_and_unreadable_files(tmp_path: Path) -> None:
    assert len(read_ava_csv(_file(tmp_path, ""))) == 0
    with pytest.raises(InputError, match="cannot read"):
        read_ava_csv(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes(b"v\xe9,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_ava_csv(tmp_path / "latin.csv")


def test_gzip_is_read_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"v,0902\n"))
    assert read_ava_csv(path).keys() == [Key(video="v", time_ms=902_000)]
    path.write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(DataError, match="too large"):
        read_bytes(path, limit=1 << 16)
    path.write_bytes(gzip.compress(b"v,0902\n")[:-6])
    with pytest.raises(DataError, match="damaged"):
        read_bytes(path)


def test_keyframes_are_sorted_and_join_the_labels_of_one_person(tmp_path: Path) -> None:
    text = (
        "b,2,.1,.2,.3,.4,5,0\nb,2,.5,.2,.6,.4,5,1\nb,2,.1,.2,.3,.4,9,0\n"
        "b,1\na,1.0004,.1,.2,.3,.4,,\na,1,.5,.5,.6,.6,3\n"
    )
    frames = list(read_ava_csv(_file(tmp_path, text)).keyframes())
    assert [str(f.key) for f in frames] == ["a@1.000s", "b@1.000s", "b@2.000s"]
    assert frames[0].labels == ((), (3,)), "half a millisecond is not another moment"
    assert len(frames[1].people) == 0
    assert frames[1].labels == ()
    assert frames[2].labels == ((5, 9), (5,))
    assert frames[2].people.track_ids.tolist() == [0, 1]
    assert frames[2].people.scores.tolist() == [1.0, 1.0]


def test_selecting_rows() -> None:
    table = Annotations.of(
        video=["a", "a", "b"], time_us=[1, 2, 1], boxes=np.ones((3, 4)), score=[0.2, 0.8, None]
    )
    assert table.of_video("a").frame["time_us"].to_list() == [1, 2]
    assert len(table.of_video()) == 0
    assert len(table.at_least(0.5)) == 2
    excluded = Annotations.of(video=["a"], time_us=[2])
    assert table.without(excluded).frame["video"].to_list() == ["a", "b"]
    assert table.videos() == ["a", "b"]
    assert len(Annotations.concat([table, excluded])) == 4
    assert len(Annotations.concat([])) == 0


def test_wrong_columns_are_refused() -> None:
    with pytest.raises(ShapeError, match="differ in length"):
        Annotations.of(video=["a"], time_us=[1, 2])
    with pytest.raises(ShapeError, match="wrong columns"):
        Annotations(frame=Annotations.of(video=["a"], time_us=[1]).frame.drop("video"))
    with pytest.raises(ShapeError, match="missing video or time"):
        Annotations.of(video=[None], time_us=[1])  # type: ignore[list-item]


def test_written_seconds_have_four_digits_or_the_decimals_they_need(tmp_path: Path) -> None:
    times = [902_000_000, 1_500_000, -250_000, 0, 166_700]
    table = Annotations.of(video=["v"] * 5, time_us=times)
    write_ava_csv(tmp_path / "out.csv", table)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "v,0902",
        "v,1.5",
        "v,-0.25",
        "v,0000",
        "v,0.1667",
    ]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    write_atomic(target, "old")
    mode = target.stat().st_mode & 0o777
    assert mode == 0o666 & ~_umask(), "readable as any new file"
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_atomic(tmp_path / "folder", "new")
    with pytest.raises(InputError, match="cannot create the folder"):
        write_atomic(target / "below_a_file.csv", "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "out.csv"]
    assert target.read_text() == "old"


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_excluded_and_included_timestamps(tmp_path: Path) -> None:
    excluded = read_excluded(_file(tmp_path, "a,0902\nb,903.5\n"))
    assert excluded.frame["time_us"].to_list() == [902_000_000, 903_500_000]
    with pytest.raises(DataError, match="row 2"):
        read_excluded(_file(tmp_path, "a,1\na,1,.1,.2,.3,.4,1\n"))
    assert read_included(_file(tmp_path, "0902\n\n0903.5\n")) == (902_000_000, 903_500_000)
    with pytest.raises(DataError, match="row 3"):
        read_included(_file(tmp_path, "0902\n0903\nx\n"))


def test_videos_are_found_by_id_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    (folder / "class" / "frames").mkdir(parents=True)
    for name in ("a.mkv", "b.c.mp4", "class/d.avi"):
        (folder / name).touch()
    (tmp_path / "secret.mp4").touch()
    assert video_path(folder, "a") == folder / "a.mkv"
    assert video_path(folder, "a.mkv") == folder / "a.mkv"
    assert video_path(folder, "b.c") == folder / "b.c.mp4"
    assert video_path(folder, "class/d") == folder / "class" / "d.avi"
    assert find_video(folder, "class/frames") == folder / "class" / "frames"
    assert find_video(folder, "x" * 5000) is None
    for unsafe in ("../secret", "/etc/passwd", "class/../../secret", "a\0", "..", "", "c:", "a\\b"):
        with pytest.raises(DataError, match="not a name inside"):
            find_video(folder, unsafe)
    with pytest.raises(InputError, match=r"did you mean 'b\.c'"):
        video_path(folder, "b_c")
    with pytest.raises(InputError, match="does not exist"):
        video_path(tmp_path / "absent", "a")
