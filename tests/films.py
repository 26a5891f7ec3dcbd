"""Films that nobody decodes: a worker that does what an address says, for tests of runs.

python -m tests.films STORE FILMS      # a driver to be killed: one process, slow films
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tubelet.bulk.groups import GroupRunner
from tubelet.bulk.manifest import ListedFilm
from tubelet.bulk.markers import Marker
from tubelet.bulk.run import Plan, RunOptions, plan_of
from tubelet.bulk.settings import write_films
from tubelet.bulk.stores import Store, store_at
from tubelet.bulk.table import FilmRows
from tubelet.errors import VideoError
from tubelet.labels import LabelSpace
from tubelet.parallel.pool import Pool
from tubelet.parallel.tasks import Alive, Limits, Worker
from tubelet.results import Detections
from tubelet.types import Key

LABELS = LabelSpace.of(["walk", "sit"])


class Pretence(Worker[ListedFilm, FilmRows]):
    """Finds as many people as a film's name has letters."""

    def prepare(self) -> object:
        return "fp32"

    def work(self, task: ListedFilm, alive: Alive) -> FilmRows:
        match task.address.partition(":")[0]:
            case "damaged":
                return replace(FilmRows.of(task.name, moments(task.name)), notes=("a hole",))
            case "slow":
                time.sleep(0.3)
            case "broken":
                raise VideoError("not a film", where=task.address)
            case "hang":
                time.sleep(60)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "eat":
                eaten = []
                while True:
                    eaten.append(b"x" * (8 << 20))
                    alive(None)
            case "once":  # dies, but not a second time
                marker = Path(task.address.partition(":")[2])
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return FilmRows.of(task.name, moments(task.name))


def moments(name: str) -> Iterator[Detections]:
    """Two keyframes; what is in them depends on the name alone."""
    rng = np.random.default_rng(list(name.encode()))
    count = len(name)
    for time_ms in (0, 1000):
        yield Detections(
            key=Key(video=name, time_ms=time_ms),
            boxes=rng.random((count, 4), np.float32),
            person_scores=rng.random(count, np.float32),
            action_scores=rng.random((count, 2), np.float32),
            track_ids=np.arange(count),
            labels=LABELS,
        )


def films(count: int, kind: str = "fine") -> list[ListedFilm]:
    return [ListedFilm(name=f"film {n}", address=f"{kind}:{n}") for n in range(count)]


def pretend(
    store: Store,
    listed: list[ListedFilm],
    options: RunOptions | None = None,
    *,
    pool: Pool[ListedFilm, FilmRows] | None = None,
) -> tuple[Plan, list[Marker]]:
    """What `tubelet run` does, with `Pretence`."""
    options = options or RunOptions()
    write_films(store, listed)
    plan = plan_of(listed, store, options)
    if pool is not None:
        return plan, list(GroupRunner(store, pool, plan.tries).run(plan.groups))
    with Pool(Pretence(), options.jobs, limits=options.limits) as own:
        return plan, list(GroupRunner(store, own, plan.tries).run(plan.groups))


LIMITED = RunOptions(jobs=2, limits=Limits(silence_s=2, memory=300 << 20))

if __name__ == "__main__":
    pretend(store_at(sys.argv[1]), films(int(sys.argv[2]), "slow"))
