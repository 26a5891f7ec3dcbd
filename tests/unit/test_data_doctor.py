"""Every finding of the doctor: a set that has the fault shows it, and a sound one shows nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.doctor import DataSet, Finding, SetFiles, examine, examine_files, worst
from tubelet.errors import InputError
from tubelet.labels import LabelSpace

LABELS = LabelSpace.of(["walk", "run"])


def _table(**changes: Any) -> Annotations:
    columns: dict[str, Any] = {
        "video": ["a", "a", "b"],
        "time_us": [1_000_000, 2_000_000, 1_000_000],
        "boxes": [[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.5, 0.6], [0.3, 0.2, 0.9, 0.8]],
        "label": [1, 2, 2],
        "person": [0, 0, 0],
        "source": "a.csv",
    }
    return Annotations.of(**(columns | changes))


def _one(code: str, *sets: DataSet, **about: Any) -> Finding:
    """The finding of this code; fails if it is missing."""
    found = {f.code: f for f in examine(sets, **about)}
    assert code in found, f"only {sorted(found)}"
    return found[code]


def _train(table: Annotations, **more: Any) -> DataSet:
    return DataSet(name="train", truth=table, **more)


def test_a_sound_set_has_no_findings() -> None:
    boxes = [[0.1, 0.2, 0.31, 0.4], [0.2, 0.2, 0.5, 0.6], [0.3, 0.2, 0.9, 0.8]]
    proposals = _table(boxes=boxes, label=[None] * 3, person=[None] * 3)
    findings = examine([_train(_table(), proposals=proposals)], labels=LABELS)
    assert [(f.code, f.severity) for f in findings] == [("proposal-quality", "note")]
    assert worst(findings) == "note"
    assert worst([]) is None


@pytest.mark.parametrize(
    ("code", "severity", "count", "changes"),
    [
        ("box-in-pixels", "error", 1, {"boxes": [[64, 36, 320, 180], *[[0, 0, 1, 1]] * 2]}),
        ("box-inverted", "error", 1, {"boxes": [[0.9, 0.2, 0.8, 0.9], *[[0, 0, 1, 1]] * 2]}),
        ("box-xywh", "error", 2, {"boxes": [[0.5, 0.1, 0.2, 0.3]] * 2 + [[0, 0, 0.9, 0.9]]}),
        ("box-empty", "warning", 1, {"boxes": [[0.2, 0.1, 0.2, 0.3], *[[0, 0, 1, 1]] * 2]}),
        ("box-outside-frame", "note", 1, {"boxes": [[-0.002, 0, 1, 1], *[[0, 0, 1, 1]] * 2]}),
        ("box-outside-frame", "warning", 2, {"boxes": [[0, 0, 1, 1.2]] * 2 + [[0, 0, 1, 1]]}),
        ("ids-off-by-one", "error", 1, {"label": [0, 1, 2]}),
        ("ids-off-by-one", "error", 2, {"label": [2, 3, 3]}),
        ("unknown-action-id", "error", 1, {"label": [1, 2, 17]}),
        ("class-without-training-row", "warning", 1, {"label": [1, 1, 1]}),
        ("no-actions", "error", 3, {"label": [None] * 3}),
        ("person-in-two-places", "warning", 2, {"time_us": [1, 1, 1]}),
        (
            "row-twice",
            "warning",
            1,
            {"video": ["a"] * 3, "time_us": [1] * 3, "boxes": [[0, 0, 1, 1]] * 3},
        ),
    ],
)
def test_faults_of_one_table(code: str, severity: str, count: int, changes: dict[str, Any]) -> None:
    found = _one(code, _train(_table(**changes)), labels=LABELS)
    assert found.severity == severity
    assert found.count == count
    assert found.fix
    assert 1 <= len(found.examples) <= 3
    assert json.loads(json.dumps(found.to_json()))["code"] == code


def test_examples_name_file_and_row() -> None:
    table = _table(label=[1, 2, 9], row=[4, 5, 8])
    found = _one("unknown-action-id", _train(table), labels=LABELS)
    assert found.examples == (
        "a.csv, row 8: b at 1.000 s, box 0.3,0.2,0.9,0.8, action 9, person 0",
    )


def test_an_empty_table_and_a_repeated_name() -> None:
    assert _one("no-rows", _train(Annotations.of(video=[], time_us=[]))).severity == "error"
    twice = LabelSpace(ids=(1, 2), names=("face", "face (2)"))
    assert _one("name-twice", _train(_table()), labels=twice).examples == ("id 2: face",)


def test_sets_that_share_a_video() -> None:
    found = _one("video-shared", _train(_table()), DataSet(name="val", truth=_table()))
    assert (found.severity, found.count, found.examples) == ("error", 2, ("a", "b"))
    with pytest.raises(InputError, match="duplicate set name"):
        examine([_train(_table()), _train(_table())])


def test_proposals_that_meet_no_moment_say_why() -> None:
    ids = _table(video=["a.mp4", "a.mp4", "b.mp4"])
    assert "extension" in _one("no-moment-in-common", _train(_table(), proposals=ids)).fix
    decimals = _table(time_us=[1_000_040, 2_000_040, 1_000_040])
    assert "decimals" in _one("no-moment-in-common", _train(_table(), proposals=decimals)).fix
    frames = _table(time_us=[30_000_000, 60_000_000, 30_000_000])
    assert "frame numbers" in _one("no-moment-in-common", _train(_table(), proposals=frames)).fix


def test_moments_without_proposals_and_the_other_way_round() -> None:
    few = _table(time_us=[1_000_000, 9_000_000, 1_000_000])
    part = _train(_table(), proposals=few)
    assert _one("moment-without-proposal", part).count == 1
    assert _one("proposal-without-moment", part).examples == ("a at 9.000 s",)
    excluded = Annotations.of(video=["a"], time_us=[2_000_000])
    codes = [f.code for f in examine([_train(_table(), proposals=few, excluded=excluded)])]
    assert "moment-without-proposal" not in codes


def test_poor_proposals_are_an_error_and_copied_truth_a_warning() -> None:
    poor = _table(boxes=[[0.6, 0.6, 0.7, 0.7]] * 3)
    found = _one("proposal-quality", _train(_table(), proposals=poor))
    assert (found.severity, found.count) == ("error", 3)
    assert _one("proposals-are-truth", _train(_table(), proposals=_table())).severity == "warning"


def test_files_that_cannot_be_read_are_findings(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("v,1,.1,.2,.3,.4,1\nv,x,.1,.2,.3,.4,1\n")
    (tmp_path / "good.csv").write_text("v,1,.1,.2,.3,.4,1\nv,1,64,48,320,240,1\n")
    (tmp_path / "labels.txt").write_text("{nothing}")
    files = [
        SetFiles(name="train", truth=tmp_path / "bad.csv"),
        SetFiles(
            name="val",
            truth=tmp_path / "good.csv",
            proposals=tmp_path / "absent.pkl",
            excluded=tmp_path / "good.csv",
        ),
    ]
    findings = examine_files(files, label_map=tmp_path / "labels.txt")
    unread = {f.subject: f for f in findings if f.code.endswith("unreadable")}
    assert set(unread) == {"label map", "train truth", "val proposals", "val excluded"}
    assert "row 2, column 2" in unread["train truth"].examples[0]
    assert "box-in-pixels" in {f.code for f in findings}, "the rest goes on"
    assert [f.severity for f in findings] == sorted(
        (f.severity for f in findings), key=["error", "warning", "note"].index
    )


def test_videos(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    _film(av, tmp_path / "a.mp4", frames=50, fps=25)
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    table = _table(
        video=["a", "a", "a", "broken", "absent", "../a"],
        time_us=[0, 1_960_000, 25_000_000, 0, 0, 0],
        boxes=[[0, 0, 1, 1]] * 6,
        label=[1] * 6,
        person=list(range(6)),
    )
    findings = {f.code: f for f in examine([_train(table)], videos=tmp_path, fps=30)}
    assert findings["video-missing"].examples == ("absent",)
    assert findings["video-broken"].count == 1
    assert findings["video-id-unsafe"].examples == ("'../a'",)
    outside = findings["keyframe-outside-film"]
    assert outside.count == 1
    assert "25.000 s" in outside.examples[0]
    assert "frame numbers" in outside.fix
    assert findings["frame-rate"].examples == ("a: 25",)
    with pytest.raises(InputError, match="does not exist"):
        examine([_train(table)], videos=tmp_path / "absent")


def _film(av: Any, path: Path, *, frames: int, fps: int) -> None:
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
