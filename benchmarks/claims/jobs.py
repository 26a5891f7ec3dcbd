"""Which runs are missing, and running them: some processes, one thread each, a line per result."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.claims.claim import Arm, Experiment, Phase, Trial
from benchmarks.claims.results import Job, Row, append, mean_of, read


def rate_of(experiment: Experiment, arm: Arm, rows: Mapping[Job, Row], *, quick: bool) -> float:
    """The rate that did best on validation clips; of `quick` runs the middle one, untried.

    Raises KeyError where a tuning run is missing.
    """
    if quick or len(arm.rates) == 1:
        return arm.rates[len(arm.rates) // 2]
    tried = {
        rate: mean_of([rows[job] for job in _jobs(experiment, arm, "tune", rate)])
        for rate in arm.rates
    }
    return max(tried, key=lambda rate: tried[rate])


def _jobs(experiment: Experiment, arm: Arm, phase: Phase, rate: float) -> Iterator[Job]:
    seeds = experiment.tuning_seeds if phase == "tune" else experiment.seeds
    for seed in seeds:
        yield Job(
            experiment=experiment.name,
            version=experiment.version,
            arm=arm.name,
            phase=phase,
            rate=rate,
            seed=seed,
        )


def tuning_jobs(experiment: Experiment) -> list[Job]:
    """Every rate of every arm that has several."""
    return [
        job
        for arm in experiment.arms
        for rate in (arm.rates if len(arm.rates) > 1 else ())
        for job in _jobs(experiment, arm, "tune", rate)
    ]


def reported_jobs(
    experiment: Experiment, rows: Mapping[Job, Row], *, quick: bool = False
) -> dict[str, list[Job]]:
    """The runs of the table: arm → its seeds, at its own rate. An arm whose rate is not yet chosen
    has none."""
    count = experiment.quick_seeds if quick else len(experiment.seeds)
    found: dict[str, list[Job]] = {}
    for arm in experiment.arms:
        try:
            rate = rate_of(experiment, arm, rows, quick=quick)
        except KeyError:
            found[arm.name] = []
        else:
            found[arm.name] = list(itertools.islice(_jobs(experiment, arm, "test", rate), count))
    return found


def run_missing(
    experiments: Sequence[Experiment], folder: Path, cache: Path, *, workers: int, quick: bool
) -> None:
    """Run every job without a result, `workers` at a time. What is finished stays, whatever
    happens to the rest."""
    names = [e.name for e in experiments]
    _commit()
    if not quick:
        tune = [job for e in experiments for job in tuning_jobs(e)]
        _run(tune, folder, cache, workers=workers, done=read(folder, names))
    rows = read(folder, names)
    seeds = max((len(e.seeds) for e in experiments), default=0)
    found = [reported_jobs(e, rows, quick=quick) for e in experiments]
    # Seed by seed, so that an interrupted bench has something to say about every claim.
    test = [
        jobs[turn]
        for turn in range(seeds)
        for arms in found
        for jobs in arms.values()
        if turn < len(jobs)
    ]
    _run(test, folder, cache, workers=workers, done=rows)


def _run(
    jobs: Sequence[Job], folder: Path, cache: Path, *, workers: int, done: Mapping[Job, Row]
) -> None:
    missing = [job for job in jobs if job not in done]
    if not missing:
        return
    for count, row in enumerate(_finished(missing, cache, workers), 1):
        append(folder, row)
        job, found = row.job, ", ".join(f"{k} {v:.2f}" for k, v in row.figures.items())
        print(
            f"[{count}/{len(missing)}] {job.experiment}: {job.arm}, {job.phase} seed {job.seed} "
            f"at {job.rate:g}: {found} ({row.cpu_seconds:.0f} s)",
            file=sys.stderr,
            flush=True,
        )


def _finished(jobs: Sequence[Job], cache: Path, workers: int) -> Iterator[Row]:
    """The rows as they come; with no workers, in this process and in order."""
    if not workers:
        yield from (run_job(job, cache) for job in jobs)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # of the children, before they import torch
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            running = [pool.submit(run_job, job, cache) for job in jobs]
            yield from (future.result() for future in as_completed(running))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_job(job: Job, cache: Path) -> Row:
    """Train and test, in this process."""
    import torch
    from benchmarks.claims.families import experiment_named

    torch.set_num_threads(1)
    arm = experiment_named(job.experiment).by_name[job.arm]
    cpu, wall = time.process_time(), time.perf_counter()
    torch.manual_seed(job.seed)
    outcome = arm.run(Trial(rate=job.rate, seed=job.seed, phase=job.phase, cache=cache))
    return Row(
        job=job,
        figures={name: round(value, 4) for name, value in outcome.figures.items()},
        macs=outcome.macs,
        parameters=outcome.parameters,
        cpu_seconds=round(time.process_time() - cpu, 1),
        wall_seconds=round(time.perf_counter() - wall, 1),
        commit=_commit(),
        machine=f"{_processor()}, 1 thread, torch {torch.__version__}",
    )


@functools.cache  # of what was loaded, whatever is edited meanwhile
def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    found = subprocess.run(git, check=False, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
