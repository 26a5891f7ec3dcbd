"""A stranger's package, one file, installed beside tubelet: nothing in `src` knows of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "examples" / "toy_plugin"
TRAIN = """
import json, sys
from pathlib import Path
import torch
from tubelet_toy import LABELS, ToyConfig, ToyHeadConfig, ToySource
from tubelet.config import decode, encode
from tubelet.models import ActionModelConfig
from tubelet.recipes.smoke import shrink_recipe
from tubelet.testing.config import Test
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.reporters import Silent
from tubelet.train.run import run
from tubelet.types import InputSpec

model = ActionModelConfig(
    backbone=ToyConfig(), head=ToyHeadConfig(), labels=LABELS,
    input=InputSpec(frames=8, stride=2, short_side=64),
)
data = ToySource(name="toy")
recipe = Recipe(
    name="toy", summary="", model=model, tests=(Test(data=data),),
    stages=(Stage(name="train", data=data, steps=2, batch=4, precision="fp32"),),
)
assert decode(Recipe, json.loads(json.dumps(encode(recipe)))) == recipe
assert shrink_recipe(recipe).model.backbone == ToyConfig().tiny()
out = Path(sys.argv[1])
run(recipe, out=out, root=out, device=torch.device("cpu"), resume=False, reporter=Silent())
"""

FILM = """
import sys
from tubelet_toy import FPS, HEIGHT, WIDTH, draw
from tubelet.media.writer import VideoWriter

with VideoWriter(sys.argv[1], FPS, (HEIGHT, WIDTH)) as writer:
    for frame in draw(1)[0]:
        writer.write(frame)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the package into; nothing is fetched."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the package, is not installed")
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(PACKAGE),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def python(installed: Path, *arguments: str, plugins: str | None = None) -> tuple[int, str]:
    """Exit status and output of a new Python process that finds the package installed."""
    path = [str(installed), str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    environment.pop("TUBELET_PLUGINS", None)
    if plugins is not None:
        environment["TUBELET_PLUGINS"] = plugins
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=REPOSITORY, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "toy"
    status, said = python(installed, "-c", TRAIN, str(out))
    assert status == 0, said
    return out / "model.safetensors"


@pytest.fixture(scope="module")
def film(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "square.mp4"
    status, said = python(installed, "-c", FILM, str(path))
    assert status == 0, said
    return path


def test_a_new_process_loads_the_checkpoint_and_detects(
    installed: Path, trained: Path, film: Path, tmp_path: Path
) -> None:
    status, said = python(
        installed, "-m", "tubelet", "detect", str(film), "--model", str(trained), "--people",
        "toy_square", "--every", "0.5", "--out", str(tmp_path), "--no-overlay", "--no-page",
        "--threshold", "0",
    )  # fmt: skip
    assert status == 0, said
    tubes = json.loads((tmp_path / "square" / "tubes.json").read_text())["tubes"]
    assert len(tubes) == 1 and len(tubes[0]["times_ms"]) >= 3
    lefts = [box[0] for box in tubes[0]["boxes"]]
    assert lefts == sorted(lefts)  # the square of film 1 goes rightwards


def test_its_models_are_listed_with_costs_that_nobody_recorded(installed: Path) -> None:
    status, said = python(installed, "-m", "tubelet", "models", "list", "toy", "--json")
    assert status == 0, said
    rows = {row["task"]: row for row in json.loads(said)["architectures"]}
    assert rows.keys() == {"detection", "classification"}
    # 3·9·9·3 + 1 and 32·27 + 1 weights per channel, then 80 classes.
    assert rows["detection"]["parameters"] == 32 * (3 * 3 * 81 + 1) + 32 * (32 * 27 + 1) + 33 * 80
    assert rows["detection"]["gflops"] > 0


def test_without_the_package_the_file_says_what_to_import(installed: Path, trained: Path) -> None:
    load = f"import tubelet; tubelet.load({str(trained)!r})"
    status, said = python(installed, "-c", load, plugins="")
    assert status == 1
    assert "unknown type 'tubelet_toy:ToyConfig'" in said and "`import tubelet_toy`" in said
    status, said = python(installed, "-c", f"import tubelet_toy; {load}", plugins="")
    assert status == 0, said


def test_it_passes_the_contract_list(installed: Path) -> None:
    status, said = python(
        installed, "-m", "pytest", "tests/contract", "-o", "addopts=", "-q", "-p",
        "no:cacheprovider", "-k", "Toy or toy",
    )  # fmt: skip
    assert status == 0, said
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None and int(passed[1]) >= 100, said
