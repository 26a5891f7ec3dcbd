"""Training as processes: killed, asked to stop, and several at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tubelet.models.weights import load_model

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
PYTHON = [sys.executable, "-m"]
TORCHRUN = [*PYTHON, "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
STEPS = 14
TINY = (
    "model.backbone.width=8",
    "model.input.frames=4",
    "model.input.short_side=32",
    f"stages.0.steps={STEPS}",
    "stages.0.batch=4",
    "stages.0.save_every=3",
    "stages.0.precision=fp32",
    "stages.0.input=null",
    "stages.1.steps=2",
    "stages.1.batch=4",
    "stages.1.precision=fp32",
    "tests.0.data.clips=2",
)


def command(launcher: list[str], out: Path, *extra: str) -> list[str]:
    settings = [word for setting in TINY for word in ("--set", setting)]
    train = ["tubelet", "train", "playground_small", "--out", str(out), "--device", "cpu"]
    return [*launcher, *train, *settings, *extra]


def finished(program: list[str]) -> str:
    done = subprocess.run(
        program, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def digest(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("weights sha256"))


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "small.jsonl").read_text().splitlines()]


def wait_for_steps(run: Path, steps: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    log = run / "small.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if log.is_file() and len(log.read_text().splitlines()) >= steps:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {steps} steps; the process ended with {process.poll()}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nobody disturbs."""
    return digest(finished(command(PYTHON, tmp_path_factory.mktemp("runs") / "whole")))


def test_killed_at_five_random_points_it_ends_in_the_same_weights(
    whole: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    points = sorted(random.sample(range(1, STEPS + 1), 5))
    (tmp_path / f"killed_after_{'_'.join(map(str, points))}").touch()  # for a reader of a failure
    for point in points:
        resume = ["--resume"] if run.exists() else []
        process = subprocess.Popen(
            command(PYTHON, run, *resume),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_steps(run, point, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert digest(finished(command(PYTHON, run, "--resume"))) == whole


def test_sigterm_saves_and_exits_143(whole: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(PYTHON, run, "--set", "stages.0.save_every=1000"),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for_steps(run, 2, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 143
    assert b"has saved its state" in said and b"--resume" in said
    rest = command(PYTHON, run, "--set", "stages.0.save_every=1000", "--resume")
    assert digest(finished(rest)) == whole


@pytest.mark.parametrize("sharded", [[], ["--fsdp"]], ids=["ddp", "fsdp"])
def test_two_processes_equal_one_that_accumulates(tmp_path: Path, sharded: list[str]) -> None:
    same = [
        word
        for setting in (
            "stages.0.norms.mode=frozen",
            "stages.1.norms.mode=frozen",
            "stages.0.ema=0",
            "stages.1.ema=0",
        )
        for word in ("--set", setting)
    ]
    one = [*same, "--set", "stages.0.accumulate=2", "--set", "stages.1.accumulate=2"]
    finished(command(PYTHON, tmp_path / "one", *one))
    finished(command(TORCHRUN, tmp_path / "two", *same, *sharded))
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "two"), rtol=1e-5)
    models = [load_model(tmp_path / n / "model.safetensors").state_dict() for n in ("one", "two")]
    for name, value in models[0].items():
        np.testing.assert_allclose(value, models[1][name], rtol=1e-4, atol=1e-5, err_msg=name)
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("one", "two")]
    assert reports[0]["protocol"] == reports[1]["protocol"]  # nothing lost, nothing twice
