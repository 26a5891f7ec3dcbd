"""Reading MMEngine's Python configs without running them.

A config is a Python file of assignments. Its syntax tree is read, and only what is data is taken:
literals, `dict(…)`, lists, tuples, names assigned before, `+`, `*`, `**merged` and
`_base_.name`. A call of anything else, an import, a loop: its value is `UNREAD`, and so is all that
is made of it. Bases (`_base_ = '…'`) are read the same way where the files lie beside.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tubelet.errors import InputError

MAX_BYTES = 1 << 20
_DEPTH = 8
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


class UnreadSetting:
    """A value that only running the config would give."""

    def __repr__(self) -> str:
        return "UNREAD"


UNREAD = UnreadSetting()


def read_file(path: Path) -> dict[str, Any]:
    """The names a config file assigns, its bases merged below it. Raises InputError for a file
    that is missing or not Python, for a base that is not beside it, and for circular bases."""
    return _read_file(path, ())


def _read_file(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in above or len(above) > _DEPTH:
        raise InputError("circular bases in this config", where=path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError("too large for a config", where=path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "cannot read the config",
            where=path,
            got=error,
            hint=f"it is the `_base_` of {above[-1].name}: put it there" if above else None,
        ) from error
    return read_text(text, where=path, bases=lambda name: _base(path, name, above))


def _base(path: Path, name: object, above: tuple[Path, ...]) -> dict[str, Any]:
    if not isinstance(name, str) or not name.endswith(".py") or Path(name).is_absolute():
        raise InputError(
            "missing base of this config: not a file beside it",
            where=path,
            expected="a relative path of a .py file",
            got=name,
        )
    return _read_file(path.parent / name, (*above, path))


def read_text(
    text: str,
    *,
    where: object,
    bases: Callable[[object], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """As `read_file`, from text; without `bases` what `_base_` names is left out."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError("invalid Python in the config", where=where, got=error) from error
    scope: dict[str, Any] = {}
    try:
        base = _bases_of(tree, bases) if bases is not None else {}
        for node in tree.body:
            _assign(node, scope, base)
        scope.pop("_base_", None)
        merged: dict[str, Any] = merge(base, scope)
    except RecursionError as error:
        raise InputError("the config is nested too deeply", where=where) from error
    return merged


def _bases_of(tree: ast.Module, read: Callable[[object], dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and _target(node) == "_base_":
            named = _value(node.value, {}, {})
            for name in named if isinstance(named, (list, tuple)) else (named,):
                found = merge(found, read(name))
    return found


def _target(node: ast.Assign) -> str | None:
    only = node.targets[0]
    return only.id if len(node.targets) == 1 and isinstance(only, ast.Name) else None


def _assign(node: ast.stmt, scope: dict[str, Any], base: Mapping[str, Any]) -> None:
    """One statement. Anything but a plain assignment leaves the names that it binds UNREAD."""
    if isinstance(node, ast.Assign) and (name := _target(node)) is not None:
        scope[name] = _value(node.value, scope, base)
    elif isinstance(node, ast.Assign) and all(isinstance(t, ast.Subscript) for t in node.targets):
        for target in node.targets:
            assert isinstance(target, ast.Subscript)
            _assign_item(target, _value(node.value, scope, base), scope, base)
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, (ast.Store, ast.Del)):
                scope[part.id] = UNREAD
            elif isinstance(part, (ast.Call, ast.Attribute, ast.Subscript)):
                _spoil(part, scope)


def _spoil(node: ast.expr, scope: dict[str, Any]) -> None:
    """`model.update(…)`, `del model['x']`, `f(model)`: the name may hold something else now."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in scope:
            scope[part.id] = UNREAD


def _assign_item(
    target: ast.Subscript, value: Any, scope: dict[str, Any], base: Mapping[str, Any]
) -> None:
    """`model['backbone']['depth'] = 50`"""
    owner, key = _value(target.value, scope, base), _value(target.slice, scope, base)
    in_table = isinstance(owner, dict) and isinstance(key, str)
    in_list = isinstance(owner, list) and isinstance(key, int) and -len(owner) <= key < len(owner)
    if in_table or in_list:
        owner[key] = value
    else:
        _spoil(target, scope)


def _value(node: ast.expr, scope: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return scope.get(node.id, UNREAD)
    if isinstance(node, (ast.List, ast.Tuple)):
        return _sequence(node, scope, base)
    if isinstance(node, ast.Dict):
        return _table(zip(node.keys, node.values, strict=True), scope, base)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            pairs = ((k.arg and ast.Constant(k.arg), k.value) for k in node.keywords)
            return _table(pairs, scope, base)
        return UNREAD
    if isinstance(node, ast.Attribute):
        return _member(node, scope, base)
    if isinstance(node, ast.Subscript):
        owner, key = _value(node.value, scope, base), _value(node.slice, scope, base)
        try:
            return owner[key] if isinstance(owner, (dict, list, tuple)) else UNREAD
        except (KeyError, IndexError, TypeError):
            return UNREAD
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand, scope, base)
        return -value if isinstance(value, (int, float)) else UNREAD
    if isinstance(node, ast.BinOp):
        return _operation(node, scope, base)
    return UNREAD


def _member(node: ast.Attribute, scope: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    """`_base_.model`, and `a.b` of a table."""
    if isinstance(node.value, ast.Name) and node.value.id == "_base_":
        return base.get(node.attr, UNREAD)
    owner = _value(node.value, scope, base)
    return owner.get(node.attr, UNREAD) if isinstance(owner, dict) else UNREAD


def _sequence(node: ast.List | ast.Tuple, scope: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    items: list[Any] = []
    for element in node.elts:
        if isinstance(element, ast.Starred):
            inner = _value(element.value, scope, base)
            if not isinstance(inner, (list, tuple)):
                return UNREAD
            items.extend(inner)
        else:
            items.append(_value(element, scope, base))
    return items if isinstance(node, ast.List) else tuple(items)


def _table(pairs: Any, scope: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        content = _value(value, scope, base)
        if key is None:  # **merged
            if not isinstance(content, dict):
                return UNREAD
            found |= content
            continue
        name = _value(key, scope, base)
        if not isinstance(name, (str, int)):
            return UNREAD
        found[name] = content
    return found


def _operation(node: ast.BinOp, scope: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    left, right = _value(node.left, scope, base), _value(node.right, scope, base)
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    joined = isinstance(node.op, ast.Add) and type(left) is type(right)
    if type(node.op) not in _OPERATORS or not (
        numbers or (joined and isinstance(left, (list, str)))
    ):
        return UNREAD
    try:
        return _OPERATORS[type(node.op)](left, right)
    except (ZeroDivisionError, OverflowError):
        return UNREAD


def merge(below: Any, above: Any) -> Any:
    """MMEngine's inheritance: tables are merged key by key, `_delete_=True` replaces, all else of
    `above` wins."""
    if not isinstance(above, dict):
        return above
    if not isinstance(below, dict) or above.get("_delete_") is True:
        return {k: merge(None, v) for k, v in above.items() if k != "_delete_"}
    both = dict(below)
    for key, value in above.items():
        both[key] = merge(below.get(key), value)
    return both
