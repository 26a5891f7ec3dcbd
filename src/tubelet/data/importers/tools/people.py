"""Person ids as people write them, and the numbers that tables have."""

from __future__ import annotations

import re

from tubelet.data.importers.report import Ledger
from tubelet.errors import DataError

_PERSON = re.compile(r"person|people|track|\bid\b|identity|\bwho\b", re.IGNORECASE)


def is_person(attribute: str) -> bool:
    """Whether an attribute of this name, without choices, says who somebody is."""
    return _PERSON.search(attribute) is not None


class PersonIds:
    """Numbers for ids: whole numbers stay, names are numbered for each video as they come."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._named: dict[str, dict[str, int]] = {}
        self._numbered: set[str] = set()

    def number(self, video: str, text: str) -> int | None:
        """The number of the person called `text`; None for no text. Raises DataError where a video
        has both names and numbers, which could not be told apart."""
        text = text.strip()
        if not text:
            return None
        if re.fullmatch(r"[-+]?\d{1,15}(\.0+)?", text):
            self._numbered.add(video)
            self._check(video, text)
            return int(float(text))
        known = self._named.setdefault(video, {})
        if text not in known:
            known[text] = len(known)
            self._check(video, text)
            self._ledger.note(
                f"person ids that are names are numbered: {text!r} of {video!r} is {known[text]}"
            )
        return known[text]

    def _check(self, video: str, text: str) -> None:
        if self._named.get(video) and video in self._numbered:
            raise DataError(
                "some person ids of a video are numbers and some are names",
                where=f"video {video!r}",
                got=repr(text),
                hint="write all of them in one way",
            )
