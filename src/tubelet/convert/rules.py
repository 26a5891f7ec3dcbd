"""Table-driven renaming with strict accounting: every source key once, every target filled.

A rule is one line of a table: a pattern of source names, the name it becomes, and what is done to
the tensor. Named groups of the pattern go through the table's `names` before they fill the target,
so that stage "2" of one project can be stage "0" of another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tubelet.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]


def _dense(kernel: Tensor) -> Tensor:
    """Flax `(…inputs, …outputs)` of a two-sided kernel → torch `(outputs, inputs)`."""
    return kernel.t()


def _heads_out(kernel: Tensor) -> Tensor:
    """Flax query/key/value kernel `(D, heads, d)` → `(heads·d, D)`."""
    return kernel.flatten(1).t()


def _heads_in(kernel: Tensor) -> Tensor:
    """Flax output kernel `(heads, d, D)` → `(D, heads·d)`."""
    return kernel.flatten(0, 1).t()


def _tubelet(kernel: Tensor) -> Tensor:
    """Flax convolution `(t, h, w, 3, D)` → `(D, 3, t, h, w)`."""
    return kernel.permute(4, 3, 0, 1, 2)


def _frame(kernel: Tensor) -> Tensor:
    """A 2-D convolution `(O, I, h, w)` → the 3-D one of a single frame, `(O, I, 1, h, w)`."""
    return kernel[:, :, None]


OPERATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "copy": lambda x: x,
    "flatten": lambda x: x.flatten(),
    "dense": _dense,
    "heads_out": _heads_out,
    "heads_in": _heads_in,
    "tubelet": _tubelet,
    "frame": _frame,
    "matrix": lambda x: x.flatten(1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`source`: pattern of a whole name; `target`: its new name, with `{group}` fields.

    `operation`: a name of `OPERATIONS`. Rules with a `part` fill one target together: their
    tensors are joined along the first axis in the order of the parts.
    """

    source: str
    target: str
    operation: str = "copy"
    part: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Source names left out on purpose, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rules of one foreign family; the first rule that matches a name takes it."""

    rules: tuple[Rule, ...]
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    drops: tuple[Drop, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """Tensors under our names, the source name of each, and what was dropped with its reason."""

    state: dict[str, Tensor]
    origin: dict[str, str]
    dropped: dict[str, str]


def rename(state: Mapping[str, Tensor], table: Table) -> Renamed:
    """Send every tensor of `state` through `table`.

    Raises CheckpointError listing the first names that no rule knows or that collide.
    """
    rules = [(re.compile(r.source), r) for r in table.rules]
    drops = [(re.compile(d.source), d) for d in table.drops]
    parts: dict[str, dict[int, Tensor]] = {}
    origin: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown, twice = [], []
    for name, tensor in state.items():
        reason = next((d.reason for pattern, d in drops if pattern.fullmatch(name)), None)
        if reason is not None:
            dropped[name] = reason
            continue
        hit = next(((m, r) for p, r in rules if (m := p.fullmatch(name))), None)
        target = None if hit is None else _target(hit[1], hit[0], table.names)
        if hit is None or target is None:
            unknown.append(name)
            continue
        pieces = parts.setdefault(target, {})
        if (hit[1].part or 0) in pieces:
            twice.append(f"{name} and {origin[target]} → {target}")
        pieces[hit[1].part or 0] = OPERATIONS[hit[1].operation](tensor)
        origin[target] = name
    refuse({"source names without a rule": unknown, "names that become one": twice})
    joined = {t: p[0] if len(p) == 1 else _join(p) for t, p in parts.items()}
    return Renamed(state=joined, origin=origin, dropped=dropped)


def _join(pieces: Mapping[int, Tensor]) -> Tensor:
    return torch.cat([pieces[i] for i in sorted(pieces)])


def _target(rule: Rule, match: re.Match[str], names: Mapping[str, Mapping[str, str]]) -> str | None:
    """The rule's target for this match; None if a group has a value that its table lacks."""
    groups = {k: v for k, v in match.groupdict().items() if v is not None}
    for group, known in names.items():
        if group in groups:
            if groups[group] not in known:
                return None
            groups[group] = known[groups[group]]
    return rule.target.format(**groups)


def account(
    renamed: Renamed, wanted: Shapes, *, optional: str = r".*\.num_batches_tracked"
) -> None:
    """Raise CheckpointError unless `renamed` fills exactly `wanted`, shapes equal.

    Targets that match `optional` may be missing. The error lists the first five of each kind.
    """
    have = renamed.state
    skip = re.compile(optional)
    wrong = [
        f"{renamed.origin.get(n, n)} {tuple(have[n].shape)} → {n} {tuple(wanted[n])}"
        for n in have
        if n in wanted and tuple(have[n].shape) != tuple(wanted[n])
    ]
    refuse(
        {
            "targets left empty": [n for n in wanted if n not in have and not skip.fullmatch(n)],
            "source names without a target": [
                f"{renamed.origin.get(n, n)} → {n}" for n in have if n not in wanted
            ],
            "wrong shapes": wrong,
        }
    )


def refuse(problems: Mapping[str, list[str]]) -> None:
    """Raise CheckpointError if any list is not empty, showing the first five of each."""
    found = {what: names for what, names in problems.items() if names}
    if not found:
        return
    lines = []
    for what, names in found.items():
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        lines.append(f"{len(names)} {what}: {'; '.join(names[:5])}{more}")
    raise CheckpointError(
        "the checkpoint does not fit the model",
        expected="every source name used once, every target filled, equal shapes",
        got="\n            ".join(lines),
        hint="name the architecture, see `tubelet models`",
        arguments=("name",),
    )
