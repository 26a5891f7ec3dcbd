"""Attributes of tools that declare none: what is said of boxes is all that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tubelet.data.importers.tools.marks import Attribute, Export, attribute_of

# What tools keep beside every annotation, which says nothing about the person.
_TECHNICAL = frozenset(
    [
        "occluded",
        "rotation",
        "track_id",
        "keyframe",
        "outside",
        "iscrowd",
        "is_crowd",
        "truncated",
        "ignore",
        "group",
        "z_order",
        "instance_id",
        "person_id",
        "source",
        "frame",
    ]
)


def spoken(found: object) -> tuple[tuple[str, str], ...]:
    """The (name, value) pairs of one box's attributes; switches as "true" and "false"."""
    if not isinstance(found, Mapping):
        return ()
    pairs: list[tuple[str, str]] = []
    for name, value in found.items():
        if str(name) not in _TECHNICAL and isinstance(value, str | bool | int | float):
            pairs.append((str(name), _text(value)))
    return tuple(pairs)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_attributes(export: Export) -> None:
    """Give each label the attributes that its boxes have, with the values they take."""
    values: dict[str, dict[str, dict[str, None]]] = {}
    for mark in export.marks:
        for name, value in mark.attributes:
            values.setdefault(mark.label, {}).setdefault(name, {})[value] = None
    for label, found in values.items():
        listed: list[Attribute] = []
        for name, given in found.items():
            switch = set(given) <= {"true", "false"}
            listed.append(attribute_of(name, () if switch else given, "switch" if switch else None))
        export.labels[label] = tuple(listed)
