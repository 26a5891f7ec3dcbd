"""How a model's answers are to be read: it travels in the header of its weights file.

Plain data, no torch: calibration that makes scores probabilities, the score from which an action
is shown, and what the model does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tubelet.config import decode, encode
from tubelet.errors import ConfigError, InputError
from tubelet.labelsets.sensitive import sensitive_columns

THRESHOLD = 0.3
"""From which score an action is shown where a model does not say."""
SENSITIVE_THRESHOLD = 0.8
"""From which score an action of `labelsets.sensitive` is shown where a model does not say."""
HEADER = "answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Logits z become slopes · z + offsets before the softmax or the sigmoids.

    One slope for all is temperature scaling, 1/T (Guo et al. 2017); one slope and offset for each
    class is Platt scaling (1999). Slopes are positive, so the order of a class's logits stays.
    `data`: what it was fitted on, in words. Raises ConfigError for anything else.
    """

    slopes: tuple[float, ...] = (1.0,)
    offsets: tuple[float, ...] = (0.0,)
    data: str = ""

    def __post_init__(self) -> None:
        if not self.slopes or not self.offsets:
            raise ConfigError("a calibration needs a slope and an offset", got=self)
        for slope in self.slopes:
            if not 0 < slope < math.inf:
                raise ConfigError("a calibration's slope must be positive", got=slope)
        for offset in self.offsets:
            if not math.isfinite(offset):
                raise ConfigError("a calibration's offset must be finite", got=offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a weights file says of its model's answers; the defaults are those of a file that says
    nothing.

    `none`: among exclusive classes there is one more, "none of these", whose logit is 0 and which
    has no column: scores then sum to less than 1. `threshold`: from which score an action is
    shown, and in `meaning` what that is worth. `sensitive_threshold`: the same of the actions that
    harm when wrong. `limits`: sentences about what the model does not know.
    Raises ConfigError for a threshold outside 0 to 1.
    """

    calibration: Calibration | None = None
    none: bool = False
    threshold: float | None = None
    meaning: str = ""
    sensitive_threshold: float | None = None
    limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("threshold", "sensitive_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"invalid {name} of a model", expected="0 to 1", got=value)

    @property
    def shown_from(self) -> float:
        """The model's threshold, or `THRESHOLD`."""
        return THRESHOLD if self.threshold is None else self.threshold

    @property
    def sensitive_from(self) -> float:
        """The model's threshold of sensitive actions, or `SENSITIVE_THRESHOLD`; never below that
        of the others."""
        own = self.sensitive_threshold
        return max(self.shown_from, SENSITIVE_THRESHOLD if own is None else own)

    def to_header(self) -> dict[str, Any]:
        """The part of a header that says it; empty where there is nothing to say."""
        return {} if self == Answers() else {HEADER: encode(self)}

    @classmethod
    def from_header(cls, header: Mapping[str, Any], *, where: object) -> Answers:
        """What a header says. Raises ConfigError for a part that cannot be read."""
        if HEADER not in header:
            return cls()
        return decode(cls, header[HEADER], where=f"{where}, {HEADER}")

    def check(self, classes: int, *, exclusive: bool, where: object = None) -> None:
        """Raise ConfigError where they are not answers of so many classes."""
        if self.none and not exclusive:
            raise ConfigError(
                '"none of these" needs classes that exclude one another',
                where=where,
                got="classes that are each yes or no",
            )
        if self.calibration is None:
            return
        for name in ("slopes", "offsets"):
            count = len(getattr(self.calibration, name))
            if count not in (1, classes):
                raise ConfigError(
                    f"the calibration has the wrong number of {name}",
                    where=where,
                    expected=f"1 or {classes}",
                    got=count,
                )


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
        cls,
        answers: Answers,
        labels: Sequence[str],
        threshold: float | None,
        sensitive: float | None,
    ) -> Thresholds:
        """The user's, else those of a model with these `answers` and `labels`. A threshold above
        the sensitive one holds for all."""
        own = answers.shown_from if threshold is None else threshold
        harm = answers.sensitive_from if sensitive is None else sensitive
        found = cls(shown=own, sensitive=max(own, harm))
        lines = found._lines(answers, labels, own=threshold is None, harm=sensitive is None)
        return cls(shown=found.shown, sensitive=found.sensitive, said=tuple(lines))

    def _lines(
        self, answers: Answers, labels: Sequence[str], *, own: bool, harm: bool
    ) -> Iterator[str]:
        if own:
            meaning = answers.meaning or "the usual one, as this model states none"
            yield f"actions are shown from a score of {self.shown:g}: {meaning}"
        names = [labels[i] for i in sensitive_columns(labels)]
        if harm and names:
            few = names[:4]
            more = len(names) - len(few)
            listed = ", ".join([*few, *([f"{more} more"] if more else [])])
            yield f"harmful if wrong, so shown only from {self.sensitive:g}: {listed}"
