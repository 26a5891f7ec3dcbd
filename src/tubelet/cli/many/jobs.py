"""`tubelet detect --jobs`: films shared out over processes of few threads each.

Torch's threads do not share processors with those of another process: two processes of two threads
each took 3.3 times as long as one on two cores, two of one thread each 0.65 times. So each process
gets cores / jobs threads, said before it imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import Progress, TaskID

from tubelet.api import ActionDetector, choose_device
from tubelet.cli.console import download_bar, note, progress_bar, tell, telling
from tubelet.cli.detecting import (
    INTERRUPTED,
    DetectOptions,
    detect_in_turn,
    detect_one,
    join_detections,
    prepared,
    ready_detector,
)
from tubelet.errors import InputError, VideoError
from tubelet.media.frames import open_film
from tubelet.numerics.cores import cores, fitting
from tubelet.parallel.pool import Pool, bytes_of_a_process
from tubelet.parallel.tasks import Alive, TaskOutcome, Worker
from tubelet.people.given import GivenPeople
from tubelet.people.named import resolved
from tubelet.releases.table import weights_path

Lines = list[tuple[bool, str]]
WORTH_S = 60  # seconds of film that cost more than a second process takes to begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One film of a command, and its id."""

    name: str
    path: Path


@dataclass(slots=True)
class FilmWorker(Worker[Film, Lines]):
    """Detects in one film after the other; gives what would have been printed."""

    options: DetectOptions
    people: str | GivenPeople
    _detector: ActionDetector | None = field(default=None, init=False)

    def prepare(self) -> object:
        with telling(lambda share: None) as told:
            self._detector = ready_detector(self.options)
        return told.lines

    def work(self, task: Film, alive: Alive) -> Lines:
        assert self._detector is not None, "prepare() comes first"
        folder = self.options.out / task.name
        with telling(alive) as told:
            detect_one(task.path, folder, self._detector, self.options, self.people, name=task.name)
        return told.lines


def detect_videos(paths: list[Path], options: DetectOptions, jobs: int | None = None) -> int:
    """Detect in each video, one folder of results each, `jobs` at once (None: as many as help).

    A broken video is reported and skipped; what is printed keeps the order of the films. Returns 0,
    1 if a video failed, or 130 after Ctrl-C, which keeps the finished ones.
    """
    if jobs is not None and jobs < 1:
        raise InputError("invalid number of jobs", expected="1 or more", got=jobs)
    films, people = prepared(paths, options)
    count = min(jobs, len(films)) if jobs else helpful_jobs(films, options)
    if count == 1:
        return detect_in_turn(films, people, options)
    with download_bar() as progress:  # once, before several processes want it
        weights_path(options.model, progress=progress)
    if isinstance(people, str):
        people = resolved(people, note)  # once: all processes get the same detector
    tasks = [Film(name=name, path=path) for name, path in films.items()]
    return _detect_at_once(tasks, FilmWorker(options, people), count)


def helpful_jobs(films: Mapping[str, Path], options: DetectOptions) -> int:
    """How many processes are faster than one, and fit: one for few seconds of film and on a GPU,
    else one for each core and film, as far as memory allows."""
    most = min(cores(), len(films))
    if most == 1 or choose_device(options.device).type != "cpu":
        return 1
    if not _worth_while(films.values(), options.fps):
        return 1
    with download_bar() as progress:
        weights = weights_path(options.model, progress=progress).stat().st_size
    return fitting(most, bytes_of_a_process(weights))


def _worth_while(films: Iterable[Path], fps: float | None) -> bool:
    seconds = 0.0
    for film in films:
        try:
            with open_film(film, fps=fps, threads=1) as opened:
                seconds += opened.info.duration_ms / 1000
        except VideoError:
            continue  # whoever detects in it will say so
        if seconds >= WORTH_S:
            return True
    return False


def _detect_at_once(films: list[Film], worker: FilmWorker, jobs: int) -> int:
    out = worker.options.out
    found: dict[int, TaskOutcome[Lines]] = {}
    told = 0
    with _bars(films) as on_alive, Pool(worker, jobs, on_alive=on_alive) as pool:
        try:
            for outcome in pool.run(films):
                if not told and not found:
                    tell(_lines(pool.greeting))
                found[outcome.index] = outcome
                on_alive(outcome.index, 1.0)
                while told in found:
                    _tell(films[told], found[told])
                    told += 1
        except KeyboardInterrupt:
            pool.close()
            for index in sorted(index for index in found if index >= told):
                _tell(films[index], found[index])
            kept = sum(one.failure is None for one in found.values())
            note(f"stopped; {kept} of {len(films)} videos are finished and kept")
            return INTERRUPTED
        finally:
            if found:
                kept_in_order = [i for i in sorted(found) if found[i].failure is None]
                join_detections([out / films[i].name for i in kept_in_order], out)
    failures = sum(one.failure is not None for one in found.values())
    if failures:
        note(f"{failures} of {len(films)} videos failed")
    return 1 if failures else 0


def _lines(greeting: object) -> Lines:
    return greeting if isinstance(greeting, list) else []


def _tell(film: Film, outcome: TaskOutcome[Lines]) -> None:
    if outcome.failure is not None:
        note(f"skipped {film.path}: {outcome.failure.text}")
    else:
        tell(outcome.value or [])


@contextmanager
def _bars(films: list[Film]) -> Iterator[Callable[[int, float | None], None]]:
    """A bar for all films, and one for each that somebody is at."""
    with progress_bar() as bar:
        whole = bar.add_task(f"{len(films)} videos", total=len(films))
        yield _Bars(bar, films, whole).moved


class _Bars:
    """What is known of each film's progress."""

    def __init__(self, bar: Progress, films: list[Film], whole: TaskID) -> None:
        self._bar, self._films, self._whole = bar, films, whole
        self._tasks: dict[int, TaskID] = {}
        self._shares: dict[int, float] = {}

    def moved(self, index: int, share: float | None) -> None:
        """A film's share done; 1 removes its bar."""
        self._shares[index] = max(self._shares.get(index, 0.0), min(share or 0.0, 1.0))
        self._bar.update(self._whole, completed=sum(self._shares.values()))
        if share == 1.0:
            if index in self._tasks:
                self._bar.remove_task(self._tasks.pop(index))
            return
        if index not in self._tasks:
            self._tasks[index] = self._bar.add_task(self._films[index].path.name, total=1.0)
        self._bar.update(self._tasks[index], completed=self._shares[index])
