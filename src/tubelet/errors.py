"""Every error that tubelet raises on purpose. All are public names of the package.

    TubeletError                  base of all; `exit_code` is what the command line returns
    ├── InputError                the caller asked for something impossible
    │   ├── DataError             an annotation, label or prediction file is invalid
    │   ├── ConfigError           a recipe, override or model configuration does not fit
    │   └── ShapeError            an array has the wrong shape, type or range
    ├── VideoError                a video cannot be opened or decoded
    ├── CheckpointError           a weights file is unreadable, unsafe, or does not fit its model
    │   └── OpenQuestions         a foreign one whose tensors leave open what it computes
    ├── TrainingError             training cannot go on
    ├── Refusal                   a request that a server does not serve
    └── Stopped                   the process was asked to end, and did so in good order

`except tubelet.TubeletError` catches them all; anything else that escapes is a bug of tubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from textwrap import indent
from typing import Any


class TubeletError(Exception):
    """Base of every error that tubelet raises on purpose.

    The message is one line for each of: what happened, where, what was expected, what was got, and
    the next step. `arguments` names the arguments of the call that the next step is about, so that
    the command line can name its option.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.what, self.where, self.expected, self.got, self.hint = what, where, expected, got, hint
        self.arguments = arguments
        parts = [what]
        parts += [f"  where:    {where}"] if where is not None else []
        parts += [f"  expected: {expected}"] if expected is not None else []
        parts += [f"  got:      {got}"] if got is not None else []
        parts += [f"  try:      {hint}"] if hint is not None else []
        super().__init__("\n".join(parts))


class InputError(TubeletError):
    """The caller asked for something impossible: a wrong path, argument, file or value."""

    exit_code = 2


class DataError(InputError):
    """An annotation, label or prediction file is invalid; names file and row."""


class ConfigError(InputError):
    """A recipe, an override or a model configuration does not fit its dataclass."""


class ShapeError(InputError):
    """An array handed to a record or a model has the wrong shape, type or range."""


class VideoError(TubeletError):
    """A video cannot be opened or decoded; names the file and the reason."""


class CheckpointError(TubeletError):
    """A weights file is unreadable, unsafe, or does not fit the model it claims to hold."""


class OpenQuestions(CheckpointError):  # noqa: N818  an error only until they are answered
    """A foreign checkpoint that fits, about which something is unknown that changes its scores.

    `questions`: the `tubelet.convert.Question`s still unanswered, each a text of several lines.
    """

    exit_code = 2

    def __init__(self, questions: Sequence[Any], *, where: object, family: str) -> None:
        self.questions: tuple[Any, ...] = tuple(questions)
        asked = "\n".join(str(question) for question in self.questions)
        super().__init__(
            f"a checkpoint of {family}: its tensors do not determine everything it computes, "
            "and a wrong guess would silently give wrong scores",
            where=where,
            expected=f"answers to {len(self.questions)} question(s):\n{indent(asked, '    ')}",
            hint="give the config it was trained with, or answer as KEY=VALUE",
            arguments=("config_file", "assume"),
        )


class TrainingError(TubeletError):
    """Training cannot go on: a loss that is not a number, no usable sample, a lost worker."""


class Refusal(TubeletError):  # noqa: N818  an answer like any other
    """A request that a server does not serve, with the HTTP status and headers of its answer."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, expected=expected, got=got, hint=hint)
        self.status, self.headers = status, dict(headers or {})


class Stopped(TubeletError):  # noqa: N818  nothing went wrong
    """The process was asked to end (SIGTERM or Ctrl-C), and did so in good order."""

    exit_code = 143


def nearest(name: str, known: Iterable[str], *, most: int = 1) -> list[str]:
    """Those of the `known` names that look most like `name`, the nearest first."""
    return get_close_matches(name, list(known), n=most, cutoff=0.5)


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1) -> str | None:
    """The hint of an error about an unknown `name`; None where nothing known looks like it."""
    near = nearest(name, known, most=most)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else None
