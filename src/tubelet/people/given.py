"""People who are already known: boxes from a file or from ground truth, looked up by time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.importers import Options, Report, sniff
from tubelet.data.importers import read as read_any
from tubelet.data.tables import Kind, read_ava_csv
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.film_ids import same_films
from tubelet.people.own import people_of
from tubelet.types import Ints, Key, People

BOX_FILES = frozenset({".csv", ".txt", ".xml", ".json", ".zip"})
"""How the name of a file that may give people ends."""
_AVA = ("ava-csv", "detections-csv", "proposals-csv")


class GivenPeople:
    """`(key) -> People`: those at the nearest known time of that video, within a tolerance.

    An unknown video or time has no people. `tolerance_ms` forgives the rounding of times in files;
    of two equally near times the earlier one is taken. Boxes are clipped to [0, 1]. Raises
    DataError for a duplicate time.
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

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        *,
        videos: Path | str | None = None,
        video: str | None = None,
        fps: float | None = None,
        first_frame: int | None = None,
        person_labels: Sequence[str] = (),
    ) -> GivenPeople:
        """From a file of any format that `tubelet data convert` reads: a tracker's text or table, a
        folder of YOLO's texts, a labelling tool's export.

        `videos`: the folder of the films, which tells frames' times and sizes in pixels; `fps`
        where they are not there. `video`: the film of a file that does not name it.
        `first_frame`: the number of a film's first frame. `person_labels`: the detector's classes
        that are people.
        Raises InputError for whatever of these is needed and not stated.
        """
        options = Options(
            videos=None if videos is None else Path(videos),
            video=video,
            fps=fps,
            first_frame=first_frame,
            person_labels=tuple(person_labels),
        )
        return people_of_file(path, options)[0]

    @classmethod
    def from_tracks(
        cls,
        video: str,
        moments: Iterable[Sequence[Any]],
        *,
        size: tuple[int, int] | None = None,
        class_id: int | None = None,
        tolerance_ms: int = 20,
    ) -> GivenPeople:
        """From your own detector and tracker, which an iterator runs as it is read.

        `moments`: `(time_ms, boxes (N, 4), ids (N,))` or `(time_ms, boxes, ids, scores)`, ids of −1
        or None unknown; or `(time_ms, detections)` of supervision. `video`: its id, the file's name
        without extension. `size`: (width, height) where boxes are in pixels; without it they are
        fractions of the picture. `class_id`: the people's class among supervision's. Raises
        InputError for boxes in pixels without a size, and for several classes without `class_id`;
        ShapeError for arrays that do not fit.
        """
        people = ((Key(video=video, time_ms=m[0]), people_of(m, size, class_id)) for m in moments)
        return cls(people, tolerance_ms=tolerance_ms)

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

    def tracked(self, video: str) -> Iterator[tuple[int, People]]:
        """(time_ms, people) of every known moment of a video, those who have a track id: what
        `tubelet.link(…, seen=…)` draws paths from."""
        of = self._known(video)
        for time_ms in self._times.get(of, ()):
            people = self._people[Key(video=of, time_ms=time_ms)]
            yield time_ms, people.select(people.track_ids >= 0)

    def period_ms(self, video: str) -> int | None:
        """The usual distance of the known times of a video; None where there are fewer than two."""
        times = self._times.get(self._known(video), [])
        return int(np.median(np.diff(times))) if len(times) > 1 else None

    def free_id(self, video: str) -> int:
        """A track id above every one that is given in a video."""
        of = self._known(video)
        ids = (self._people[Key(video=of, time_ms=t)].track_ids for t in self._times.get(of, ()))
        return max((int(one.max()) for one in ids if len(one)), default=0) + 1

    def keys(self, video: str, *, every_ms: int | None = None) -> list[Key]:
        """The known times of one video, ascending; with `every_ms` of each period the one nearest
        to its multiple. Raises InputError for an unknown video. Its name may be another one of the
        same film (`film_ids.same_films`)."""
        video = self._known(video)
        if video not in self._times:
            raise InputError(
                f"unknown video {video!r} in the given boxes",
                expected=f"one of {len(self._times)} videos: {', '.join(self.videos()[:5])}",
                hint="the first column must be the video's file name without its extension",
            )
        times = np.array(self._times[video], np.int64)
        if every_ms is not None:
            times = times[nearest_to_multiples(times, every_ms)]
        return [Key(video=video, time_ms=int(t)) for t in times]


def nearest_to_multiples(times_ms: Ints, every_ms: int) -> Ints:
    """Of each period the index of the time nearest to its multiple, of two the earlier: what
    `Annotations.every` keeps. `times_ms` ascend."""
    multiple = np.rint(times_ms / every_ms)
    distance = np.abs(times_ms - multiple * every_ms)
    order = np.lexsort((times_ms, distance, multiple))
    first = np.r_[True, np.diff(multiple[order]) > 0] if len(order) else np.zeros(0, np.bool_)
    return np.sort(order[first])


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
    """The people in a file of any format that `tubelet data convert` reads (a tracker's text or
    table, a folder of YOLO's texts, a labelling tool's export), and what was taken from it.

    Errors as its reader's; InputError too where a detector's boxes are of several classes and
    `options.person_labels` does not say which are people.
    """
    imported = read_any(path, None, options)
    if not isinstance(imported.table, Annotations):
        raise DataError("the file lists whole clips", where=path, expected="boxes of people")
    kinds = imported.report.kinds
    if len(kinds) > 1 and not options.person_labels:
        raise InputError(
            "the boxes are of several classes: which are people?",
            where=path,
            got=", ".join(f"{kind} ({count} boxes)" for kind, count in sorted(kinds.items())[:8]),
            hint="state the class of people",
            arguments=("person_label",),
        )
    moments = ((m.key, m.people) for m in imported.table.keyframes())
    return GivenPeople(moments, tolerance_ms=tolerance_ms), imported.report


def people_of_file(path: Path | str, options: Options) -> tuple[GivenPeople, Report]:
    """The people in a file: AVA's columns as `GivenPeople.read` takes them, anything else as
    `people_of_annotations` does."""
    if _is_ava(Path(path)):
        return GivenPeople.read(path), Report()
    return people_of_annotations(path, options)


def _is_ava(path: Path) -> bool:
    if path.is_dir():
        return False
    try:
        return sniff(path) in _AVA
    except DataError:
        # The reader of AVA's columns names the row that is wrong.
        return path.suffix.lower() == ".csv"
