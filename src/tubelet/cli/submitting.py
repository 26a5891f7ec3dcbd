"""`tubelet evaluate --submission`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tubelet.cli.console import out, print_json
from tubelet.cli.scoring import Metric
from tubelet.data.keyframe_lists import read_keyframes
from tubelet.data.labelmaps import read_label_map
from tubelet.data.predictions import read_predictions
from tubelet.errors import InputError
from tubelet.labels import LabelSpace
from tubelet.labelsets import label_set
from tubelet.testing.submission import write_submission


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """The options of `tubelet evaluate --submission`; `unused`: those that only scoring has, and
    whether they were given."""

    predictions: Path
    keyframes: Path
    submission: Path | None
    included: Path | None
    exclude: Path | None
    labels: Path | None
    metric: Metric
    unused: Mapping[str, bool]


def submit(question: SubmitOptions, *, as_json: bool) -> None:
    """Write the file for the test server and say what is in it. Raises InputError for an option
    that only scoring has, DataError for a row that the set does not have."""
    if question.submission is None:
        raise InputError("--included is only valid with --submission", got=question.included)
    if question.metric != "frame":
        raise InputError(
            "--submission writes boxes of people", expected="--metric frame", got=question.metric
        )
    given = [name for name, used in question.unused.items() if used]
    if given:
        raise InputError(
            "--submission scores nothing, since the labels are not public",
            got=", ".join(given),
            hint="omit these options",
        )
    written = write_submission(
        question.submission,
        read_predictions(question.predictions),
        read_keyframes(question.keyframes, included=question.included, excluded=question.exclude),
        _classes(question.labels),
    )
    if as_json:
        print_json(written.to_json() | {"path": str(written.path)})
        return
    for line in written.lines():
        out.print(line)


def _classes(path: Path | None) -> LabelSpace:
    """AVA's 80 classes, of which its 60 are evaluated, or those that a map of some of them has; of
    any other set the classes of the map."""
    ava = label_set("ava")
    if path is None:
        return ava
    given = read_label_map(path)
    known = dict(zip(ava.ids, ava.names, strict=True))
    if all(known.get(i) == name for i, name in zip(given.ids, given.names, strict=True)):
        return replace(ava, evaluated=given.ids)
    return given
