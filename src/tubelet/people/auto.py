"""`auto`: the best person detector that can be had here without being asked for.

D-FINE nano where the extra `tubelet[hf]` is installed and its weights are in the hub's cache or
can be fetched (16 MB, once), else `person_small`, which ships in the package. What was taken, and
why, is told in one line; docs/adr/people-auto.md says why so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tubelet.errors import InputError
from tubelet.files import offline
from tubelet.people.detectors.small import KIND
from tubelet.people.hub import EXTRA, cached, fetch, installed, reachable
from tubelet.people.rows import ROWS, DetectorRow

AUTO = "auto"
BETTER = ROWS["dfine-nano"]
PULL = "tubelet pull people"
Note = Callable[[str], None]


def automatic(on_note: Note | None = None) -> str:
    """The name of the detector that `auto` stands for, now and here.

    `on_note` is told which and why, and before a download what it will fetch. An unreachable hub
    is asked once a process, for five seconds at most.
    """
    say = on_note or (lambda text: None)
    row, model_id = BETTER, BETTER.model_id
    assert model_id is not None
    if not installed():
        say(f"people: {KIND}; {_more(row)}: {EXTRA}")
        return KIND
    if cached(model_id) is None:
        reason = _not_fetched(row, model_id, say)
        if reason is not None:
            say(f"people: {KIND} ({reason}); {_more(row)}: {PULL}, once, with a connection")
            return KIND
    say(f"people: {row.spelling}")
    return row.spelling


def _not_fetched(row: DetectorRow, model_id: str, say: Note) -> str | None:
    """Fetch the weights; why it was not possible, or None."""
    if offline():
        return "offline"
    if not _answers(model_id):
        return "huggingface.co does not answer"
    say(f"people: fetching {model_id}, about {row.megabytes:.0f} MB, once")
    try:
        fetch(model_id)
    except InputError as error:
        return f"{error.what}: {error.got}"
    return None


@cache
def _answers(model_id: str) -> bool:
    return reachable(model_id)


def _more(row: DetectorRow) -> str:
    return f"{row.name} (COCO AP {row.ap}) should find more people, at four times the cost"
