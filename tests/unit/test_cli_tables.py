"""The command line's tables at 80 and 120 columns, its help, its completion and its options."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console

import tubelet.cli
from tubelet.cli import main
from tubelet.cli.app import app
from tubelet.labels import LabelSpace
from tubelet.models.create import model_names
from tubelet.recipes import recipe_names
from tubelet.releases.published import published
from tubelet.releases.table import RELEASES
from tubelet.render.tables import Column, FittedTable, action_table, report_table
from tubelet.render.timeline import Spans
from tubelet.results import Tube

AVA_NAMES = ("talk to (e.g., self, a person, a group)", "bend/bow (at the waist)", "[stand]")

Run = Callable[..., list[str]]


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def shown(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as on a terminal of `width` columns; returns its lines."""
    terminal = Console(width=width, force_terminal=True, color_system=None, markup=False)
    for module in ("console", "listing", "released", "showing"):
        monkeypatch.setattr(f"tubelet.cli.{module}.out", terminal)

    def run(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert main(arguments) == 0
        return capsys.readouterr().out.splitlines()

    return run


def printed(item: Any, width: int) -> list[str]:
    terminal = Console(width=width, color_system=None)
    with terminal.capture() as capture:
        terminal.print(item)
    return capture.get().splitlines()


def check(lines: list[str], names: list[str], width: int) -> None:
    """Nothing is cut, nothing but a single name too wide, and each name stands in one line, whole,
    as its first word."""
    assert max(len(line) for line in lines if line not in names) <= width
    assert not any("…" in line for line in lines)
    first = Counter(line.split(maxsplit=1)[0] for line in lines if line and line[0] != " ")
    assert [name for name in names if first[name] != 1] == []


def test_models_are_listed_a_line_each(shown: Run, width: int) -> None:
    lines = [line for line in shown("models") if line.strip()]
    check(lines, [*RELEASES, *model_names()], width)
    assert len(lines) == len(RELEASES) + len(model_names()) + 6  # two heads, rules, hints
    text = "\n".join(lines)
    assert ("0.6218" in text) == ("K400 75.6" in text) == (width == 120)
    assert "21 actions of JHMDB-21, split 1" in text


def test_published_checkpoints_are_listed_without_a_broken_name(shown: Run, width: int) -> None:
    lines = [line for line in shown("models", "--released") if not line.startswith("──")]
    check(lines, list(published()), width)


def test_recipes_are_listed_without_a_broken_word(shown: Run, width: int) -> None:
    lines = shown("recipes")
    check(lines, recipe_names(), width)
    paragraphs = " ".join(line.strip() for line in lines)
    assert "published ava mAP 29.8" in paragraphs and "data: ava, kinetics600" in paragraphs


@pytest.mark.parametrize("name", ["jhmdb21_small", "person_small", "slow_r50_8x8"])
def test_one_model_is_shown(name: str, shown: Run, width: int) -> None:
    lines = shown("models", "show", name)
    assert max(map(len, lines)) <= width
    keys = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert keys[0] in ("name", "architecture")
    assert ("input" in keys) == (name != "person_small")
    indents = {len(line) - len(line.lstrip()) for line in lines if line.startswith(" ")}
    assert len(indents) <= 1  # wrapped values stand below each other


def test_tables_of_detect_and_evaluate(width: int) -> None:
    labels = LabelSpace.of(AVA_NAMES)
    tube = Tube(
        video="a",
        track_id=12,
        times_ms=np.array([1000, 3_600_000]),
        boxes=np.tile([0.1, 0.1, 0.5, 0.9], (2, 1)),
        person_scores=np.ones(2, np.float32),
        action_scores=np.full((2, 3), 0.9, np.float32),
        labels=labels,
    )
    rows = [{"name": name, "ap": 0.5, "instances": 228_987} for name in AVA_NAMES]
    unseen = {"name": "swim", "ap": None, "instances": 0}
    actions = action_table([tube], spans=Spans(on=0.5), every_ms=1000)
    report = report_table({"map": 0.5, "classes": [*rows, unseen]})
    for table in (actions, report):
        lines = printed(table, width)
        assert max(map(len, lines)) <= width
        for name in AVA_NAMES:
            assert any(name in line for line in lines), name
        bars = any("█" in line for line in lines)
        assert bars or (table is actions and width == 80)


def test_a_table_leaves_out_columns_but_loses_no_name() -> None:
    columns = (Column(name="name"), Column(name="more", optional=True), Column(name="n"))
    table = FittedTable(columns, [("x" * 30, "y" * 30, "7")])
    assert table.shown(80) == [0, 1, 2] and table.shown(40) == [0, 2]
    narrow = "".join(line.split()[0] for line in printed(table, 20)[2:])
    assert narrow.count("x") == 30  # folded, not cut


def test_a_file_and_json_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = RELEASES["playground_small"].path
    assert main(["models", "show", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["classes"]) == 17 and facts["backbone"]["type"] == "SlowFastConfig"
    (tmp_path / "model.safetensors").write_bytes(RELEASES["jhmdb21_small"].path.read_bytes())
    assert main(["models", "show", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "model.safetensors")
    assert main(["models", "show", str(tmp_path / "none.safetensors")]) == 2
    assert main(["models", "show", "jhmdb21_smal"]) == 2
    told = capsys.readouterr().err
    assert "no such weights file" in told and "did you mean 'jhmdb21_small'" in told


def test_a_recipe_is_shown_by_name_and_from_its_own_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", "show", "jhmdb21_small", "--set", "stages.0.steps=7"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["stages"][0]["steps"] == 7
    own = tmp_path / "own.json"
    own.write_text(text)
    assert main(["recipes", "show", str(own)]) == 0
    assert capsys.readouterr().out == text


def commands(group: Any, name: str = "tubelet") -> Iterator[tuple[str, Any]]:
    """Every command with its path, groups apart."""
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def test_help_of_every_command_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    paths = [path.split()[1:] for path, _ in commands(typer.main.get_command(app))]
    groups = {tuple(path[:-1]) for path in paths}
    for path in (*map(tuple, paths), *groups):
        assert main([*path, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80, path
        assert not any(line.rstrip().endswith("...") for line in lines[1:]), path


def test_an_option_is_declared_once() -> None:
    """Two options of one help text are one, and belong into `cli/options.py`."""
    found: Counter[str] = Counter()
    for path in Path(tubelet.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("typer."):
                helps = [k.value for k in node.keywords if k.arg == "help"]
                found.update(str(h.value) for h in helps if isinstance(h, ast.Constant))
    assert len(found) > 40
    assert [text for text, count in found.items() if count > 1] == []


def test_the_shell_completes_commands() -> None:
    program = "import sys; sys.argv = ['tubelet']; from tubelet.cli import script; script()"
    asked = {
        "_TUBELET_COMPLETE": "complete_bash",
        "COMP_WORDS": "tubelet models ",
        "COMP_CWORD": "2",
    }
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["list", "show"]
