"""docs/own-labels.md does what it says: its commands, run in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = (REPOSITORY / "docs" / "own-labels.md").read_text(encoding="utf-8")
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def run(program: list[str], folder: Path) -> str:
    done = subprocess.run(
        program, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{program}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`videos/` and `annotations.xml`, as a user of CVAT has them."""
    folder = tmp_path_factory.mktemp("own")
    for line in (
        "tubelet playground make --out made --clips 3 --seconds 2 --size 96x72",
        "tubelet data convert made/train.csv annotations.xml --to cvat --labels made/labels.pbtxt "
        "--videos made/videos",
    ):
        run(line.split(), folder)
    (folder / "made" / "videos").rename(folder / "videos")
    first = min((folder / "videos").iterdir())
    (folder / "film.mp4").write_bytes(first.read_bytes())
    return folder


def test_from_a_cvat_export_to_a_trained_model(folder: Path) -> None:
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert [c.split()[1] for c in commands] == ["data", "data", "train", "evaluate", "detect"]
    told = ""
    for line in commands:
        quick = line.replace("stages.0.steps=300", "stages.0.steps=2 --set stages.0.batch=2")
        told += run(quick.split(), folder)
    assert "tensors loaded" in told
    assert (folder / "runs" / "mine" / "report").is_dir()
    [python] = blocks("python")
    said = run([sys.executable, "-c", python.replace("videos/film.mp4", "film.mp4")], folder)
    assert "film@" in said
