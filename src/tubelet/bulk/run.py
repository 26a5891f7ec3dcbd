"""One shard of a run, on this machine's processors or on a Ray cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from tubelet.bulk.groups import FilmRowsWorker, GroupRunner
from tubelet.bulk.manifest import ListedFilm
from tubelet.bulk.markers import Marker, Markers, read_markers
from tubelet.bulk.settings import DetectorSettings, Meaning, agree, threads_of
from tubelet.bulk.shards import Shard, group_size, groups_of
from tubelet.bulk.stores import Store
from tubelet.errors import InputError
from tubelet.parallel.pool import Pool, threads_each
from tubelet.parallel.tasks import Limits
from tubelet.releases.table import weights_path

Groups = list[Sequence[ListedFilm]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run is done; what it computes is in its `DetectorSettings`.

    `threads`: of each process, by default as the run was begun, else cores / jobs.
    `tries`: of a film over all runs. `retry`: also films that have had them. `batch`: films of a
    part, by default by the manifest's length.
    """

    shard: Shard = field(default_factory=Shard)
    jobs: int = 1
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    tries: int = 3
    retry: bool = False
    batch: int | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("jobs", self.jobs),
            ("threads", self.threads),
            ("tries", self.tries),
            ("batch", self.batch),
        ):
            if value is not None and value < 1:
                raise InputError(
                    f"invalid {name}", expected="1 or more", got=value, arguments=(name,)
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is left to do of a shard: groups of films, and the failures of films among them.

    `films`: of the shard. `done` of them are; `given_up`: failed as often as they may.
    """

    groups: Groups
    failures: Mapping[str, Marker]
    films: int
    done: int
    given_up: Sequence[Marker]

    @property
    def left(self) -> int:
        return sum(len(group) for group in self.groups)

    @property
    def tries(self) -> dict[str, int]:
        """Of films that failed before."""
        return {name: marker.tries for name, marker in self.failures.items()}


def plan_of(films: Sequence[ListedFilm], store: Store, options: RunOptions) -> Plan:
    """What a shard has to do, given the markers in the store."""
    markers = Markers.of(store)
    mine = options.shard.of(groups_of(films, options.batch or group_size(len(films))))
    own = [film.name for group in mine for film in group]
    failed = read_markers(store, (n for n in own if markers.has_failed(n)), done=False)
    given_up = {n for n, m in failed.items() if m.tries >= options.tries and not options.retry}
    left = ([f for f in g if not markers.is_done(f.name) and f.name not in given_up] for g in mine)
    return Plan(
        groups=[group for group in left if group],
        failures={name: marker for name, marker in failed.items() if name not in given_up},
        films=len(own),
        done=sum(markers.is_done(name) for name in own),
        given_up=[failed[name] for name in own if name in given_up],
    )


def run_plan(
    plan: Plan, store: Store, settings: DetectorSettings, options: RunOptions
) -> Generator[Marker]:
    """Detect in the films that a plan leaves to do; the marker of each as it is written.

    Closing the generator, or an exception in its middle (Ctrl-C), ends the processes and keeps what
    is finished. Raises as `RunProcesses` does.
    """
    jobs = min(options.jobs, plan.left)
    with (
        RunProcesses(store, settings, replace(options, jobs=jobs)) as processes,
        closing(processes.run(plan.groups, plan.tries)) as markers,
    ):
        yield from markers


class RunProcesses:
    """The processes of a run on this machine, each with a loaded model; a context manager.

    Entering waits for the first of them, and raises InputError where the results that are there
    were begun with other settings.
    """

    def __init__(self, store: Store, settings: DetectorSettings, options: RunOptions) -> None:
        self._store, self._settings, self._options = store, settings, options
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        options = self._options
        threads = threads_of(self._store, options.threads, threads_each(options.jobs))
        with ExitStack() as opened:
            scratch = opened.enter_context(tempfile.TemporaryDirectory(prefix="tubelet-"))
            self._pool = opened.enter_context(
                Pool(
                    FilmRowsWorker(self._settings, scratch),
                    options.jobs,
                    threads=threads,
                    limits=options.limits,
                )
            )
            meaning = self._pool.prepared()
            assert isinstance(meaning, Meaning), "what FilmRowsWorker.prepare gives"
            facts = self._settings.facts(weights_path(self._settings.model), meaning, threads)
            agree(self._store, facts)
            self._ends = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.close()

    def run(
        self, groups: Sequence[Sequence[ListedFilm]], tries_before: Mapping[str, int]
    ) -> Generator[Marker]:
        """The markers of the films of these groups; may be called again and again."""
        return GroupRunner(self._store, self._pool, tries_before).run(groups)
