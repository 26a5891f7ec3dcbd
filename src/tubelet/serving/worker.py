"""The process that detects: one film after the other, in a folder of its own each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import tubelet
from tubelet.api import ActionDetector, load
from tubelet.errors import InputError, Stopped
from tubelet.media.frames import open_film
from tubelet.media.video import VideoInfo
from tubelet.parallel.tasks import Alive, Worker
from tubelet.people.linking import link
from tubelet.people.recording import Recording
from tubelet.people.tracking import passers_by
from tubelet.render.export import VideoMeta, write_tubes
from tubelet.render.made_by import MadeBy
from tubelet.serving.served import FILM, RESULT, STOP, ServedFilm
from tubelet.serving.settings import ServeSettings
from tubelet.types import People


@dataclass(slots=True)
class ServeWorker(Worker[ServedFilm, int]):
    """Writes `tubes.json` beside a film; gives the number of people. A file `stop` in the folder
    ends it."""

    settings: ServeSettings
    _detector: ActionDetector | None = field(default=None, init=False)

    def prepare(self) -> object:
        own = self.settings
        self._detector = load(own.model, device=own.device, precision=own.precision)
        return self._detector.labels

    def work(self, task: ServedFilm, alive: Alive) -> int:
        assert self._detector is not None, "prepare() comes first"
        own, film = self.settings, task.folder / FILM
        with open_film(film, threads=1) as opened:
            info = opened.info
        if info.duration_ms > own.longest_s * 1000:
            raise InputError(
                "the film is too long",
                expected=f"at most {own.longest_s:g} s",
                got=f"{info.duration_ms / 1000:g} s",
                hint="cut it",
            )
        found = Recording(task.name, self._detector.label_space)

        def on_people(time_ms: int, people: People) -> None:
            found.see(time_ms, people)
            on_moment(time_ms, info)

        def on_moment(time_ms: int, info: VideoInfo) -> None:
            if (task.folder / STOP).exists():
                raise Stopped("the job was stopped")
            alive(min(1.0, (time_ms - info.start_ms) / max(1, info.duration_ms)))

        for moment in self._detector.detect(
            film,
            people=own.people,
            every=own.every,
            track_rate=own.track_rate,
            name=task.name,
            on_people=on_people,
            on_keyframe=on_moment,
        ):
            found.append(moment)
        return self._write(task, info, found)

    def _write(self, task: ServedFilm, info: VideoInfo, found: Recording) -> int:
        """The people that `tubelet detect` would have reported."""
        assert self._detector is not None
        own = self.settings
        found.forget(passers_by(found.seen()))
        tubes = link(found, seen=found.seen())
        every_ms = max(1, round(own.every * 1000))
        write_tubes(
            task.folder / RESULT,
            tubes,
            video=replace(VideoMeta.of(info), name=task.name),
            labels=self._detector.label_space,
            every_ms=every_ms,
            made_by=MadeBy(
                tubelet=tubelet.__version__,
                model=Path(own.model).name,
                people=Path(own.people).name,
                threshold=own.threshold,
                every_ms=every_ms,
                person_threshold=self._detector.person_threshold,
                notes=self._detector.origin,
            ),
        )
        return len(tubes)
