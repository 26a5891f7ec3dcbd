"""Dataclasses to plain JSON and back, strictly: the edge where recipes and checkpoints become text.

Inside the program a configuration is a frozen dataclass. Only here do names become values: an
unknown field is reported with the nearest one, a wrong type with what was expected and where. Each
dataclass is written with its class name under `"type"`, which chooses among the members of a union
or among the imported subclasses of an `Extensible` kind. A class of another package carries its
module, `"toy_backbone:ToyConfig"`; reading such a name never imports anything
(docs/adr/open-seams.md). Where a field joined later, and its default is not what files of before
mean, the class's `before` says what they mean.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from tubelet.errors import ConfigError, did_you_mean, nearest
from tubelet.plugins import GROUP, load_members, subclasses

T = TypeVar("T")


class Extensible:
    """Base of the kinds of configuration that another package may add to.

    Its direct subclasses are the kinds (backbones, heads, data sources); wherever a field is of
    such a kind, `decode` accepts every subclass of it that has been imported. Subclasses are
    frozen dataclasses of their own.
    """

    __slots__ = ()

    summary: ClassVar[str] = ""
    """What it is in plain words, a line without a full stop: for lists, tables and model cards."""

    @classmethod
    def title(cls) -> str:
        """The class's name without "Config" or "HeadConfig", as model cards and tables show it."""
        return cls.__name__.removesuffix("Config").removesuffix("Head") or cls.__name__


def encode(value: Any) -> Any:
    """A configuration as JSON-ready dicts, lists and scalars; `decode` reads it back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type_name(type(value)), **members}
    if isinstance(value, Mapping):
        return {str(key): encode(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(member) for member in value]
    return value


def decode(kind: type[T], data: Any, *, where: str = "") -> T:
    """The value of type `kind` that `data` spells. Raises ConfigError naming the place."""
    result: T = _decode(kind, data, where or getattr(kind, "__name__", "value"))
    return result


def type_name(kind: type) -> str:
    """How a class is written under `"type"`: its name, and in front the module of a class that
    another package added to an extensible kind. Raises ConfigError for one that is not a
    dataclass."""
    if not _is_dataclass(kind):
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__} is not itself a dataclass",
            hint="decorate it with @dataclass(frozen=True, slots=True, kw_only=True)",
        )
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    if ours or not issubclass(kind, Extensible):
        return kind.__name__
    return f"{kind.__module__}:{kind.__qualname__}"


def _is_dataclass(kind: type) -> bool:
    """Whether it is one itself, not only by what it inherits."""
    return "__dataclass_fields__" in vars(kind)


def members_of(kind: type[T]) -> dict[str, type[T]]:
    """Every imported subclass of an extensible kind that can be built, by its name in files."""
    return {type_name(c): c for c in subclasses(kind) if _is_dataclass(c)}


def override(config: T, assignments: Sequence[str]) -> T:
    """`config` with `path.to.field=value` assignments applied; values are JSON, or bare words.

    Raises ConfigError for a path that does not exist or a value of the wrong type.
    """
    data = encode(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(
                f"cannot read the setting {assignment!r}", expected="path.to.field=value"
            )
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        owner, key = _find(data, path.strip().split("."), path)
        owner[key] = value
    return decode(type(config), data)


def values_at(config: object, paths: Iterable[str]) -> dict[str, Any]:
    """The encoded value of `config` at each path, as `override` takes paths.

    Raises ConfigError for a path that does not exist.
    """
    data = encode(config)
    found = {}
    for path in paths:
        owner, key = _find(data, path.split("."), path)
        found[path] = owner[key]
    return found


def _find(data: Any, steps: list[str], path: str) -> tuple[Any, Any]:
    """The mapping or list that holds what `path` names, and its key there."""
    for depth, step in enumerate(steps):
        if isinstance(data, list):
            if not step.isdigit() or int(step) >= len(data):
                raise ConfigError(
                    f"no element {step!r}", where=path, expected=f"0…{len(data) - 1}", got=step
                )
            key: Any = int(step)
        elif isinstance(data, dict):
            key = step
            if key not in data:
                raise _unknown(step, data, path)
        else:
            raise ConfigError(f"{'.'.join(steps[:depth])!r} has no fields", where=path)
        if depth == len(steps) - 1:
            return data, key
        data = data[key]
    raise ConfigError("a setting needs a path", where=path, expected="path.to.field")


def _unknown(name: str, known: Mapping[str, Any], where: str) -> ConfigError:
    names = sorted(k for k in known if k != "type")
    hint = did_you_mean(name, names) or f"known: {', '.join(names)}"
    return ConfigError(f"unknown field {name!r}", where=where, hint=hint)


def _wrong(where: str, expected: object, got: object) -> ConfigError:
    return ConfigError("wrong type of a setting", where=where, expected=expected, got=repr(got))


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, data, where)
    if origin is Literal:
        if data not in arguments:
            raise _wrong(where, f"one of {', '.join(map(repr, arguments))}", data)
        return data
    if origin is tuple:
        return _decode_tuple(arguments, data, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise _wrong(where, "a table", data)
        return {k: _decode(arguments[1], v, f"{where}.{k}") for k, v in data.items()}
    if _is_open(kind):
        return _decode_dataclass(_chosen([kind], data, where), data, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, where)
    return _decode_scalar(kind, data, where)


def _decode_scalar(kind: Any, data: Any, where: str) -> Any:
    accepted = {float: (int, float)}.get(kind, (kind,))
    if kind not in (int, float, str, bool, type(None)):
        raise ConfigError(f"settings of type {kind} cannot be read", where=where)
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise _wrong(where, kind.__name__, data)
    return None if data is None else kind(data)


def _decode_union(members: Sequence[Any], data: Any, where: str) -> Any:
    if data is None and type(None) in members:
        return None
    choices = [m for m in members if m is not type(None)]
    if len(choices) == 1:
        return _decode(choices[0], data, where)
    if isinstance(data, Mapping):
        return _decode_dataclass(_chosen(choices, data, where), data, where)
    for choice in choices:
        try:
            return _decode(choice, data, where)
        except ConfigError:
            continue
    raise _wrong(where, _names(choices), data)


def _is_open(kind: Any) -> bool:
    return isinstance(kind, type) and Extensible in kind.__bases__


def _chosen(kinds: Sequence[Any], data: Any, where: str) -> Any:
    """The class that `data` names, of `kinds` or of the members of those that are open."""
    if not isinstance(data, Mapping):
        raise _wrong(where, f"the fields of a {_names(kinds)}", data)
    name, known = data.get("type"), _known(kinds)
    if not isinstance(name, str):
        raise _wrong(f"{where}.type", f"one of {', '.join(known)}", name)
    if name not in known:
        for kind in filter(_is_open, kinds):
            load_members(kind)
        known = _known(kinds)
    if name in known:
        return known[name]
    raise ConfigError(
        f"unknown type {name!r}",
        where=f"{where}.type",
        expected=f"one of {', '.join(known)}",
        hint=_how_to_know(name, known),
    )


def _known(kinds: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in kinds:
        if _is_open(kind):
            found |= members_of(kind)
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found[type_name(kind)] = kind
    return found


def _names(kinds: Sequence[Any]) -> str:
    return " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)


def _how_to_know(name: str, known: Mapping[str, Any]) -> str | None:
    """What to do about an unknown type: import its package, or take the nearest known one."""
    module, colon, own = name.rpartition(":")
    full = {k.rpartition(":")[2]: k for k in known}
    near = nearest(own, full)
    hint = f"did you mean {full[near[0]]!r}?" if near else None
    if not colon:
        return hint
    if module == "__main__":
        advice = "the class was defined in a script or notebook: define it there again first"
    else:
        advice = (
            f"`import {module}` first, if you trust that package, or install a version of it that "
            f"declares an entry point in the group {GROUP!r}"
        )
    return f"{advice}; or {hint}" if hint else advice


def _decode_tuple(arguments: Sequence[Any], data: Any, where: str) -> Any:
    if not isinstance(data, (list, tuple)):
        raise _wrong(where, "a list", data)
    if arguments and arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(data)
    elif len(arguments) != len(data):
        raise _wrong(where, f"a list of {len(arguments)}", data)
    else:
        kinds = list(arguments)
    return tuple(
        _decode(k, v, f"{where}.{i}") for i, (k, v) in enumerate(zip(kinds, data, strict=True))
    )


def _decode_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _wrong(where, f"the fields of {kind.__name__}", data)
    own = type_name(kind)
    if data.get("type", own) != own:
        raise _wrong(f"{where}.type", own, data["type"])
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in data:
        if name != "type" and name not in fields:
            raise _unknown(name, fields, where)
    hints = typing.get_type_hints(kind)
    for name, f in fields.items():
        bare = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if bare and name not in data:
            raise ConfigError(f"missing field {name!r}", where=where)
    given = {n: _decode(hints[n], data[n], f"{where}.{n}") for n in fields if n in data}
    # `encode` writes every field, so a file without one was written before there was one.
    return kind(**{**getattr(kind, "before", {}), **given})
