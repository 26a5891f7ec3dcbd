"""What happens to a film: it gets a place, waits, is detected in, and is forgotten."""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tubelet.errors import Refusal, Stopped, TubeletError
from tubelet.parallel.pool import Pool, threads_each
from tubelet.parallel.tasks import Failure, Limits, Worker
from tubelet.serving.containers import check_container
from tubelet.serving.fetch import Fetcher
from tubelet.serving.meters import Meters
from tubelet.serving.refusal import described
from tubelet.serving.served import FILM, RESULT, STOP, ServedFilm
from tubelet.serving.settings import ServeSettings

State = Literal["receiving", "waiting", "fetching", "detecting", "done", "failed", "stopped"]
ENDED: frozenset[State] = frozenset({"done", "failed", "stopped"})
_SWEEP_S = 10.0
_LOG = logging.getLogger("tubelet.serving")
_BUG = "the server could not process this film"
_TELL = "tell the server's operator; its log says why"


@dataclass(slots=True, eq=False)
class Job:
    """A film on its way. `share`: of the detection that is done; `people`: found, once done;
    `error`, `status`: what went wrong, as the answer of a request that waited."""

    id: str
    folder: Path
    name: str
    url: str | None = None
    state: State = "receiving"
    share: float = 0.0
    people: int | None = None
    error: dict[str, Any] | None = None
    status: int = 200
    ended_at: float | None = None
    is_unwanted: bool = False

    def to_json(self) -> dict[str, Any]:
        """What a client is told."""
        said: dict[str, Any] = {"id": self.id, "name": self.name, "state": self.state}
        said["progress"] = round(self.share, 3)
        if self.people is not None:
            said |= {"people": self.people, "result": f"/jobs/{self.id}/{RESULT}"}
        return said | (self.error or {})

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def result(self) -> Path:
        """The file of results, there once it is done."""
        return self.folder / RESULT

    @property
    def film(self) -> Path:
        """Where its film is written to."""
        return self.folder / FILM

    def stop(self) -> None:
        """Ask whoever is at it to end."""
        if self.folder.is_dir():
            (self.folder / STOP).touch()

    @property
    def is_stopping(self) -> bool:
        return (self.folder / STOP).exists() or not self.folder.is_dir()


class Jobs:
    """The jobs of a server, and the threads that hand them to processes; a context manager.

    `folder`: private, empty; everything that comes in lies below it under names of our own.
    """

    def __init__(
        self, worker: Worker[ServedFilm, int], settings: ServeSettings, folder: Path, meters: Meters
    ) -> None:
        self.settings, self.meters, self._folder = settings, meters, folder
        self._fetcher = Fetcher(
            hosts=settings.hosts, largest=settings.largest, seconds=settings.receive_s
        )
        self._jobs: dict[str, Job] = {}
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        limits = Limits(seconds=settings.work_s, memory=settings.memory)
        self._pools = [Pool(worker, 1, limits=limits, tries=1) for _ in range(settings.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(pool,), daemon=True) for pool in self._pools
        ]

    def __enter__(self) -> Jobs:
        try:
            for pool in self._pools:
                pool.threads = pool.threads or threads_each(self.settings.workers)
                pool.prepared()
        except BaseException:
            self._close_pools()
            raise
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for job in self._jobs.values():
                job.stop()
        for _thread in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout=5)  # to the next moment of its film; then it is killed
        self._close_pools()

    def _close_pools(self) -> None:
        for pool in self._pools:
            pool.close()

    def admit(self, name: str, url: str | None = None) -> Job:
        """A place for a film that is about to arrive. Raises Refusal (503) where there is none, and
        for an address that may not be asked."""
        if url is not None:
            self._fetcher.check(url)
        self.sweep()
        with self._lock:
            if sum(not job.has_ended for job in self._jobs.values()) >= self.settings.places:
                raise Refusal(
                    503,
                    "the server is busy",
                    expected=f"fewer than {self.settings.places} films at once",
                    hint="send it again after the seconds of Retry-After",
                    headers={"Retry-After": "5"},
                )
            key = secrets.token_urlsafe(16)
            job = self._jobs[key] = Job(key, self._folder / secrets.token_hex(16), name, url)
        job.folder.mkdir(mode=0o700)
        return job

    def submit(self, job: Job) -> None:
        """Queue a job whose film is there, or has an address. Raises Refusal for other bytes."""
        if job.url is None:
            check_container(job.film)
            self.meters.received(job.film.stat().st_size)
        job.state = "waiting"
        self._queue.put(job)

    def get(self, key: str) -> Job:
        """Raises Refusal (404) for a job that there is not, or no longer."""
        self.sweep()
        job = self._jobs.get(key)
        if job is None:
            raise Refusal(
                404,
                "no such job",
                expected=f"the id of a job that ended less than {self.settings.keep_s:g} s ago",
                hint="send the film again",
            )
        return job

    def drop(self, job: Job) -> None:
        """Forget a job; one that runs is stopped first, and forgotten once it has ended."""
        with self._lock:
            if not job.has_ended and job.state != "receiving":
                job.is_unwanted = True
                job.stop()
                return
            self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Forget the jobs that ended long ago, and the oldest of too many."""
        now, own = time.monotonic(), self.settings
        with self._lock:
            ended = sorted(
                (job for job in self._jobs.values() if job.ended_at is not None),
                key=lambda job: job.ended_at or 0.0,
            )
            many = len(ended) - own.kept
            old = [
                job
                for i, job in enumerate(ended)
                if i < many or now - (job.ended_at or 0.0) > own.keep_s
            ]
            for job in old:
                del self._jobs[job.id]
        for job in old:
            shutil.rmtree(job.folder, ignore_errors=True)

    def counts(self) -> tuple[int, int]:
        """How many wait or arrive, and how many are worked at."""
        with self._lock:
            states = [job.state for job in self._jobs.values()]
        return (
            sum(state in ("receiving", "waiting") for state in states),
            sum(state in ("fetching", "detecting") for state in states),
        )

    @property
    def is_ready(self) -> bool:
        """Whether every thread that hands out jobs is alive."""
        return all(thread.is_alive() for thread in self._threads)

    def pids(self) -> list[int]:
        """Of the processes that detect."""
        return [pid for pool in self._pools for pid in pool.pids()]

    def metrics(self) -> str:
        """Counters and gauges, as Prometheus reads them."""
        waiting, running = self.counts()
        return self.meters.text(waiting=waiting, running=running, workers=self.pids())

    def _work(self, pool: Pool[ServedFilm, int]) -> None:
        while True:
            try:
                job = self._queue.get(timeout=_SWEEP_S)
            except queue.Empty:
                self.sweep()
                continue
            if job is None:
                return
            begun = time.monotonic()
            state: State = "failed"
            try:
                if job.is_stopping:
                    raise Stopped("the job was stopped")
                self._fetch(job)
                job.people = self._detect(job, pool)
                state = "done"
            except Stopped:
                state = "stopped"
            except Refusal as error:
                job.status, job.error = error.status, described(error, str(self._folder))
            except TubeletError as error:
                job.status, job.error = 422, described(error, str(self._folder))
            except Exception:
                _LOG.exception("a job failed")
                job.status, job.error = 500, described(TubeletError(_BUG, hint=_TELL))
            finally:
                job.film.unlink(missing_ok=True)
                self._end(job, state, time.monotonic() - begun)

    def _end(self, job: Job, state: State, seconds: float) -> None:
        self.meters.ended(state, seconds)
        with self._lock:
            job.ended_at, job.state = time.monotonic(), state
        if job.is_unwanted:
            self.drop(job)

    def _fetch(self, job: Job) -> None:
        if job.url is None:
            return
        job.state = "fetching"

        def alive() -> None:
            if job.is_stopping:
                raise Stopped("the job was stopped")

        self.meters.received(self._fetcher.fetch(job.url, job.film, alive))
        check_container(job.film)

    def _detect(self, job: Job, pool: Pool[ServedFilm, int]) -> int:
        job.state = "detecting"

        def on_alive(_: int, share: float | None) -> None:
            job.share = share or 0.0

        pool.on_alive = on_alive
        [outcome] = pool.run([ServedFilm(folder=job.folder, name=job.name)])
        if outcome.failure is not None:
            raise _raised(outcome.failure)
        job.share = 1.0
        return outcome.value or 0


def _raised(failure: Failure) -> TubeletError:
    """A failure of a worker's, as what a client may be told of it."""
    if failure.error is not None:
        return failure.error
    if failure.reason in ("time", "memory"):
        return Refusal(422, "the film takes too much", got=failure.text, hint="send a smaller part")
    _LOG.error("a worker failed: %s", failure.text)
    return Refusal(500, _BUG, hint=_TELL)
