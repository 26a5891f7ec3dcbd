"""The public cases of kinds 6 to 10 (names of films, checkpoints, runs, figures, scripts), each by
the commands that its user typed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.desk import Answer, Desk

from tubelet.models.weights import load_model
from tubelet.train.loop.state import TrainState

SHORT = (
    "--set stages.0.steps={steps} --set stages.0.batch=2 --set stages.0.save_every=1 "
    "--set stages.0.precision=fp32 --device cpu"
)
DeskOf = Callable[[str], Desk]


def warned(answer: Answer, words: str) -> None:
    lines = [line for line in answer.err.splitlines() if line.startswith("warning:")]
    assert any(words in line for line in lines), answer.text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("detections.csv truth0.csv", "counted from 0"),
        ("dup.csv truth.csv", "102 of 204 rows of the detections repeat an earlier one"),
        ("xywh.csv truth.csv", "x, y, width, height"),
    ],
)
def test_cases_28_a_figure_that_cannot_be_right_is_warned_of(
    desk_of: DeskOf, files: str, words: str
) -> None:
    desk = desk_of("28-evaluate-without-a-warning")
    answer = desk.run(f"tubelet evaluate {files} --labels labels.pbtxt --out report")
    assert answer.code == 0
    warned(answer, words)
    kept = json.loads((desk.folder / "report" / "report.json").read_text())
    assert any(words in told for told in kept["warnings"])
    assert len(kept["doubts"]) == len(kept["warnings"])


def test_cases_29_a_detector_of_six_classes_is_asked_about(desk_of: DeskOf) -> None:
    desk = desk_of("29-six-class-detector-plain")
    asked = desk.run("tubelet convert B_plain_six_classes.pth --to b.safetensors")
    assert asked.code == 2
    assert "task=detection|classification" in asked.err
    assert not (desk.folder / "b.safetensors").exists()
    rest = "--assume exclusive=false --assume colour=rgb"
    known = desk.run(f"tubelet convert with_cfg.pyth --to c.safetensors {rest}")
    assert known.code == 0, known.text
    model = load_model(desk.folder / "c.safetensors")
    assert (model.task, len(model.labels)) == ("detection", 6)


@pytest.mark.parametrize(
    "name",
    [
        "D_mmcv_ema.pth", "E2_mmengine_history.pth", "E_numpy_scalar.pth", "G2_lightning.pth",
        "G_lightning.ckpt", "H.pth.tar", "I_best_acc.pyth", "J_UPPER.PTH",
    ],
)  # fmt: skip
def test_cases_31_checkpoints_as_trainers_save_them_are_read(desk_of: DeskOf, name: str) -> None:
    """Each is recognised; what its tensors do not determine is asked."""
    desk = desk_of("31-checkpoints-refused")
    answer = desk.run(f"tubelet convert {name} --to out.safetensors")
    if answer.code == 0:
        assert (desk.folder / "out.safetensors").is_file()
    else:
        assert answer.code == 2
        assert "--assume exclusive=true|false" in answer.err
    for complaint in ("no rule", "no known family", "unknown kind", "re-save", "Traceback"):
        assert complaint not in answer.text


@pytest.mark.parametrize(
    "command",
    [
        "detect ../videos/yard_a.mp4 --out afile/x",
        "people ../videos/yard_a.mp4 --out afile/x/p.csv",
        "train playground_small --out afile/x",
        "demo --out afile/x",
        "evaluate TRUTH TRUTH --out /proc/x",
        "playground make --out /proc/pg --clips 1",
        "data convert TRUTH /proc/x/y.csv",
    ],
)
def test_cases_32_an_output_that_cannot_be_written_is_said(desk_of: DeskOf, command: str) -> None:
    desk = desk_of("32-unwritable-output")
    (desk.folder / "afile").touch()
    (desk.folder / "truth.csv").write_text("v,1,0.1,0.1,0.4,0.9,1,0\n")
    answer = desk.run("tubelet " + command.replace("TRUTH", "truth.csv"))
    assert answer.code == 2, answer.text
    assert "error: cannot create the folder" in answer.err
    assert "Traceback" not in answer.text


def prepared(desk: Desk, videos: str, out: str) -> None:
    answer = desk.run(
        f"tubelet data prepare labels.csv --labels labels.pbtxt --videos {videos} --out {out}"
    )
    assert answer.code == 0, answer.text


def test_cases_34_a_moved_run_resumes(desk_of: DeskOf) -> None:
    desk = desk_of("34-resume-after-moving")
    shutil.copytree(desk.folder.parent / "videos", desk.folder / "m1" / "videos")
    prepared(desk, "m1/videos", "m1/set")
    short = SHORT.format(steps=1)
    first = desk.run(f"tubelet train m1/set/recipe.json --out m1/run {short}")
    assert first.code == 0, first.text
    (desk.folder / "m1").rename(desk.folder / "m2")
    again = desk.run(f"tubelet train m2/set/recipe.json --out m2/run {short} --resume")
    assert again.code == 0, again.text
    assert "weights sha256" in again.out
    same = [line for line in first.out.splitlines() if line.startswith("weights sha256")]
    assert same == [line for line in again.out.splitlines() if line.startswith("weights sha256")]


def interrupted(desk: Desk, command: str, log: Path, steps: int) -> Answer:
    """What a command answers to a Ctrl-C after so many steps."""

    def press() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if log.is_file() and len(log.read_text().splitlines()) >= steps:
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=press)
    thread.start()
    answer = desk.run(command)
    thread.join()
    return answer


def test_cases_35_ctrl_c_saves_and_says_how_to_go_on(desk_of: DeskOf) -> None:
    desk = desk_of("35-ctrl-c-in-training")
    prepared(desk, "../videos", "set")
    run = desk.folder / "run"
    settings = SHORT.format(steps=200).replace("save_every=1 ", "save_every=50 ")
    command = f"tubelet train set/recipe.json --out run {settings}"
    answer = interrupted(desk, command, run / "finetune.jsonl", 2)
    assert answer.code == 130, answer.text
    assert "stopped at step" in answer.err and "--resume" in answer.err
    step = TrainState.load(run / "state.pt").step
    assert 2 <= step < 50
    (model := run / "model.safetensors").unlink(missing_ok=True)
    unfinished = desk.run("tubelet detect ../videos/yard_a.mp4 --model run --out out")
    assert unfinished.code == 2 and "finish" in unfinished.err
    finished = desk.run("tubelet train run --finish --device cpu")
    assert finished.code == 0 and model.is_file(), finished.text
    shown = desk.run("tubelet detect ../videos/yard_a.mp4 --model run --out out --no-overlay")
    assert shown.code == 0, shown.text


def test_cases_35_resuming_nothing_is_said(desk_of: DeskOf) -> None:
    desk = desk_of("35-ctrl-c-in-training")
    prepared(desk, "../videos", "set")
    answer = desk.run(f"tubelet train set/recipe.json --out empty --resume {SHORT.format(steps=1)}")
    assert answer.code == 0
    assert "no checkpoint in empty" in answer.err


def test_cases_38_names_in_other_scripts_are_readable_in_the_overlay(desk_of: DeskOf) -> None:
    from tubelet.drawing.font import drawable
    from tubelet.media.video import Video

    desk = desk_of("38-labels-in-other-scripts")
    prepare = "tubelet data prepare weird.csv --labels weird.pbtxt --videos ../videos --out set"
    assert desk.run(prepare).code == 0
    trained = desk.run(f"tubelet train set/recipe.json --out run {SHORT.format(steps=1)}")
    assert trained.code == 0, trained.text
    answer = desk.run("tubelet detect ../videos/yard_a.mp4 --model run --out out --threshold 0.05")
    assert answer.code == 0, answer.text
    assert "no letters" not in answer.text  # nothing had to be shown by its id
    assert all(map(drawable, load_model(desk.folder / "run" / "model.safetensors").labels.names))
    page = (desk.folder / "out" / "yard_a" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    with Video(desk.folder / "out" / "yard_a" / "overlay.mp4") as overlay:
        frames = [frame.image for frame in overlay.frames()]
    with Video(desk.folder.parent / "videos" / "yard_a.mp4") as film:
        assert len(frames) == sum(1 for _ in film.frames())


def test_cases_40_a_strip_gets_an_overlay_and_a_page(desk_of: DeskOf) -> None:
    from tubelet.media.video import probe

    desk = desk_of("40-extreme-aspect-overlay")
    answer = desk.run("tubelet detect tall.mp4 --out out")
    assert answer.code == 0, answer.text
    out = desk.folder / "out" / "tall"
    assert (out / "report.html").is_file()
    assert max(probe(out / "overlay.mp4").hw) <= 4096
    assert np.isfinite(probe(out / "overlay.mp4").fps)
