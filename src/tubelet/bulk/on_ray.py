"""The groups of a run on a Ray cluster (extra `tubelet[ray]`).

Each Ray actor is a driver of its own with one worker process: films are bounded in time and memory
as on one machine, and an actor that dies takes with it at most the group it was at, which Ray gives
to the next. Parts and markers are written by the actors, so `out` is a place that all of
them see.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tubelet.bulk.manifest import ListedFilm
from tubelet.bulk.markers import Marker
from tubelet.bulk.run import Groups, RunOptions, RunProcesses
from tubelet.bulk.settings import DetectorSettings
from tubelet.bulk.stores import store_at
from tubelet.errors import InputError

_AT_ONCE = 16  # groups of a batch at most: what a lost actor has to do again


class RayGroups:
    """A Ray Data actor: a batch of groups in, the markers of their films out, as columns of JSON.

    `tries_before`: of films that failed in earlier runs.
    """

    def __init__(
        self,
        out: str,
        settings: DetectorSettings,
        options: RunOptions,
        tries_before: Mapping[str, int],
    ) -> None:
        self._tries = tries_before
        # Ends with the actor: its process ends when its parent does.
        self._processes = RunProcesses(store_at(out), settings, replace(options, jobs=1))
        self._processes.__enter__()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        groups = [[ListedFilm(**film) for film in json.loads(text)] for text in batch["group"]]
        markers = self._processes.run(groups, self._tries)
        return {"marker": np.array([json.dumps(asdict(m)) for m in markers], object)}


def run_on_ray(
    groups: Groups,
    out: str,
    settings: DetectorSettings,
    options: RunOptions,
    tries_before: Mapping[str, int],
    *,
    cpus: float = 1.0,
) -> Generator[Marker]:
    """The markers of all films of `groups`, as Ray's actors finish them.

    Runs on the cluster that `ray.init` has joined or that RAY_ADDRESS names, else on one of this
    machine. `options.jobs` actors of `cpus` processors each. Raises InputError without Ray.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    rows = [{"group": json.dumps([asdict(film) for film in group])} for group in groups]
    batch = max(1, min(_AT_ONCE, len(rows) // (4 * options.jobs)))
    markers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        RayGroups,
        fn_constructor_args=(out, settings, options, dict(tries_before)),
        batch_size=batch,
        compute=ray.data.ActorPoolStrategy(size=options.jobs),
        num_cpus=cpus,
    )
    for row in markers.iter_rows():
        yield Marker(**json.loads(row["marker"]))


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            "running on Ray needs an optional extra",
            hint="pip install 'tubelet[ray]'",
            arguments=("executor",),
        ) from error
    return ray
