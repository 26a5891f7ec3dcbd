"""The house: imports run one way, modules form no cycle, and light rooms stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.structure import (
    FULL_FOLDER,
    class_names,
    cycles,
    folder_sizes,
    imports,
    modules_of,
    working_tree,
)

import tubelet

SOURCE = Path(tubelet.__file__).parent

# From the ground up: a room may import the rooms before it, and itself.
ROOMS = (
    "errors",
    "labels",
    "film_ids",
    "files",
    "drawing",
    "result_files",
    "types",
    "result_objects",
    "labelsets",
    "results",
    "boxes",
    "plugins",
    "numerics",
    "config",
    "answers",
    "batch",
    "checkpoints",
    "parallel",
    "media",
    "data",
    "playground",
    "people",
    "evaluate",
    "models",
    "engines",
    "convert",
    "releases",
    "testing",
    "train",
    "recipes",
    "render",
    "api",
    "bulk",
    "__init__",
    "serving",
    "cli",
    "__main__",
)


MODULES = working_tree(SOURCE.parents[1])
IMPORTS = imports(MODULES, lazy=True)  # those of functions and of type checkers too


def _floor(name: str) -> int:
    return ROOMS.index(name.split(".")[0])


def test_every_room_has_its_place() -> None:
    rooms = {name.split(".")[0] for name in MODULES}
    assert rooms <= set(ROOMS)


def test_the_readme_maps_every_room() -> None:
    text = (SOURCE.parents[1] / "README.md").read_text(encoding="utf-8")
    drawn = text.split("`src/tubelet/`:\n\n```\n")[1].split("```")[0]
    names = [name for line in drawn.splitlines() for name in line.split("  ")[0].split()]
    rooms = {name.split(".")[0] for name in MODULES} - {"__init__", "__main__"}
    assert sorted(names) == sorted(rooms)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name: str) -> None:
    own = _floor(name)
    for target in IMPORTS[name]:
        assert _floor(target) <= own, f"{name} imports {target}, which stands above it"


def test_modules_form_no_cycle_not_even_by_lazy_and_typing_only_imports() -> None:
    assert cycles(IMPORTS) == []


def test_a_cycle_is_found_wherever_it_hides() -> None:
    lazy = "def f():\n    from tubelet.b import x\n"
    typing_only = "if TYPE_CHECKING:\n    from tubelet import a\n"
    modules = modules_of({"a.py": lazy, "b.py": typing_only, "c.py": "import tubelet.a"})
    assert cycles(imports(modules, lazy=True)) == [["a", "b"]]
    assert cycles(imports(modules, lazy=False)) == []
    assert imports(modules, lazy=False)["c"] == {"a"}


def test_a_class_name_stands_for_one_class() -> None:
    twice = {name: places for name, places in class_names(MODULES).items() if len(places) > 1}
    assert twice == {}


def test_no_folder_is_a_list() -> None:
    assert [(f, n) for f, n in folder_sizes(MODULES).items() if n > FULL_FOLDER] == []


def _loads(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_importing_tubelet_loads_nothing_heavy() -> None:
    assert not _loads("import tubelet") & {"torch", "numpy", "av", "polars", "typer", "rich"}


def test_the_command_line_answers_help_without_torch() -> None:
    loaded = _loads("from tubelet.cli import main\nmain(['--help'])")
    assert not loaded & {"torch", "av", "polars"}


@pytest.mark.parametrize("room", ["evaluate", "render"])
def test_evaluating_and_drawing_need_no_torch(room: str) -> None:
    names = [n for n in MODULES if n.split(".")[0] == room]
    loaded = _loads("\n".join(f"import tubelet.{name}" for name in names))
    assert "torch" not in loaded


def test_only_the_command_line_prints() -> None:
    for name, module in MODULES.items():
        calls = [n for n in ast.walk(module.tree) if isinstance(n, ast.Call)]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not prints or name.split(".")[0] == "cli", f"{name} prints"


def test_only_the_command_line_speaks_of_its_options() -> None:
    for name, module in MODULES.items():
        if name.split(".")[0] == "cli":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said = re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value)
                assert not said, f"{name}, line {node.lineno}: {said}"


def test_files_stay_short() -> None:
    long = [n for n, m in MODULES.items() if len(m.text.splitlines()) > 500]
    assert not long
