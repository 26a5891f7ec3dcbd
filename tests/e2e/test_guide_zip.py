"""The guide from the zip that CVAT offers of a project with subsets and a frame step, on real
clips: five commands, the time before training, and one figure that both ends agree on."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.desk import Desk

from tubelet.data.tables import read_ava_csv
from tubelet.media.video import VideoInfo, probe

TRAIN = ("v_Basketball_g01_c02", "v_SalsaSpin_g03_c01", "v_Fencing_g01_c06")
VALIDATION = ("v_Basketball_g07_c04", "v_SkateBoarding_g02_c01")
STEP, START = 3, 6


@pytest.fixture
def project(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """`videos/` and `export.zip`: every third frame from the sixth, labelled as an action."""
    clips = shared / "data" / "clips" / "ucf24"
    (tmp_path / "videos").mkdir()
    for name in (*TRAIN, *VALIDATION):
        shutil.copy(clips / f"{name}.mp4", tmp_path / "videos")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as packed:
        packed.writestr("annotations.xml", _export(clips))
    return Desk(tmp_path, capsys)


def _export(clips: Path) -> str:
    """What CVAT writes: in each subset the frame numbers go on from task to task."""
    truth = read_ava_csv(clips / "gt_all_frames.csv")
    tasks: list[str] = []
    tracks: list[str] = []
    for subset, names in (("Train", TRAIN), ("Validation", VALIDATION)):
        offset = 0
        for name in names:
            info = probe(clips / f"{name}.mp4")
            size = ((info.frame_count or 0) - START + STEP - 1) // STEP
            number = len(tasks) + 1
            tasks.append(
                f"<task><id>{number}</id><name>{name}</name><size>{size}</size><subset>{subset}"
                f"</subset><start_frame>{START}</start_frame><frame_filter>step={STEP}"
                f"</frame_filter><original_size><width>{info.width}</width><height>{info.height}"
                f"</height></original_size><source>{name}.mp4</source></task>"
            )
            tracks += _tracks(
                truth.of_video(name).frame.iter_rows(named=True), number, offset, info
            )
            offset += START + STEP * size
    actions = "\n".join(("__undefined__", "basketball", "salsa", "fencing", "skating"))
    label = (
        "<label><name>person</name><attributes><attribute><name>action</name><input_type>select"
        f"</input_type><values>{actions}</values></attribute></attributes></label>"
    )
    return (
        f"<annotations><meta><project><tasks>{''.join(tasks)}</tasks><labels>{label}</labels>"
        f"</project></meta>{''.join(tracks)}</annotations>"
    )


def _tracks(rows: Iterable[dict[str, Any]], task: int, offset: int, info: VideoInfo) -> list[str]:
    names = {1: "basketball", 15: "salsa", 7: "fencing", 16: "skating"}
    boxes: dict[int, list[str]] = {}
    for row in rows:
        frame = round(row["time_us"] / 1e6 * info.fps)
        if frame < START or (frame - START) % STEP:
            continue
        w, h = info.width, info.height
        boxes.setdefault(row["person"], []).append(
            f'<box frame="{offset + frame}" keyframe="1" outside="0" xtl="{row["x1"] * w}" '
            f'ytl="{row["y1"] * h}" xbr="{row["x2"] * w}" ybr="{row["y2"] * h}">'
            f'<attribute name="action">{names[row["label"]]}</attribute></box>'
        )
    return [
        f'<track id="{person}" label="person" task_id="{task}">{"".join(found)}</track>'
        for person, found in boxes.items()
    ]


def test_five_commands_from_cvat_s_zip(project: Desk) -> None:
    command = "tubelet data prepare export.zip --videos videos --out mine --every 0.5"
    prepared = project.run(command)
    assert prepared.code == 0, prepared.err
    assert "train: 3 videos" in prepared.out
    assert "val: 2 videos" in prepared.out
    assert re.search(r"training takes (under a minute|about .* (minutes|hours))", prepared.out)
    for name in (*TRAIN, *VALIDATION):
        stamps = {int(t) for t in project.both("mine").of_video(name).frame["time_us"]}
        assert all(round(t / 40_000) % STEP == START % STEP for t in stamps), "labelled frames"
    doctor = project.run(
        "tubelet data doctor mine/train.csv mine/val.csv --labels mine/labels.pbtxt --videos videos"
    )
    assert "before the first or after the last" not in doctor.text
    trained = project.run(
        "tubelet train mine/recipe.json --out run --device cpu --set stages.0.steps=2 "
        "--set stages.0.batch=2"
    )
    assert trained.code == 0, trained.err
    scored = project.run(
        "tubelet evaluate run/predictions.csv mine/val.csv --labels mine/labels.pbtxt --out again"
    )
    assert scored.code == 0, scored.err
    own, again = (
        json.loads((project.folder / name / "report.json").read_text()) for name in ("run", "again")
    )
    assert own["map"] == pytest.approx(again["map"], abs=1e-9)
    found = project.run(
        f"tubelet detect videos/{VALIDATION[0]}.mp4 --model run/model.safetensors --every 0.5 "
        "--no-overlay --no-page --device cpu --out found"
    )
    assert found.code == 0, found.err
