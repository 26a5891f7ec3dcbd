"""People who are already known: boxes from a file or from ground truth, looked up by time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.importers import Options, Report
from tubelet.data.importers import read as read_any
from tubelet.data.tables import Kind, read_ava_csv
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.film_ids import same_films
from tubelet.types import Key, People


class GivenPeople:
    """`(key) -> People`: those at the nearest known time of that video, within a tolerance. An

    unknown video or time has no people. `tolerance_ms` forgives the rounding of
    times in files; of two equally near times the earlier one is taken. Boxes are clipped to
    [0, 1]. Raises DataError for a duplicate time.
    """

    def __init__(self, people: Iterable[tuple[Key, People]], *, tolerance_ms: int = 20) -> None:
        if tolerance_ms < 0:
            raise ConfigError("tolerance_ms cannot be negative", got=tolerance_ms)
        self.tolerance_ms = tolerance_ms
        self._people: dict[Key, People] = {}
        for key, known in people:
            if key in self._people:
                raise DataError("duplicate people of a keyframe", where=key)
            inside = known.boxes.clip(0, 1)
            self._people[key] = People(boxes=inside, scores=known.scores, track_ids=known.track_ids)
        self._names: dict[str, str] = {}
        self._times: dict[str, list[int]] = {}
        for key in sorted(self._people):
            self._times.setdefault(key.video, []).append(key.time_ms)

    @classmethod
    def read(
        cls,
        path: Path | str,
        *,
        kind: Kind | None = None,
        threshold: float = 0.0,
        tolerance_ms: int = 20,
    ) -> GivenPeople:
        """From a CSV in AVA's columns; people scored under `threshold` are left out.

        The eighth column is a score in detections and proposals and a person id in truth files.
        With `kind` None it is taken for ids where every value is a whole number and no id is used
        twice at one time. Raises DataError, naming the row, for a file that is neither.
        """
        table = read_ava_csv(path, kind=kind) if kind else _read_either(path)
        moments = (
            (m.key, m.people.select(m.people.scores >= threshold)) for m in table.keyframes()
        )
        return cls(moments, tolerance_ms=tolerance_ms)

    def __len__(self) -> int:
        return len(self._people)

    def __call__(self, key: Key) -> People:
        video = self._known(key.video)
        times = self._times.get(video, [])
        at = bisect_left(times, key.time_ms)
        near = min(times[max(0, at - 1) : at + 1], key=lambda t: abs(t - key.time_ms), default=None)
        if near is None or abs(near - key.time_ms) > self.tolerance_ms:
            return People.of([])
        return self._people[Key(video=video, time_ms=near)]

    def _known(self, video: str) -> str:
        """The file's name for a video."""
        if video not in self._names:
            self._names[video] = same_films([video], self._times).get(video, video)
        return self._names[video]

    def videos(self) -> list[str]:
        """The known videos, sorted."""
        return sorted(self._times)

    def keys(self, video: str) -> list[Key]:
        """The known times of one video, ascending; raises InputError for an unknown one. Its name
        may be another one of the same film (`film_ids.same_films`)."""
        video = self._known(video)
        if video not in self._times:
            raise InputError(
                f"unknown video {video!r} in the given boxes",
                expected=f"one of {len(self._times)} videos: {', '.join(self.videos()[:5])}",
                hint="the first column must be the video's file name without its extension",
            )
        return [Key(video=video, time_ms=t) for t in self._times[video]]


def _read_either(path: Path | str) -> Annotations:
    """The file as truth if its eighth column can be person ids, as proposals if not."""
    scored = read_ava_csv(path, kind="proposals")
    last = scored.frame["score"].drop_nulls()
    if last.is_empty() or not (last == last.round()).all():
        return scored
    truth = read_ava_csv(path, kind="truth")
    ids = (m.people.track_ids for m in truth.keyframes())
    named = (i[i >= 0] for i in ids)
    return truth if all(len(np.unique(i)) == len(i) for i in named) else scored


def people_of_annotations(
    path: Path | str, options: Options, *, tolerance_ms: int = 20
) -> tuple[GivenPeople, Report]:
    """The people in a file of any format that `tubelet data convert` reads (a tracker's text, a
    labelling tool's export), and what was taken from it. Errors as its reader's."""
    imported = read_any(path, None, options)
    if not isinstance(imported.table, Annotations):
        raise DataError("the file lists whole clips", where=path, expected="boxes of people")
    moments = ((m.key, m.people) for m in imported.table.keyframes())
    return GivenPeople(moments, tolerance_ms=tolerance_ms), imported.report
