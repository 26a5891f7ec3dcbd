"""From a text as it is stored to its characters as they stand on a line, from left to right.

Arabic letters take the form that their neighbours ask for (initial, medial, final, alone), and runs
of right-to-left scripts are turned round: enough of Unicode's annexes 9 and 53 for a name on one
line, without embeddings.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby

_DROPPED = {"\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\ufeff"} | {
    chr(code) for code in range(0xFE00, 0xFE10)
}
_MIRRORED = dict(zip("()[]{}<>«»‹›", ")(][}{><»«›‹", strict=True))
_PRESENTATION = (*range(0xFB50, 0xFDC8), *range(0xFE70, 0xFEFD))
_SIDE = {"R": True, "AL": True, "L": False, "EN": False, "AN": False}
_LAM = "\u0644"


def visual(text: str) -> str:
    """The printable characters of `text` in the order in which they are drawn."""
    composed = unicodedata.normalize("NFC", text)
    shown = "".join(c for c in composed if c.isprintable() and c not in _DROPPED)
    if not any(unicodedata.bidirectional(c) in ("R", "AL") for c in shown):
        return shown
    return _ordered(_shaped(shown))


@lru_cache(maxsize=1)
def _forms() -> dict[str, dict[str, str]]:
    """Arabic letters (and lam with alef) to their forms: `<initial>` and so on, as Unicode's own
    compatibility decompositions say."""
    found: dict[str, dict[str, str]] = {}
    for code in _PRESENTATION:
        form, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        base = "".join(chr(int(letter, 16)) for letter in letters)
        if len(base) == 1 or (len(base) == 2 and base[0] == _LAM and code >= 0xFEF5):
            found.setdefault(base, {}).setdefault(form, chr(code))
    return found


def _shaped(text: str) -> str:
    forms = _forms()
    # Vowel points are left out, as in most print; they would hang on a letter's other form.
    letters = [c for c in text if not (unicodedata.combining(c) and "\u0610" <= c <= "\u06ed")]
    clusters: list[str] = []
    for char in letters:
        if clusters and clusters[-1] == _LAM and _LAM + char in forms:
            clusters[-1] = _LAM + char
        else:
            clusters.append(char)
    shaped = []
    for place, cluster in enumerate(clusters):
        own = forms.get(cluster)
        if own is None:
            shaped.append(cluster)
            continue
        before = forms.get(clusters[place - 1], {}) if place else {}
        after = forms.get(clusters[place + 1], {}) if place + 1 < len(clusters) else {}
        joins_before = "<initial>" in before and "<final>" in own
        joins_after = "<initial>" in own and "<final>" in after
        form = {(True, True): "<medial>", (True, False): "<final>", (False, True): "<initial>"}.get(
            (joins_before, joins_after), "<isolated>"
        )
        shaped.append(own.get(form) or own.get("<isolated>") or cluster)
    return "".join(shaped)


def _ordered(text: str) -> str:
    """From the order of reading to that of drawing."""
    sides = _sides(text)
    base = next((side for side in sides if side is not None), False)
    known: list[bool] = []
    for place, side in enumerate(sides):
        if side is None:
            before = known[-1] if known else base
            after = next((s for s in sides[place:] if s is not None), base)
            side = before if before == after else base
        known.append(side)
    runs = []
    for right_to_left, places in groupby(range(len(text)), key=known.__getitem__):
        run = "".join(text[place] for place in places)
        runs.append(_turned(run) if right_to_left else run)
    return "".join(reversed(runs) if base else runs)


def _sides(text: str) -> list[bool | None]:
    """Whether each character runs from right to left; None where its neighbours decide."""
    sides: list[bool | None] = []
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind == "NSM":
            sides.append(sides[-1] if sides else None)
        else:
            sides.append(_SIDE.get(kind))
    return sides


def _turned(run: str) -> str:
    """A run from right to left, marks still behind their letters."""
    clusters: list[str] = []
    for char in run:
        if clusters and unicodedata.category(char) == "Mn":
            clusters[-1] += char
        else:
            clusters.append(_MIRRORED.get(char, char))
    return "".join(reversed(clusters))
