"""The built wheel in an empty environment, beside the oldest dependencies that it allows.

torch is the exception: the environment lends the one that runs the tests, since other builds of it
are gigabytes. What else the package needs comes from the registry; without one the tests skip.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import tubelet

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def pip(*arguments: str | Path) -> list[str | Path]:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "0")
    return [sys.executable, "-m", "pip", *arguments[:2], *quiet, *arguments[2:]]


def oldest() -> dict[str, str]:
    """The lower bound of each dependency in pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = [re.match(r"([\w-]+)>=([\w.]+)", line) for line in project["dependencies"]]
    return {bound[1]: bound[2] for bound in bounds if bound}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    asked = subprocess.run(
        pip("download", "--no-deps", "hatchling", "-d", folder / "asked"),
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or ["no answer"]
        pytest.skip(f"the package registry cannot be reached: {said[-1]}")
    run(*pip("wheel", "--no-deps", REPOSITORY, "-w", folder))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a new environment that holds the wheel and what pip finds it to need."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    packages = next((folder / "lib").glob("python*/site-packages"))
    torch = metadata.distribution("torch")
    for name in {file.parts[0] for file in torch.files or () if file.parts[0] not in ("..", "bin")}:
        if (there := Path(str(torch.locate_file(name)))).exists():
            (packages / name).symlink_to(there)
    pins = {**oldest(), "torch": torch.version}
    (folder / "oldest.txt").write_text("".join(f"{n}=={v}\n" for n, v in pins.items()))
    install = pip("--python", python, "install", "--no-compile", "-c", folder / "oldest.txt")
    run(*install, wheel)
    found = run(python, "-c", "from importlib.metadata import version as v\n"
                f"print(*[f'{{n}}=={{v(n)}}' for n in {list(pins)}])")  # fmt: skip
    for name, version in pins.items():
        assert re.search(rf"{name}=={re.escape(version)}(\.0)*\b", found), (name, version, found)
    return folder / "bin"


def test_the_wheel_holds_the_package_and_one_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    records = f"tubelet-{tubelet.__version__}.dist-info"
    assert wheel.name == f"tubelet-{tubelet.__version__}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {"tubelet", records}
    assert {"tubelet/py.typed", "tubelet/weights/playground_small.safetensors"} <= names
    assert f"{records}/licenses/LICENSE" in names


def test_the_demo_runs_beside_the_oldest_dependencies(programs: Path, tmp_path: Path) -> None:
    said = run(programs / "tubelet", "--version", folder=tmp_path)
    assert said.split() == ["tubelet", tubelet.__version__]
    assert "--people" in run(programs / "tubelet", "detect", "--help", folder=tmp_path)
    assert "jhmdb21_small" in run(programs / "tubelet", "recipes", "jhmdb*", folder=tmp_path)
    assert "frame mAP" in run(programs / "tubelet", "demo", "--out", "demo", folder=tmp_path)
    assert {"actions.csv", "tubes.json", "overlay.mp4", "report.html"} <= {
        path.name for path in (tmp_path / "demo").iterdir()
    }
