"""LabelSpace: the classes of a model or a dataset. NumPy-free, torch-free."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tubelet.errors import ConfigError, DataError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpace:
    """K classes: file ids (any integers, gaps allowed), names, and optional groups.

    `exclusive` says that a person does exactly one of them (JHMDB), so scores are a softmax;
    otherwise every class is its own yes/no question (AVA), so scores are sigmoids.
    `exclusive_groups` names groups of which a person does exactly one while the other classes stay
    yes or no: softmax within, sigmoids outside (ACAR's poses).
    `evaluated` lists the ids that count in the mean (AVA: 60 of 80); empty means all.
    Column k of every score array is `ids[k]`, `names[k]`.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    exclusive: bool = False
    evaluated: tuple[int, ...] = ()
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    exclusive_groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError(
                "a label space needs at least one class", hint="check the label map file"
            )
        if len(self.ids) != len(self.names):
            raise ConfigError(
                "a label space has different numbers of ids and names",
                expected=f"{len(self.ids)} names",
                got=len(self.names),
            )
        for what, values in (("id", self.ids), ("name", self.names)):
            if len(set(values)) < len(values):
                repeated = sorted({v for v in values if values.count(v) > 1}, key=str)
                raise DataError(f"duplicate label {what} {repeated[0]!r} in the label map")
        named = {i for members in self.groups.values() for i in members}
        for unknown in [i for i in (*self.evaluated, *named) if i not in self.ids]:
            raise DataError(
                f"class id {unknown} is evaluated or grouped but missing from the label map"
            )
        for name in self.exclusive_groups:
            if name not in self.groups or self.exclusive:
                raise ConfigError(
                    f"no group {name!r} can be exclusive here",
                    expected="a name of `groups`, in a space that is not exclusive as a whole",
                    got=f"groups {', '.join(self.groups) or 'none'}, exclusive {self.exclusive}",
                )

    @classmethod
    def of(cls, names: Iterable[str], *, first_id: int = 1, exclusive: bool = False) -> LabelSpace:
        """Consecutive ids from `first_id` (the field's files start at 1)."""
        listed = tuple(names)
        return cls(
            ids=tuple(range(first_id, first_id + len(listed))), names=listed, exclusive=exclusive
        )

    @classmethod
    def nameless(cls, count: int, *, exclusive: bool = False) -> LabelSpace:
        """`count` classes that a dataset has yet to name."""
        return cls.of(_nameless(count), exclusive=exclusive)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_nameless(self) -> bool:
        """Whether these are the classes of `nameless`: a number of them, and no more."""
        return self.names == _nameless(len(self))

    def column(self, label_id: int) -> int:
        """Column of a file's class id. Raises DataError for an id outside the space."""
        try:
            return self.ids.index(label_id)
        except ValueError:
            raise DataError(
                f"unknown action id {label_id}",
                expected=f"one of {len(self)} ids from {min(self.ids)} to {max(self.ids)}",
                hint="pass the label map that belongs to this file",
            ) from None

    def column_of(self, name: str) -> int:
        """Column of a class name. Raises DataError naming the nearest known class."""
        if name in self.names:
            return self.names.index(name)
        hint = did_you_mean(name, self.names) or f"known: {', '.join(self.names[:8])}…"
        raise DataError(f"unknown action {name!r}", hint=hint)

    def columns_of(self, wanted: Iterable[str]) -> tuple[int, ...]:
        """Columns of the classes that `wanted` names, in the space's own order.

        Each is a class's whole name in any case, a shell pattern ("sit*"), or several of these with
        commas between them. Raises DataError naming the nearest class where one names none.
        """
        found: set[int] = set()
        for text in wanted:
            parts = [text] if self._columns(text) else text.split(",")
            for part in filter(None, map(str.strip, parts)):
                found |= set(self._columns(part) or (self.column_of(part),))
        return tuple(sorted(found))

    def _columns(self, text: str) -> list[int]:
        """Columns of the class of that name, or of those that match it as a pattern."""
        names = [name.lower() for name in self.names]
        if (plain := text.strip().lower()) in names:
            return [names.index(plain)]
        return [i for i, name in enumerate(names) if fnmatch.fnmatchcase(name, plain)]

    def only(self, names: Iterable[str]) -> LabelSpace:
        """The classes of these names, in this space's own order; no longer `exclusive` if some are
        left out, since a person may do one of those (nor is a group). Raises DataError for an
        unknown name."""
        columns = sorted({self.column_of(name) for name in names})
        ids = tuple(self.ids[i] for i in columns)
        groups = {name: tuple(i for i in group if i in ids) for name, group in self.groups.items()}
        return LabelSpace(
            ids=ids,
            names=tuple(self.names[i] for i in columns),
            exclusive=self.exclusive and len(ids) == len(self),
            evaluated=tuple(i for i in self.evaluated if i in ids),
            groups={name: group for name, group in groups.items() if group},
            exclusive_groups=tuple(
                name for name in self.exclusive_groups if groups[name] == self.groups[name]
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dict for checkpoint headers and reports; `from_json` reads it back."""
        return {
            "ids": list(self.ids),
            "names": list(self.names),
            "exclusive": self.exclusive,
            "evaluated": list(self.evaluated),
            "groups": {name: list(ids) for name, ids in self.groups.items()},
            **({"exclusive_groups": list(self.exclusive_groups)} if self.exclusive_groups else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelSpace:
        return cls(
            ids=tuple(data["ids"]),
            names=tuple(data["names"]),
            exclusive=bool(data.get("exclusive", False)),
            evaluated=tuple(data.get("evaluated", ())),
            groups={name: tuple(ids) for name, ids in data.get("groups", {}).items()},
            exclusive_groups=tuple(data.get("exclusive_groups", ())),
        )


def _nameless(count: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(1, count + 1))
