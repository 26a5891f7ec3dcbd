"""What has come of a run so far, and its results as one table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import polars as pl

from tubelet.bulk.markers import Marker, Markers, read_markers
from tubelet.bulk.settings import read_films
from tubelet.bulk.stores import Store
from tubelet.bulk.table import METADATA, SCHEMA
from tubelet.errors import DataError, InputError

MERGED = "merged"
FILMS_OF_A_FILE = 10_000
_ROWS = 1 << 18  # of a row group


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How many films there are, are done, and wait; and those that have failed."""

    films: int
    done: int
    failed: Sequence[Marker]

    @property
    def waiting(self) -> int:
        return self.films - self.done - len(self.failed)


def status_of(store: Store) -> RunStatus:
    """Of all shards. Raises InputError where no run has begun."""
    names = [film.name for film in read_films(store)]
    markers = Markers.of(store)
    failed = read_markers(store, (n for n in names if markers.has_failed(n)), done=False)
    return RunStatus(
        films=len(names),
        done=sum(markers.is_done(name) for name in names),
        failed=[failed[name] for name in names if name in failed],
    )


def merge(store: Store, *, partial: bool = False) -> list[str]:
    """Join the parts into `merged.parquet`, in the manifest's order; returns the files' names.

    A run of more than 10,000 films gives a file for each so many, `merged-00000.parquet` and so on.
    The bytes depend on what was found alone: not on shards, processes, or what was run again when.
    Memory does not grow with the number of films. Raises InputError while films wait, unless
    `partial`, and where none is done.
    """
    names = [film.name for film in read_films(store)]
    markers = Markers.of(store)
    unfinished = [n for n in names if not markers.is_done(n) and not markers.has_failed(n)]
    if unfinished and not partial:
        raise InputError(
            "films are still waiting",
            expected=f"all of {len(names)} done or failed",
            got=f"{len(unfinished)} not, such as {unfinished[0]}",
            hint="run again to finish them, or merge what there is",
            arguments=("partial",),
        )
    many = len(names) > FILMS_OF_A_FILE
    written = []
    for number, at in enumerate(range(0, len(names), FILMS_OF_A_FILE)):
        some = [n for n in names[at : at + FILMS_OF_A_FILE] if markers.is_done(n)]
        name = f"{MERGED}-{number:05d}.parquet" if many else f"{MERGED}.parquet"
        if some:
            _merge_into(store, name, some)
            written.append(name)
    if not written:
        raise InputError("no film is done yet", got=f"{len(names)} films")
    return written


def _merge_into(store: Store, target: str, names: Sequence[str]) -> None:
    """Write the rows of these films in their order, from whatever parts hold them."""
    known = read_markers(store, names, done=True)
    with tempfile.TemporaryDirectory(prefix="tubelet-") as folder:
        scans = [
            pl.scan_parquet(_fetched(store, part, Path(folder))).filter(pl.col("video").is_in(own))
            for part, own in _stretches([(known[name].part, name) for name in names])
        ]
        joined = Path(folder) / "joined"
        # Row groups of one length, whatever lengths come in: the same bytes from any parts.
        pl.concat(scans).select(list(SCHEMA)).sink_parquet(
            joined, row_group_size=_ROWS, maintain_order=True, metadata=METADATA
        )
        store.put(target, joined)


def _stretches(parts: Sequence[tuple[str | None, str]]) -> Iterator[tuple[str, list[str]]]:
    """Each part with the films that follow one another in it."""
    for part, films in groupby(parts, key=lambda pair: pair[0]):
        own = [name for _, name in films]
        if part is None:
            raise DataError("a film is marked as done without a part", where=own[0])
        yield part, own


def _fetched(store: Store, part: str, folder: Path) -> Path:
    path = store.fetch(part, folder)
    if path is None:
        raise DataError(
            "a part of the results is missing",
            where=part,
            hint="remove the markers of its films and run again",
        )
    return path
