"""What results were made with: the record that the overlay, the page and `tubes.json` carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from tubelet.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBy:
    """The model, the person detector, the classes and the thresholds behind a film's results.

    `tubelet`: the version. `model`, `people`: as they were asked for. `classes`: the only ones
    reported, all if empty. `threshold`: the least score of an action that is shown; the person
    detector's is `person_threshold`, None where boxes were given. `every_ms`: between keyframes.
    `off`, `least_ms`: when an action ends and how long it lasts, as `Spans` has them.
    `sensitive_threshold`: the least score of actions that harm if wrong, None where nothing says.
    `notes`: what else a reader has to know, in lines: where weights come from, a model's limits.
    """

    tubelet: str
    model: str
    people: str
    threshold: float
    every_ms: int
    person_threshold: float | None = None
    off: float | None = None
    least_ms: int = 0
    sensitive_threshold: float | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """All but the notes in one line."""
        if not self.classes:
            classes = "all classes"
        elif len(self.classes) > 4:
            classes = f"{len(self.classes)} classes"
        else:
            classes = ", ".join(self.classes)
        least = "" if self.person_threshold is None else f" ≥ {self.person_threshold:.2f}"
        return (
            f"{self.model} · people by {self.people}{least} · {classes} ≥ {self.threshold:.2f} · "
            f"every {self.every_ms / 1000:g} s · tubelet {self.tubelet}"
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dict, for `tubes.json`."""
        return asdict(self) | {"classes": list(self.classes), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read `to_json` back. Raises DataError for a missing field or a wrong type."""
        try:
            return cls(
                tubelet=_text(data["tubelet"]),
                model=_text(data["model"]),
                people=_text(data["people"]),
                threshold=float(data["threshold"]),
                every_ms=int(data["every_ms"]),
                person_threshold=_number(data["person_threshold"]),
                # Files of the first days have none of these three.
                off=_number(data.get("off")),
                least_ms=int(data.get("least_ms", 0)),
                sensitive_threshold=_number(data.get("sensitive_threshold")),
                classes=_texts(data["classes"]),
                notes=_texts(data["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "missing field or wrong type in made_by", got=f"{type(error).__name__}: {error}"
            ) from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"expected a list of texts, got {values!r}")
    return tuple(map(_text, values))
