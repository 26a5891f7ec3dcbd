"""Groups of films become Parquet parts: each film in a process that can be killed, then the part,
then the markers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count

from tubelet.bulk.manifest import ListedFilm
from tubelet.bulk.markers import Marker, digest, forget_failure, write_marker
from tubelet.bulk.settings import DetectorSettings, Meaning
from tubelet.bulk.stores import Store
from tubelet.bulk.table import FilmRows, parquet_of
from tubelet.parallel.pool import Pool
from tubelet.parallel.tasks import Alive, TaskOutcome, Worker

PARTS = "parts"


@dataclass(slots=True)
class FilmRowsWorker(Worker[ListedFilm, FilmRows]):
    """A process that holds a `FilmDetector`; its greeting is a `Meaning`.

    Downloads lie in `scratch`, a folder of whoever can kill this process.
    """

    settings: DetectorSettings
    scratch: str
    _film: Callable[..., FilmRows] | None = field(default=None, init=False)

    def prepare(self) -> object:
        from tubelet.bulk.detector import FilmDetector  # here, and not where it is only sent

        tempfile.tempdir = self.scratch
        detector = FilmDetector(**asdict(self.settings))
        self._film = detector.film
        return Meaning(precision=detector.precision, people=detector.people_name)

    def work(self, task: ListedFilm, alive: Alive) -> FilmRows:
        assert self._film is not None, "prepare() comes first"
        return self._film(task.address, name=task.name, alive=alive)


@dataclass(slots=True)
class _OpenGroup:
    """A group whose films are being worked on: those to do, and what came of them so far."""

    films: Sequence[ListedFilm]
    found: dict[str, FilmRows] = field(default_factory=dict)
    markers: list[Marker] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return len(self.markers) == len(self.films)

    def part(self) -> tuple[str, bytes] | None:
        """The part's name and content: the films that could be used, in the manifest's order. The
        name is of their ids, so that the same films make the same file, whoever writes it."""
        rows = [self.found[film.name] for film in self.films if film.name in self.found]
        if not rows:
            return None
        return f"{PARTS}/{digest(chr(0).join(r.name for r in rows))}.parquet", parquet_of(rows)


@dataclass(slots=True)
class GroupRunner:
    """Turns groups of films into parts and markers in a store.

    `tries_before`: of films that failed in earlier runs.
    """

    store: Store
    pool: Pool[ListedFilm, FilmRows]
    tries_before: Mapping[str, int]

    def run(self, groups: Iterable[Sequence[ListedFilm]]) -> Generator[Marker]:
        """The marker of every film, once it and its part are written.

        However it ends, films that are done are written, be their group whole or not.
        """
        places: dict[int, tuple[_OpenGroup, ListedFilm]] = {}
        open_groups: list[_OpenGroup] = []
        numbers = count()

        def films() -> Iterator[ListedFilm]:
            for wanted in groups:
                group = _OpenGroup(wanted)
                open_groups.append(group)
                for film in wanted:
                    places[next(numbers)] = group, film
                    yield film

        try:
            for outcome in self.pool.run(films()):
                group, film = places.pop(outcome.index)
                group.markers.append(self._marker(film, outcome))
                if outcome.value is not None:
                    group.found[film.name] = outcome.value
                if group.whole:
                    open_groups.remove(group)
                    yield from self._write(group)
        finally:
            for group in open_groups:
                for _ in self._write(group):
                    pass

    def _marker(self, film: ListedFilm, outcome: TaskOutcome[FilmRows]) -> Marker:
        rows, failure = outcome.value, outcome.failure
        return Marker(
            film=film.name,
            address=film.address,
            tries=self.tries_before.get(film.name, 0) + outcome.tries,
            seconds=round(outcome.seconds, 3),
            keyframes=0 if rows is None else rows.keyframes,
            people=0 if rows is None else rows.people,
            notes=() if rows is None else rows.notes,
            reason=None if failure is None else failure.reason,
            text=None if failure is None else failure.text,
        )

    def _write(self, group: _OpenGroup) -> Iterator[Marker]:
        """The part first: a marker speaks only of what is there."""
        part = group.part()
        if part is not None:
            self.store.write(*part)
        for marker in group.markers:
            if marker.done and part is not None:
                marker = Marker(**{**asdict(marker), "part": part[0]})
            write_marker(self.store, marker)
            if marker.done and marker.film in self.tries_before:
                forget_failure(self.store, marker.film)
            yield marker
        group.markers.clear()
