"""List the calls of `tubelet train RECIPE`, from the command line to the first optimiser step.

    python scripts/trace_training.py                        # playground_small, two clips per step
    python scripts/trace_training.py NAME --smoke           # a paper's recipe, shrunk
    python scripts/trace_training.py --summary

A line is a call from one module into another, told when it first happens, below its caller; what
happens inside recipes, data, models and everything below them is neither listed nor judged. A call
climbs if the module that is called imports the one that calls, and not the other way round:
the reader would have to go back up. The script ends with an error if a call does. Two kinds are not
counted, since a reader finds them where he is: a method that overrides one of a base class which
the caller knows, and what typer, torch or a dataclass calls for us (a command, `__post_init__`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from scripts.structure import imports, reachable, working_tree
from torch.optim.optimizer import register_optimizer_step_pre_hook

import tubelet
from tubelet.cli import main as tubelet_command

SOURCE = Path(tubelet.__file__).parent
FOLLOWED = ("cli", "train", "testing")
VALUES = ("__len__", "__post_init__")  # nothing happens in them that a reader follows
QUICK = ("stages.0.steps=1", "stages.0.batch=2", "stages.0.data.clips=2", "stages.0.precision=fp32")


class FirstStep(BaseException):
    """The optimiser is about to take its first step. Nothing on the way may catch it."""


class Call(NamedTuple):
    """A call between modules; names are `module:function`. `depth`: modules above it. `direct`: by
    our own code, not by a library on its behalf."""

    depth: int
    caller: str
    callee: str
    direct: bool


@dataclass(slots=True)
class Calls:
    """The distinct calls between modules, in order of first appearance.

    `order`: every function, as it is first entered.
    """

    found: list[Call] = field(default_factory=list)
    order: dict[str, None] = field(default_factory=dict)
    _seen: set[tuple[str, str]] = field(default_factory=set)
    # By identity, since a code object's hash reads all of it; the object is kept, so no id returns.
    _names: dict[int, tuple[CodeType, str | None]] = field(default_factory=dict)

    def watch(self, frame: FrameType, event: str, _: Any) -> None:
        """For `sys.setprofile`."""
        callee = self._name(frame.f_code) if event == "call" else None
        if callee is None:
            return
        caller = next(self._callers(frame), None)
        if caller is None or (caller, callee) in self._seen:
            return
        stack = list(self._callers(frame))
        if any(name.endswith(":<module>") for name in stack):
            return  # an import runs, nobody calls
        self._seen.add((caller, callee))
        self.order.setdefault(callee)
        if _module(caller) != _module(callee):
            above = frame.f_back
            direct = above is not None and self._name(above.f_code) is not None
            depth = sum(_module(a) != _module(b) for a, b in pairwise([callee, *stack]))
            self.found.append(Call(depth, caller, callee, direct))

    def _callers(self, frame: FrameType) -> Iterator[str]:
        above = frame.f_back
        while above is not None:
            name = self._name(above.f_code)
            if name is not None:
                yield name
            above = above.f_back

    def _name(self, code: CodeType) -> str | None:
        known = self._names.get(id(code))
        if known is not None:
            return known[1]
        path = Path(code.co_filename)
        own = path.is_relative_to(SOURCE)
        parts = path.relative_to(SOURCE).with_suffix("").parts if own else ()
        parts = parts[:-1] if parts[-1:] == ("__init__",) and len(parts) > 1 else parts
        name = f"{'.'.join(parts)}:{code.co_qualname}" if own else None
        self._names[id(code)] = code, name
        return name


def _module(name: str) -> str:
    return name.partition(":")[0]


def trace(command: Sequence[str]) -> Calls:
    """Run a command until its first optimiser step. Raises RuntimeError if it never takes one."""
    calls = Calls()

    def stop(*_: Any) -> None:
        sys.setprofile(None)
        raise FirstStep

    handle = register_optimizer_step_pre_hook(stop)
    sys.setprofile(calls.watch)
    try:
        code = tubelet_command(list(command))
    except FirstStep:
        return calls
    finally:
        sys.setprofile(None)
        handle.remove()
    raise RuntimeError(f"the command ended with {code} before any optimiser step")


def climbs(calls: Calls) -> list[str]:
    """Calls into a module that stands above the caller's."""
    graph = imports(working_tree(SOURCE.parents[1]), lazy=True)
    below = {name: reachable(graph, name) for name in graph}
    return [
        f"{call.caller} → {call.callee}"
        for call in calls.found
        if call.direct
        and {call.caller.partition(".")[0], call.callee.partition(".")[0]} & set(FOLLOWED)
        and _module(call.caller) in below.get(_module(call.callee), ())
        and _module(call.callee) not in below.get(_module(call.caller), ())
        and not _overrides(call.callee, {_module(call.caller), *below[_module(call.caller)]})
    ]


def returns(calls: Calls) -> list[str]:
    """Functions that a reader of `FOLLOWED`, who reads each when it is first called, finds only by
    going back up: in a module that he read from before, and that imports the one he is in."""
    graph = imports(working_tree(SOURCE.parents[1]), lazy=True)
    own = [n for n in calls.order if n.partition(".")[0] in FOLLOWED and _is_read(n)]
    read: set[str] = set()
    found, last = [], ""
    for name in own:
        module = _module(name)
        if module in read and module != last and last in reachable(graph, module):
            found.append(name)
        read.add(module)
        last = module
    return found


def _overrides(callee: str, known: Set[str]) -> bool:
    """Whether it is a method that a base class in one of the `known` modules declares."""
    module, _, path = callee.partition(":")
    owner, _, name = path.rpartition(".")
    kind = getattr(import_module(f"tubelet.{module}"), owner, None)
    bases = kind.__mro__[1:] if isinstance(kind, type) else ()
    return any(
        name in vars(base) and base.__module__.removeprefix("tubelet.") in known for base in bases
    )


def listed(calls: Calls) -> list[str]:
    """What a reader of `FOLLOWED` goes to read, each once, indented below who calls it first."""
    first: dict[str, int] = {}
    for call in calls.found:
        if call.caller.partition(".")[0] in FOLLOWED and _is_read(call.callee):
            first.setdefault(call.callee, call.depth)
    return ["  " * (depth - 1) + callee.replace(":", ".") for callee, depth in first.items()]


def _is_read(name: str) -> bool:
    """Whether a function is one that somebody goes to and reads."""
    return not name.endswith(VALUES) and "<" not in name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", nargs="?", default="playground_small")
    parser.add_argument("--smoke", action="store_true", help="shrink the recipe")
    parser.add_argument("--summary", action="store_true", help="only the figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tubelet_trace_") as folder:
        settings = [part for setting in QUICK for part in ("--set", setting)]
        options = ["--smoke"] if given.smoke else settings
        calls = trace(["train", given.recipe, "--out", f"{folder}/run", *options])
    lines, up = listed(calls), climbs(calls)
    if not given.summary:
        print("\n".join(lines))
    modules = {_module(name) for name in calls.order}
    followed = [name for name in modules if name.partition(".")[0] in FOLLOWED]
    back = [name.replace(":", ".") for name in returns(calls)]
    print(
        f"\n{len(lines)} functions called in {len(followed)} modules of {', '.join(FOLLOWED)}, "
        f"{len(modules)} modules in all; calls that climb: {len(up)}; functions in a module above "
        f"that was read from before: {len(back)} ({', '.join(back)})"
    )
    sys.exit("\n".join(["calls that climb:", *up]) if up else 0)


if __name__ == "__main__":
    main()
