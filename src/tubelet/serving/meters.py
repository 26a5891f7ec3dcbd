"""Counters of a server, as Prometheus reads them."""

from __future__ import annotations

import os
import threading
from collections import Counter

from tubelet.parallel.tasks import resident

_SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


class Meters:
    """What was asked and done since the start; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[int] = Counter()
        self._ended: Counter[str] = Counter()
        self._within: Counter[float] = Counter()
        self._seconds, self._bytes = 0.0, 0

    def answered(self, status: int) -> None:
        """A request got an answer of this status."""
        with self._lock:
            self._answers[status] += 1

    def received(self, size: int) -> None:
        """A film of so many bytes came in."""
        with self._lock:
            self._bytes += size

    def ended(self, state: str, seconds: float) -> None:
        """A job ended, so many seconds after a worker took it."""
        with self._lock:
            self._ended[state] += 1
            self._seconds += seconds
            self._within.update(bound for bound in _SECONDS if seconds <= bound)

    def text(self, *, waiting: int, running: int, workers: list[int]) -> str:
        """The exposition format; `workers`: their process ids."""
        with self._lock:
            jobs = sum(self._ended.values())
            lines = [
                *_family("requests_total", "counter", "answers by status"),
                *(f'tubelet_requests_total{{status="{s}"}} {n}' for s, n in _rows(self._answers)),
                *_family("jobs_total", "counter", "jobs that ended, by state"),
                *(f'tubelet_jobs_total{{state="{s}"}} {n}' for s, n in _rows(self._ended)),
                *_family("job_seconds", "histogram", "from a worker's taking a job to its end"),
                *(f'tubelet_job_seconds_bucket{{le="{b}"}} {self._within[b]}' for b in _SECONDS),
                f'tubelet_job_seconds_bucket{{le="+Inf"}} {jobs}',
                f"tubelet_job_seconds_sum {self._seconds:.3f}",
                f"tubelet_job_seconds_count {jobs}",
                *_family("received_bytes_total", "counter", "bytes of films"),
                f"tubelet_received_bytes_total {self._bytes}",
            ]
        memory = {"server": resident(os.getpid()) or 0}
        memory |= {f"worker{i}": resident(pid) or 0 for i, pid in enumerate(workers)}
        lines += [
            *_family("jobs_waiting", "gauge", "jobs that no worker has taken"),
            f"tubelet_jobs_waiting {waiting}",
            *_family("jobs_running", "gauge", "jobs that a worker is at"),
            f"tubelet_jobs_running {running}",
            *_family("resident_bytes", "gauge", "memory of each process"),
            *(f'tubelet_resident_bytes{{process="{p}"}} {n}' for p, n in memory.items()),
        ]
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP tubelet_{name} {text}", f"# TYPE tubelet_{name} {kind}"]


def _rows(counter: Counter[int] | Counter[str]) -> list[tuple[object, int]]:
    return sorted(counter.items(), key=str)
