"""What a run computes, written beside its results so that every shard computes the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tubelet.bulk.manifest import ListedFilm
from tubelet.bulk.stores import Store
from tubelet.errors import DataError, InputError
from tubelet.media.sampling import check_period
from tubelet.numerics.choices import PrecisionChoice
from tubelet.people.given import BOX_FILES

FILE, FILMS = "run.json", "manifest.jsonl"
FORMAT, VERSION = "tubelet.run", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a precision and a detector of people called "auto" turned out to be on a machine."""

    precision: str
    people: str


def lists_people(people: str) -> bool:
    """Whether people are given by a file of boxes, and not by a detector's name."""
    return Path(people).suffix.lower() in BOX_FILES and (
        people.lower().endswith(".csv") or Path(people).exists()
    )


def threads_of(store: Store, wanted: int | None, otherwise: int) -> int:
    """How many threads each process of a run has: as the results there were begun with, else
    `wanted`, else `otherwise`. Other numbers round differently, by about 1e-7.

    Raises InputError where another number is wanted than the results were begun with.
    """
    data = store.read(FILE)
    if data is None:
        return otherwise if wanted is None else wanted
    begun = _document(data).get("threads")
    if not isinstance(begun, int) or begun < 1:
        raise DataError("damaged run", where=FILE, expected="threads: 1 or more", got=begun)
    if wanted not in (None, begun):
        raise InputError(
            "these results were begun with another number of threads a process",
            where=FILE,
            expected=begun,
            got=wanted,
            hint="leave it out, and the number that is recorded is taken: with another one, scores "
            "differ by about 1e-7; or give another place for the results",
            arguments=("threads",),
        )
    return begun


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSettings:
    """The arguments of a `FilmDetector`, as text. `people`: a detector's name, or a file of boxes
    on the machine of every shard."""

    model: str = "jhmdb21_small"
    people: str
    every: float = 1.0
    classes: tuple[str, ...] = ()
    fps: float | None = None
    min_score: float = 0.0
    device: str = "auto"
    precision: PrecisionChoice = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise InputError(
                "invalid score: not a probability",
                expected="0 to 1",
                got=self.min_score,
                arguments=("min_score",),
            )
        check_period(self.every)

    def facts(self, weights: Path, meaning: Meaning, threads: int) -> dict[str, Any]:
        """What decides the results: the settings but for the device, the weights' and the boxes'
        content, what "auto" means on this machine, and the threads of each process."""
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del facts["device"]
        facts |= asdict(meaning) | {"model": weights.name, "weights": _sha256(weights)}
        facts["threads"] = threads
        if lists_people(self.people):
            facts["people"] = _sha256(Path(self.people))
        return facts


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError("cannot read the file", where=path, got=error.strerror) from error


def agree(store: Store, facts: dict[str, Any]) -> None:
    """Write what this run computes, or see that it is what was written before.

    Raises InputError for results of other settings, DataError for a file of another version.
    """
    head = {"format": FORMAT, "version": VERSION}
    if store.create(FILE, (json.dumps({**head, **facts}, indent=2) + "\n").encode()):
        return
    before = _document(store.read(FILE) or b"")
    for name, value in facts.items():
        if before.get(name) != value:
            raise InputError(
                f"these results were begun with another {name}",
                where=FILE,
                expected=before.get(name),
                got=value,
                hint="give the same settings, or another place for the results",
                arguments=("out",),
            )


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise DataError("invalid JSON", where=FILE, got=error) from error
    known = isinstance(found, dict) and found.get("format") == FORMAT
    if not known or found.get("version") != VERSION:
        got = found.get("version") if known else "something else"
        raise DataError(
            "not a run of this version of tubelet", where=FILE, expected=VERSION, got=got
        )
    return dict(found)


def write_films(store: Store, films: list[ListedFilm]) -> list[str]:
    """Keep the manifest with the results, for whoever merges them; returns what is to be said of a
    manifest that was kept before: films are known by their ids, wherever they lie."""
    told = [] if store.read(FILMS) is None else _changes(read_films(store), films)
    lines = (json.dumps(asdict(film), ensure_ascii=False) for film in films)
    data = ("\n".join(lines) + "\n").encode()
    if store.read(FILMS) != data:
        store.write(FILMS, data)
    return told


def _changes(before: list[ListedFilm], films: list[ListedFilm]) -> list[str]:
    now = {film.name: film.address for film in films}
    moved = [f.name for f in before if now.get(f.name, f.address) != f.address]
    gone = [film.name for film in before if film.name not in now]
    told = []
    if moved:
        told.append(
            f"{len(moved)} films had another address in the manifest before, such as "
            f"{moved[0]!r}: those that are done are not done again"
        )
    if gone:
        told.append(
            f"{len(gone)} films of the manifest before are not listed any more, such as "
            f"{gone[0]!r}: their results will not be merged"
        )
    return told


def read_films(store: Store) -> list[ListedFilm]:
    """The manifest that was kept. Raises InputError where no run has begun."""
    data = store.read(FILMS)
    if data is None:
        raise InputError(
            "no run has begun here",
            expected=FILMS,
            hint="check the address; a run writes its manifest first",
            arguments=("out",),
        )
    try:
        return [ListedFilm(**json.loads(line)) for line in data.decode().splitlines()]
    except (ValueError, TypeError) as error:
        raise DataError("damaged manifest", where=FILMS, got=error) from error
