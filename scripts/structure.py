"""Print figures about the package's structure as a Markdown table.

    python scripts/structure.py                      # the working tree
    python scripts/structure.py --against b893a55    # a commit beside it, as before and after
    python scripts/structure.py --json

Nothing is imported: everything is read from the source, so any commit can be measured.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "src/tubelet"
LONG_FILE, FULL_FOLDER = 400, 20

Graph = dict[str, set[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One source file. `name` is dotted, below the package."""

    name: str
    folder: str
    file: str
    text: str
    tree: ast.Module


def modules_of(sources: Mapping[str, str]) -> dict[str, Module]:
    """Modules by name, from texts by their path below the package."""
    found = {}
    for path, text in sources.items():
        parts = path.removesuffix(".py").split("/")
        folder = "/".join(["tubelet", *parts[:-1]])
        parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        name = ".".join(parts)
        found[name] = Module(
            name=name, folder=folder, file=path, text=text, tree=ast.parse(text, filename=path)
        )
    return found


def working_tree(root: Path = REPOSITORY) -> dict[str, Module]:
    """The modules as they lie on the disk."""
    package = root / PACKAGE
    return modules_of(
        {
            path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(package.rglob("*.py"))
        }
    )


def at_commit(commit: str, root: Path = REPOSITORY) -> dict[str, Module]:
    """The modules as they were in a commit."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout

    paths = git("ls-tree", "-r", "--name-only", commit, PACKAGE).split()
    return modules_of(
        {
            path.removeprefix(f"{PACKAGE}/"): git("show", f"{commit}:{path}")
            for path in paths
            if path.endswith(".py")
        }
    )


def imports(modules: Mapping[str, Module], *, lazy: bool) -> Graph:
    """Which modules of the package each imports as it is loaded; with `lazy`, also inside functions
    and for type checkers only."""
    graph = {}
    for module in modules.values():
        nodes = list(ast.walk(module.tree)) if lazy else list(_loaded(module.tree))
        targets = {t for node in nodes for t in _targets(node, modules)}
        graph[module.name] = targets - {module.name}
    return graph


def _loaded(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported, those in `if` and `try` too."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            waiting += [*node.body, *node.orelse, *node.finalbody]
            waiting += [statement for handler in node.handlers for statement in handler.body]


def _targets(node: ast.AST, modules: Mapping[str, Module]) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        if node.module == "tubelet":
            yield from (a.name if a.name in modules else "__init__" for a in node.names)
        elif node.module.startswith("tubelet."):
            module = node.module.removeprefix("tubelet.")
            parts = (f"{module}.{alias.name}" for alias in node.names)
            yield from (part if part in modules else module for part in parts)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name == "tubelet" or alias.name.startswith("tubelet."):
                yield alias.name.removeprefix("tubelet").removeprefix(".") or "__init__"


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import one another, directly or through others."""
    below = {name: reachable(graph, name) for name in graph}
    groups: dict[frozenset[str], list[str]] = {}
    for name in sorted(graph):
        group = frozenset(n for n in below[name] if n in below and name in below[n])
        if group:
            groups[group] = sorted(group)
    return list(groups.values())


def reachable(graph: Graph, start: str) -> set[str]:
    """Everything that `start` imports, through however many others."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.get(name, ())
    return found


def class_names(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """Where each class name stands."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{module.name}:{node.lineno}")
    return dict(found)


def folder_sizes(modules: Mapping[str, Module]) -> Counter[str]:
    """Modules of each folder, its `__init__` too."""
    return Counter(module.folder for module in modules.values())


def _functions(modules: Mapping[str, Module]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    trees = (node for module in modules.values() for node in ast.walk(module.tree))
    return [node for node in trees if isinstance(node, kinds)]


def _is_typed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the result and every argument but `self` or `cls` has a type."""
    own = function.args
    named = [*own.posonlyargs, *own.args, *own.kwonlyargs]
    named += [a for a in (own.vararg, own.kwarg) if a is not None]
    free = {"self", "cls"} if named and named[0].arg in ("self", "cls") else set()
    return function.returns is not None and all(
        a.annotation is not None or a.arg in free for a in named
    )


def _percentile(values: list[int], share: float) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(modules: Mapping[str, Module]) -> dict[str, object]:
    """Every figure by its name, in the table's order."""
    functions = _functions(modules)
    lines = [(f.end_lineno or f.lineno) - f.lineno + 1 for f in functions]
    arguments = [len(f.args.posonlyargs) + len(f.args.args) + len(f.args.kwonlyargs)
                 for f in functions]  # fmt: skip
    sizes = {m.file: len(m.text.splitlines()) for m in modules.values()}
    folders = folder_sizes(modules)
    fullest, most = folders.most_common(1)[0]
    twice = sorted(name for name, places in class_names(modules).items() if len(places) > 1)
    names = Counter(m.file.rpartition("/")[2] for m in modules.values())
    thrice = sorted(n for n, count in names.items() if count > 2 and n != "__init__.py")
    return {
        "modules": len(modules),
        "lines": sum(sizes.values()),
        "functions": len(functions),
        "lines of a function, median": _percentile(lines, 0.5),
        "lines of a function, p95": _percentile(lines, 0.95),
        "lines of a function, max": max(lines),
        "arguments of a function, max": max(arguments),
        f"files over {LONG_FILE} lines": sum(size > LONG_FILE for size in sizes.values()),
        "functions with every type, %": round(100 * sum(map(_is_typed, functions)) / len(lines), 1),
        "import cycles, as loaded": len(cycles(imports(modules, lazy=False))),
        "import cycles, lazy and typing-only too": len(cycles(imports(modules, lazy=True))),
        "names of two classes": _listed(twice),
        "file names that stand three times": _listed(thrice),
        "modules of the fullest folder": f"{most} ({fullest})",
        f"folders of more than {FULL_FOLDER} modules": sum(
            n > FULL_FOLDER for n in folders.values()
        ),
        "modules at the root": folders["tubelet"],
    }  # fmt: skip


def _listed(names: list[str]) -> str:
    return f"{len(names)}" + (f" ({', '.join(names)})" if names else "")


def table(columns: Mapping[str, Mapping[str, object]]) -> str:
    """Figures as Markdown, a column for each measured state."""
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        cells = (str(column.get(row, "")) for column in columns.values())
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--against", metavar="COMMIT", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    columns = {commit: figures(at_commit(commit)) for commit in given.against}
    columns["working tree"] = figures(working_tree())
    print(json.dumps(columns, indent=2) if given.json else table(columns))


if __name__ == "__main__":
    main()
