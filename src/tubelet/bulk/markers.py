"""What has become of each film, as small files beside the results.

    films/3f/3f2a….done      JSON: film, address, part, keyframes, people, tries, seconds, notes
    films/3f/3f2a….failed    JSON: film, address, reason, text, tries

A film's part is written before its marker, so that a part of which no marker speaks holds nothing
that counts. The name is of the film's id, so that shards agree without asking each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from tubelet.bulk.stores import Store
from tubelet.errors import DataError

FOLDER, DONE, FAILED = "films", ".done", ".failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A film that is done (`part` says where its rows are) or has failed (`reason`, `text`).

    `notes`: what was wrong with a film that is done: damage, holes in the recording.
    """

    film: str
    address: str
    tries: int
    seconds: float
    part: str | None = None
    keyframes: int = 0
    people: int = 0
    reason: str | None = None
    text: str | None = None
    notes: Sequence[str] = ()

    @property
    def done(self) -> bool:
        return self.reason is None


def digest(text: str) -> str:
    """A name for a film, or for a group of them, that any store can hold."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _stem(film: str) -> str:
    name = digest(film)
    return f"{FOLDER}/{name[:2]}/{name}"


def write_marker(store: Store, marker: Marker) -> None:
    """Write what became of a film."""
    stem = _stem(marker.film)
    data = json.dumps(asdict(marker), ensure_ascii=False).encode()
    store.write(stem + (DONE if marker.done else FAILED), data)


def forget_failure(store: Store, film: str) -> None:
    """Remove the marker of a failure after which a film was done."""
    store.remove(_stem(film) + FAILED)


@dataclass(frozen=True, slots=True)
class Markers:
    """Which films of a store have which marker: their names alone, one listing."""

    names: frozenset[str]

    @classmethod
    def of(cls, store: Store) -> Markers:
        return cls(frozenset(store.names(FOLDER)))

    def is_done(self, film: str) -> bool:
        return _stem(film) + DONE in self.names

    def has_failed(self, film: str) -> bool:
        """Whether it failed, and was not done since."""
        return _stem(film) + FAILED in self.names and not self.is_done(film)


def read_markers(store: Store, films: Iterable[str], *, done: bool) -> dict[str, Marker]:
    """The markers of these films by their ids. Raises DataError for one that is damaged."""
    names = [_stem(film) + (DONE if done else FAILED) for film in films]
    return {marker.film: marker for marker in map(_parsed, _in_pieces(store, names))}


def _in_pieces(store: Store, names: Sequence[str]) -> Iterable[bytes]:
    for at in range(0, len(names), 1000):
        yield from store.read_many(names[at : at + 1000])


def _parsed(data: bytes) -> Marker:
    try:
        return Marker(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise DataError("damaged marker of a film", got=data[:120], where=FOLDER) from error
