"""The command line as a user meets it: subprocesses, real files, exit codes and messages."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tubelet.data.tables import read_ava_csv
from tubelet.media.video import Video
from tubelet.render.export import read_tubes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def tubelet(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `tubelet` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tubelet", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=cwd,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two playground clips with labels, made by the command line."""
    folder = tmp_path_factory.mktemp("clips")
    made = tubelet(
        "playground", "make", "--out", folder, "--clips", 2, "--split", "test", "--size", "160x120"
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def detected(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of `tubelet detect` on those clips and a broken one, with true boxes."""
    folder = tmp_path_factory.mktemp("detected")
    (clips / "videos" / "broken.mp4").write_bytes(b"this is not a film" * 40)
    run = tubelet(
        "detect",
        clips / "videos",
        "--model",
        "playground_small",
        "--people",
        clips / "test.csv",
        "--out",
        folder,
        *("--to", "parquet", "--every-frame", "--on", 0.4, "--off", 0.3, "--least", 0.5),
    )
    assert run.returncode == 1, run.stderr
    assert "broken.mp4" in run.stderr and "1 of 3 videos failed" in run.stderr
    return folder


def test_version_and_help() -> None:
    assert tubelet("--version").stdout.startswith("tubelet 0.")
    shown = tubelet("--help").stdout
    assert all(word in shown for word in ("detect", "train", "evaluate", "models", "playground"))


def test_detect_writes_what_it_says(detected: Path, clips: Path) -> None:
    folders = sorted(p for p in detected.iterdir() if p.is_dir() and any(p.iterdir()))
    assert [p.name for p in folders] == ["playground_test_0_00000", "playground_test_0_00001"]
    names = {"actions.csv", "detections.csv", "overlay.mp4", "report.html", "tubes.json"}
    names |= {f"{name}.parquet" for name in ("actions", "detections", "frames")} | {"frames.csv"}
    assert {p.name for p in folders[0].iterdir()} == names
    with (folders[0] / "detections.csv").open() as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {8}
    assert {row[1] for row in rows} <= {"1", "2"}
    assert all(0 <= float(row[7]) <= 1 for row in rows)
    with (folders[0] / "actions.csv").open() as file:
        actions = list(csv.DictReader(file))
    assert {"person_id", "action", "score", "start_s", "end_s"} <= set(actions[0])
    assert all(float(row["peak_score"]) >= 0.4 for row in actions)
    assert pl.read_parquet(folders[0] / "actions.parquet").height == len(actions)
    frames = pl.read_csv(folders[0] / "frames.csv")
    with Video(folders[0] / "overlay.mp4") as film:
        last = len(list(film.frames())) - 1
    assert frames["frame"].max() == last and frames["frame"].n_unique() > 50
    known = read_ava_csv(clips / "test.csv").of_video(folders[0].name).frame["person"]
    ids = set(pl.read_parquet(folders[0] / "detections.parquet")["track_id"])
    assert ids == set(frames["person_id"]) == set(known), "the given ids are kept"
    tubes = read_tubes(folders[0] / "tubes.json")
    assert len(tubes.tubes) and all(t.track_id >= 0 for t in tubes.tubes)


def test_evaluate_prints_and_writes_the_same_figure(
    detected: Path, clips: Path, tmp_path: Path
) -> None:
    options = (detected / "detections.csv", clips / "test.csv", "--labels", clips / "labels.pbtxt")
    shown = tubelet("evaluate", *options, "--out", tmp_path)
    assert shown.returncode == 0, shown.stderr
    report = json.loads(tubelet("evaluate", *options, "--json").stdout)
    assert 0.3 < report["map"] <= 1
    assert f"{report['map']:.4f}" in shown.stdout
    assert json.loads((tmp_path / "report.json").read_text())["map"] == report["map"]
    assert "<svg" in (tmp_path / "report.html").read_text()
    study = tubelet("evaluate", *options, "--training", clips / "test.csv").stdout
    assert "95% interval" in study and "tail: mAP" in study and "localisation errors" in study


def test_people_writes_boxes_that_detect_reads(clips: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    video = clips / "videos" / "playground_test_0_00000.mp4"
    made = tubelet("people", video, "--out", boxes, "--threshold", 0.1)
    assert made.returncode == 0, made.stderr
    run = tubelet(
        "detect",
        video,
        "--model",
        "playground_small",
        "--people",
        boxes,
        "--out",
        tmp_path / "out",
        "--no-overlay",
        "--no-page",
    )
    assert run.returncode == 0, run.stderr
    assert {p.name for p in (tmp_path / "out" / video.stem).iterdir()} == {
        "actions.csv",
        "detections.csv",
        "tubes.json",
    }


def test_ids_of_my_own_tracker_are_kept(clips: Path, tmp_path: Path) -> None:
    video = clips / "videos" / "playground_test_0_00000.mp4"
    boxes = [f"{frame},{41 + frame % 2},10,10,60,{100 + frame % 2},0.9" for frame in range(75)]
    header = "frame,track_id,x1,y1,x2,y2,score"
    (tmp_path / "tracks.csv").write_text("\n".join((header, *boxes)) + "\n")
    run = tubelet(
        *("detect", video, "--model", "playground_small", "--people", tmp_path / "tracks.csv"),
        *("--every", 1, "--out", tmp_path, "--no-overlay", "--no-page", "--to", "parquet"),
    )
    assert run.returncode == 0, run.stderr
    folder = tmp_path / video.stem
    tubes = read_tubes(folder / "tubes.json").tubes
    times = {t.track_id: t.times_ms.tolist() for t in tubes}
    assert times == {41: [0, 2000, 2960], 42: [1000]}, "of each second the nearest given moment"
    assert [len(t.path_ms) for t in tubes] == [38, 37], "the other moments are the way between"
    rows = pl.read_parquet(folder / "detections.parquet").select("time_ms", "track_id").unique()
    assert sorted(rows.rows()) == [(0, 41), (1000, 42), (2000, 41), (2960, 41)]


def test_models_and_recipes_are_listed() -> None:
    listed = json.loads(tubelet("models", "small", "--json").stdout)
    assert {r["name"] for r in listed["releases"]} >= {"jhmdb21_small", "playground_small"}
    assert "jhmdb21_small" in tubelet("recipes").stdout


def test_labels_convert_and_are_examined(clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "boxes.json"
    done = tubelet(
        "data", "convert", clips / "test.csv", target, "--to", "coco", "--size", "160x120"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(target.read_text())["annotations"]
    fine = tubelet("data", "doctor", clips / "test.csv", "--labels", clips / "labels.pbtxt")
    assert fine.returncode == 0, fine.stdout
    bad = tmp_path / "pixels.csv"
    bad.write_text("a,0902,10,20,110,220,1,0\n")
    found = tubelet("data", "doctor", bad, "--json")
    assert found.returncode == 1
    assert any("pixel" in finding["code"] for finding in json.loads(found.stdout))


MISTAKES = {
    "a missing video": (("detect", "gone.mp4"), "gone.mp4"),
    "an empty folder": (("detect", "empty"), "empty"),
    "no video": (("detect", "text.mp4"), "text.mp4"),
    "an unknown model": (("detect", "text.mp4", "--model", "jhmdb21_smal"), "jhmdb21_small"),
    "a wrong threshold": (("detect", "text.mp4", "--threshold", "2"), "0 to 1"),
    "a wrong end": (("detect", "text.mp4", "--on", "0.5", "--off", "0.6"), "option:   --off"),
    "an unknown kind of file": (("detect", "text.mp4", "--to", "parqet"), "parquet"),
    "no period": (("detect", "film.mp4", "--every", "0"), "option:   --every"),
    "an unknown detector": (("detect", "film.mp4", "--people", "yolo"), "person_small"),
    "an unknown device": (("detect", "film.mp4", "--device", "tpu"), "auto, cpu or cuda"),
    "an unknown option": (("detect", "film.mp4", "--fast"), "--fast"),
    "missing predictions": (("evaluate", "gone.csv", "truth.csv"), "gone.csv"),
    "a folder for a file": (("evaluate", "empty", "truth.csv"), "empty"),
    "too few columns": (("evaluate", "short.csv", "truth.csv"), "row 1"),
    "a score that is no number": (("evaluate", "nan.csv", "truth.csv"), "row 2"),
    "pixels": (("evaluate", "truth.csv", "pixels.csv"), "pixels"),
    "an unknown label": (
        ("data", "doctor", "truth.csv", "--labels", "other.pbtxt"),
        "truth",
    ),
    "text for a label map": (
        ("evaluate", "found.csv", "truth.csv", "--labels", "truth.csv"),
        "no label found",
    ),
    "another set's label map": (
        ("evaluate", "found.csv", "truth.csv", "--labels", "other.pbtxt"),
        "option:   --labels",
    ),
    "an unknown recipe": (("train", "jhmdb21_tiny"), "jhmdb21_small"),
    "an unknown setting": (("train", "playground_small", "--set", "sed=1"), "seed"),
    "missing data": (("train", "jhmdb21_small", "--data", "empty"), "option:   --data"),
    "a wrong size": (("playground", "make", "--out", "x", "--size", "big"), "WIDTHxHEIGHT"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    """A folder of wrong files."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "empty").mkdir()
    (folder / "text.mp4").write_text("not a film")
    source = clips / "videos" / "playground_test_0_00000.mp4"
    (folder / "film.mp4").write_bytes(source.read_bytes())
    (folder / "truth.csv").write_text("a,0902,0.1,0.1,0.5,0.5,1,0\n")
    (folder / "found.csv").write_text("a,0902,0.1,0.1,0.5,0.5,1,0.9\n")
    (folder / "other.pbtxt").write_text('item { name: "swim" id: 7 }')
    (folder / "short.csv").write_text("a,0902,0.1\n")
    (folder / "nan.csv").write_text("a,0902,0.1,0.1,0.5,0.5,1,0.9\na,0902,0.1,0.1,0.5,0.5,2,nan\n")
    (folder / "pixels.csv").write_text("a,0902,10,10,200,300,1,0\n")
    return folder


@pytest.mark.parametrize("case", sorted(MISTAKES))
def test_a_mistake_is_explained_and_leaves_nothing(
    case: str, desk: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tubelet.cli import main

    arguments, says = MISTAKES[case]
    monkeypatch.chdir(desk)
    before = {p for p in desk.rglob("*") if p.is_file()}
    code = main([*arguments])
    told = capfd.readouterr()
    assert code in ({1, 2} if case in ("no video", "an unknown label") else {2}), told.err
    assert says in told.err + told.out
    assert "Traceback" not in told.err
    assert {p for p in desk.rglob("*") if p.is_file()} == before


TINY = (
    "model.backbone.width=8",
    "model.input.frames=4",
    "model.input.short_side=32",
    "stages.0.steps=12",
    "stages.0.batch=2",
    "stages.0.save_every=2",
    "stages.0.precision=fp32",
    "stages.0.input=null",
    "stages.1.steps=4",
    "stages.1.batch=2",
    "stages.1.save_every=2",
    "stages.1.precision=fp32",
    "tests.0.data.clips=2",
)


def _train(out: Path, *extra: str) -> list[str]:
    settings = [word for setting in TINY for word in ("--set", setting)]
    program = [sys.executable, "-m", "tubelet", "train", "playground_small"]
    return [*program, "--out", str(out), "--device", "cpu", *settings, *extra]


def _digest(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("weights sha256"))


def _wait_for_steps(run: Path, steps: int) -> None:
    """Until `steps` steps of both stages are logged and the first checkpoint is written."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        done = sum(len(p.read_text().splitlines()) for p in run.glob("*.jsonl"))
        if done >= steps and (run / "state.pt").exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {steps} steps in 600 seconds")


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    options = {"capture_output": True, "text": True, "env": ENVIRONMENT, "timeout": 900}
    whole = subprocess.run(_train(tmp_path / "whole"), **options, check=True)  # type: ignore[call-overload]
    run = tmp_path / "killed"
    process = subprocess.Popen(
        _train(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    last = random.randrange(2, 15)  # a new one each time: any step must do
    (tmp_path / f"killed_after_{last}").touch()  # for whoever reads a failure
    _wait_for_steps(run, last)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "model.safetensors").exists()
    refused = subprocess.run(_train(run), **options, check=False)  # type: ignore[call-overload]
    assert refused.returncode == 2 and "--resume" in refused.stderr
    resumed = subprocess.run(_train(run, "--resume"), **options, check=True)  # type: ignore[call-overload]
    assert "continues at step" in resumed.stderr
    assert _digest(resumed.stdout) == _digest(whole.stdout)
    first, second = ((tmp_path / n / "predictions.csv").read_bytes() for n in ("whole", "killed"))
    assert first == second


def test_resuming_another_recipe_is_refused(tmp_path: Path) -> None:
    from tubelet.cli import main

    run = tmp_path / "run"
    arguments = _train(run)[3:]
    assert main([*arguments, "--set", "stages.0.steps=2"]) == 0
    assert main([*arguments, "--set", "stages.0.steps=3", "--resume"]) == 2


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    run = tubelet("demo", "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    assert "frame mAP@0.5 against the known truth, true boxes" in run.stdout
    assert {"actions.csv", "tubes.json", "overlay.mp4", "report.html"} <= {
        p.name for p in tmp_path.iterdir()
    }
