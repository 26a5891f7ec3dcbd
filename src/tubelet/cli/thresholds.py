"""From which score `tubelet detect` shows an action, and what it says about that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tubelet.api import ActionDetector
from tubelet.errors import InputError


def check_threshold(value: float | None, name: str) -> None:
    """Raise InputError for what is no probability; None is the model's own. `name`: the option."""
    if value is not None and not 0 <= value <= 1:
        raise InputError(
            f"invalid {name.replace('_', ' ')}: not a probability",
            expected="0 to 1",
            got=value,
            arguments=(name,),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The scores from which actions are `shown`, and those that would harm if wrong (`sensitive`);
    `said`: lines about those that the user did not choose."""

    shown: float
    sensitive: float
    said: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, detector: ActionDetector, threshold: float | None, sensitive: float | None
    ) -> Thresholds:
        """The user's, else the model's. A threshold above the sensitive one holds for all."""
        own = detector.threshold if threshold is None else threshold
        harm = detector.sensitive_threshold if sensitive is None else sensitive
        found = cls(shown=own, sensitive=max(own, harm))
        lines = found._lines(detector, own=threshold is None, harm=sensitive is None)
        return cls(shown=found.shown, sensitive=found.sensitive, said=tuple(lines))

    def _lines(self, detector: ActionDetector, *, own: bool, harm: bool) -> Iterator[str]:
        if own:
            meaning = detector.model.answers.meaning or "the usual one, as this model states none"
            yield f"actions are shown from a score of {self.shown:g}: {meaning}"
        if harm and detector.sensitive:
            few = list(detector.sensitive[:4])
            more = len(detector.sensitive) - len(few)
            names = ", ".join([*few, *([f"{more} more"] if more else [])])
            yield f"harmful if wrong, so shown only from {self.sensitive:g}: {names}"
