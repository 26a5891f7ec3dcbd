"""`tubelet run`: what it prints, and how Ctrl-C and a scheduler's SIGTERM end it."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import NoReturn

from tubelet.bulk.manifest import read_manifest
from tubelet.bulk.markers import Marker
from tubelet.bulk.on_ray import run_on_ray
from tubelet.bulk.outcome import RunStatus, merge, status_of
from tubelet.bulk.run import Plan, RunOptions, plan_of, run_plan
from tubelet.bulk.settings import DetectorSettings, threads_of, write_films
from tubelet.bulk.shards import Shard, shard_of
from tubelet.bulk.stores import Store, store_at
from tubelet.cli.console import download_bar, note, out, print_json, progress_bar
from tubelet.errors import InputError
from tubelet.numerics.cores import cores, fitting, free_memory
from tubelet.parallel.pool import bytes_of_a_process, threads_each
from tubelet.parallel.tasks import Limits
from tubelet.releases.table import weights_path

INTERRUPTED, TERMINATED = 130, 143
_LEAST = 1 << 30  # bytes that a process is given at least


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChoice:
    """The options of `tubelet run` that decide how, not what."""

    shard: str | None
    jobs: int | None
    threads: int | None
    executor: str
    cpus: float
    batch: int | None
    tries: int
    retry: bool
    patience: float
    timeout: float | None
    memory_gib: float | None

    def __post_init__(self) -> None:
        if self.executor not in ("local", "ray"):
            raise InputError(
                f"unknown executor {self.executor!r}",
                expected="local or ray",
                arguments=("executor",),
            )
        for name, value in (
            ("patience", self.patience),
            ("timeout", self.timeout),
            ("memory", self.memory_gib),
            ("cpus", self.cpus),
        ):
            if value is not None and not value > 0:
                raise InputError(
                    f"invalid {name}", expected="more than 0", got=value, arguments=(name,)
                )


def run_films(manifest: str, target: str, settings: DetectorSettings, choice: RunChoice) -> int:
    """Detect in the films of this process's shard that are not done.

    Returns 0; 1 where films of the shard have failed; 130 after Ctrl-C and 143 after SIGTERM, which
    keep what is finished.
    """
    shard = shard_of(choice.shard)
    with download_bar() as progress:  # once, before several processes want it
        weights = weights_path(settings.model, progress=progress).stat().st_size
    films = read_manifest(manifest)
    store = store_at(target)
    options = _options(choice, shard, settings, weights, store)
    plan = plan_of(films, store, options)
    _say(plan, shard)
    for line in write_films(store, films):
        note(line)
    if not plan.groups:
        return 1 if plan.given_up else 0
    if choice.executor == "ray":
        markers = run_on_ray(plan.groups, target, settings, options, plan.tries, cpus=choice.cpus)
    else:
        markers = run_plan(plan, store, settings, options)
    done, failed, code = _follow(markers, plan)
    left = plan.left - done - failed
    lost = failed + len(plan.given_up)
    out.print(f"{plan.done + done} films done, {lost} failed, {left} waiting: {target}")
    return code or int(lost > 0)


def _options(
    choice: RunChoice, shard: Shard, settings: DetectorSettings, weights: int, store: Store
) -> RunOptions:
    jobs, threads = _processes(choice, settings, weights, store)
    if choice.memory_gib is not None:
        memory: int | None = int(choice.memory_gib * (1 << 30))
    else:
        free = free_memory()
        memory = None if free is None else max(_LEAST, free // jobs)
    return RunOptions(
        shard=shard,
        jobs=jobs,
        threads=threads,
        limits=Limits(seconds=choice.timeout, silence_s=choice.patience, memory=memory),
        tries=choice.tries,
        retry=choice.retry,
        batch=choice.batch,
    )


def _processes(
    choice: RunChoice, settings: DetectorSettings, weights: int, store: Store
) -> tuple[int, int]:
    """How many processes, and the threads of each: those that the run was begun with."""
    each = bytes_of_a_process(weights)
    jobs = choice.jobs or (1 if _on_gpu(settings.device) else fitting(cores(), each))
    ray = choice.executor == "ray"  # which gives an actor `cpus` processors
    threads = threads_of(
        store, choice.threads, max(1, int(choice.cpus)) if ray else threads_each(jobs)
    )
    if choice.jobs is None and not ray:
        jobs = min(jobs, max(1, cores() // threads))
    return jobs, threads


def _on_gpu(device: str) -> bool:
    if device == "cpu":
        return False
    from tubelet.api import choose_device  # loads torch, which takes a second

    return choose_device(device).type != "cpu"


def _say(plan: Plan, shard: Shard) -> None:
    before = f"; {plan.done} done before" if plan.done else ""
    given_up = f"; {len(plan.given_up)} failed too often" if plan.given_up else ""
    part = f" of shard {shard}" if shard.count > 1 else ""
    note(f"{plan.left} of {plan.films} films{part} to do{before}{given_up}")


def _follow(markers: Generator[Marker], plan: Plan) -> tuple[int, int, int]:
    """Done and failed films, and the exit code of whatever ended it early."""
    done = failed = code = 0
    with progress_bar() as bar, closing(markers), _terminable():
        task = bar.add_task("films", total=plan.left)
        try:
            for marker in markers:
                done, failed = done + marker.done, failed + (not marker.done)
                bar.update(task, completed=done + failed)
                for text in marker.notes:
                    note(f"{marker.film}: {text}")
                if not marker.done:
                    note(f"failed (try {marker.tries}): {marker.film}: {marker.text}")
        except KeyboardInterrupt as ended:
            code = TERMINATED if str(ended) else INTERRUPTED
            note("stopped; what is finished is kept, and the same command goes on")
    return done, failed, code


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, which schedulers send before they kill, ends a run as Ctrl-C does."""

    def end(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_status(target: str, *, as_json: bool) -> int:
    """How far a run is, over all shards, and what failed why; 1 if anything has failed."""
    found = status_of(store_at(target))
    if as_json:
        print_json(
            {
                "films": found.films,
                "done": found.done,
                "waiting": found.waiting,
                "failed": [asdict(marker) for marker in found.failed],
            }
        )
    else:
        _print_failures(found)
        out.print(
            f"{found.films} films: {found.done} done, {len(found.failed)} failed, "
            f"{found.waiting} waiting"
        )
    return int(bool(found.failed))


def _print_failures(found: RunStatus) -> None:
    for marker in found.failed:
        text = " ".join((marker.text or "").split())
        out.print(f"failed ({marker.reason}, {marker.tries}×): {marker.film}: {text}")


def print_merged(target: str, *, partial: bool) -> int:
    """Join the parts of a run, and say where they are."""
    for name in merge(store_at(target), partial=partial):
        out.print(f"{target.rstrip('/')}/{name}")
    return 0
