"""The house: imports run one way, modules form no cycle, and light rooms stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tubelet

SOURCE = Path(tubelet.__file__).parent

# From the ground up: a room may import the rooms before it, and itself.
ROOMS = (
    "errors",
    "labels",
    "files",
    "drawing",
    "result_files",
    "types",
    "results",
    "boxes",
    "plugins",
    "config",
    "batch",
    "checkpoints",
    "parallel",
    "media",
    "data",
    "playground",
    "people",
    "evaluate",
    "models",
    "releases",
    "convert",
    "train.precision",
    "testing",
    "train",
    "recipes",
    "render",
    "api",
    "cli",
    "__main__",
)


def _modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(parts)] = path
    return found


MODULES = _modules()


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(path: Path, *, top_only: bool) -> set[str]:
    """What a file imports of `tubelet` (with `top_only`, when it is loaded), types apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = [node for node in tree.body if not _is_for_checkers(node)]
    nodes = body if top_only else [n for part in body for n in ast.walk(part)]
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tubelet."):
            module = str(node.module).removeprefix("tubelet.")
            parts = {f"{module}.{alias.name}" for alias in node.names}
            names |= {part if part in MODULES else module for part in parts}
    return names


def _floor(name: str) -> int:
    return ROOMS.index(name if name in ROOMS else name.split(".")[0])


def test_every_room_has_its_place() -> None:
    rooms = {name.split(".")[0] for name in MODULES}
    assert rooms - {"__init__"} <= set(ROOMS)


def test_the_readme_maps_every_room() -> None:
    text = (SOURCE.parents[1] / "README.md").read_text(encoding="utf-8")
    drawn = text.split("`src/tubelet/`:\n\n```\n")[1].split("```")[0]
    names = [name for line in drawn.splitlines() for name in line.split("  ")[0].split()]
    rooms = {name.split(".")[0] for name in MODULES} - {"__init__", "__main__"}
    assert sorted(names) == sorted(rooms)


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n != "__init__"))
def test_imports_run_one_way(name: str) -> None:
    own = _floor(name)
    for target in _imports(MODULES[name], top_only=False):
        assert _floor(target) <= own, f"{name} imports {target}, which stands above it"


def test_modules_form_no_cycle() -> None:
    graph = {
        name: {t for t in _imports(path, top_only=True) if t in MODULES and t != name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


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


def test_public_names_are_pinned_and_exist() -> None:
    assert tubelet.__all__ == [
        "ActionDetector",
        "ActionModel",
        "Annotations",
        "Detections",
        "InputSpec",
        "Key",
        "LabelSpace",
        "People",
        "Tube",
        "TubeletError",
        "__version__",
        "create_model",
        "evaluate_files",
        "evaluate_frames",
        "link",
        "load",
        "push_to_hub",
        "save_pretrained",
    ]
    for name in tubelet.__all__:
        assert getattr(tubelet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        tubelet.lod  # noqa: B018


def test_only_the_command_line_prints() -> None:
    for name, path in MODULES.items():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not prints or name.split(".")[0] == "cli", f"{name} prints"


def test_only_the_command_line_speaks_of_its_options() -> None:
    for name, path in MODULES.items():
        if name.split(".")[0] == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said = re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value)
                assert not said, f"{name}, line {node.lineno}: {said}"


def test_files_stay_short() -> None:
    long = {n: p for n, p in MODULES.items() if len(p.read_text().splitlines()) > 500}
    assert not long
