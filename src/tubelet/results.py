"""What was found in a video: `Detections` of a keyframe and `Tube` of a person. NumPy only.

Both are immutable records that filter, plot and save themselves:

    moments = model.detect("clip.mp4")
    save_results("walk.csv", (m.filter(classes="walk", min_score=0.5) for m in moments))

Shape legend: N people of a keyframe, K classes, L moments of a tube, P points of its path.
Boxes are xyxy in [0, 1] of the upright source frame; times are integer milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tubelet.drawing.draw import PersonMark, copied, draw_people, shown_name
from tubelet.drawing.surface import Image
from tubelet.errors import DataError, InputError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.labelsets.sensitive import sensitive_columns
from tubelet.result_files import Row, check_finite, kind_of, rounded, write_document, write_rows
from tubelet.result_objects import fiftyone_detections, fiftyone_list, supervision_detections
from tubelet.types import Floats, Ints, Key, as_boxes, check_shape

DETECTIONS_FORMAT, TUBES_FORMAT, VERSION = "tubelet.detections", "tubelet.tubes", 1
Bools = npt.NDArray[np.bool_]
MAX_GAP = 2.5
"""Whoever is unseen for more than this many keyframe intervals was absent: one lost keyframe is
bridged, two are not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """What the people of one keyframe do.

    `boxes (N, 4)` in [0, 1]; `person_scores (N,)`; `action_scores (N, K)` probabilities in
    the order of `labels`; `track_ids (N,)`, −1 unknown.
    """

    key: Key
    boxes: Floats
    person_scores: Floats
    action_scores: Floats
    track_ids: Ints
    labels: LabelSpace

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes, "Detections.boxes")
        n, k = len(boxes), len(self.labels)
        scores = (
            np.asarray(self.action_scores, np.float32).reshape(-1, k)
            if n == 0
            else np.asarray(self.action_scores, np.float32)
        )
        person = np.asarray(self.person_scores, np.float32)
        ids = np.asarray(self.track_ids, np.int64)
        check_shape(scores, (n, k), "Detections.action_scores")
        check_shape(person, (n,), "Detections.person_scores")
        check_shape(ids, (n,), "Detections.track_ids")
        for name, value in (
            ("boxes", boxes),
            ("action_scores", scores),
            ("person_scores", person),
            ("track_ids", ids),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: npt.NDArray[Any]) -> Detections:
        """The people at `index` (integers or a boolean mask), in that order."""
        return replace(
            self,
            boxes=self.boxes[index],
            person_scores=self.person_scores[index],
            action_scores=self.action_scores[index],
            track_ids=self.track_ids[index],
        )

    def filter(
        self,
        *,
        classes: str | Iterable[str] | None = None,
        min_score: float | None = None,
        persons: int | Iterable[int] | None = None,
        min_person_score: float | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Detections:
        """The people who meet every given condition, as a new record.

        `classes`: names of actions; the scores of all others are left out. `min_score`: of a
        person's best remaining action. `persons`: track ids. `min_person_score`: of the box.
        `start_ms`, `end_ms`: empty unless the keyframe is in `[start_ms, end_ms)`.
        Raises DataError for an unknown class, naming the nearest.
        """
        labels, actions = _narrowed(self.labels, self.action_scores, classes)
        kept = _at_least(actions.max(axis=1), min_score) & _among(self.track_ids, persons)
        kept &= _within(np.full(len(self), self.key.time_ms), start_ms, end_ms)
        kept &= _at_least(self.person_scores, min_person_score)
        return replace(self, action_scores=actions, labels=labels).select(kept)

    def plot(
        self, image: npt.ArrayLike, *, min_score: float = 0.3, top: int = 3, sensitive: float = 0.8
    ) -> Image:
        """A copy of an RGB image `(H, W, 3)` uint8 with each person's box, track id, and up to
        `top` actions that score `min_score` or more, those that harm when they are wrong
        (`labelsets.sensitive`) at least `sensitive` too. Raises ShapeError for another image."""
        picture = copied(image)
        names = self.labels.names
        harmful = {names[column] for column in sensitive_columns(names)}
        marks = [
            PersonMark(
                track_id=track_id,
                actions=tuple(
                    (shown_name(name, self.labels.ids[self.labels.names.index(name)]), score)
                    for name, score in self.top(person, top)
                    if score >= (max(min_score, sensitive) if name in harmful else min_score)
                ),
            )
            for person, track_id in enumerate(self.track_ids.tolist())
        ]
        draw_people(picture, self.boxes, marks)
        return picture

    def rows(self, *, min_score: float = 0.0) -> Iterator[Row]:
        """A row for each action of a person that scores `min_score` or more."""
        times_ms = np.full(len(self), self.key.time_ms)
        check_finite(self.action_scores, str(self.key))
        return _rows(self.key.video, times_ms, self.track_ids, self, min_score)

    def save(self, path: str | Path, *, min_score: float = 0.0) -> Path:
        """Write AVA's detection CSV, the same as Parquet, or JSON, by the end of the name; returns
        the path. CSV and Parquet leave out scores below `min_score`; CSV has no track ids. Many
        keyframes go into one file by `tubelet.save_results`. Raises InputError for another kind of
        file."""
        return save_results(path, [self], min_score=min_score)

    def to_json(self) -> dict[str, Any]:
        """A plain dict without the labels, numbers in six decimals."""
        check_finite(self.action_scores, str(self.key))
        return {
            "video": self.key.video,
            "time_ms": self.key.time_ms,
            "track_ids": self.track_ids.tolist(),
            "boxes": rounded(self.boxes),
            "person_scores": rounded(self.person_scores),
            "action_scores": rounded(self.action_scores),
        }

    def to_supervision(self, size: tuple[int, int]) -> Any:
        """`supervision.Detections` in pixels of a picture of `size` (width, height).

        `class_id`, `confidence` and `data["class_name"]` are the best action's, `tracker_id` the
        track ids, `data["action_scores"] (N, K)` all scores. Raises InputError where supervision is
        not installed.
        """
        return supervision_detections(
            *_arrays(self), self.track_ids, self.labels, size=size, metadata=self._moment()
        )

    def to_fiftyone(self, *, top: int = 3) -> Any:
        """`fiftyone.Detections`, each with its best action as label, its track id as `index`, and
        the `top` best as `actions` and `scores`. Raises InputError where FiftyOne is not
        installed."""
        made = fiftyone_detections(*_arrays(self), self.track_ids, self.labels, top=top)
        return fiftyone_list(made)

    def _moment(self) -> dict[str, Any]:
        return {"video": self.key.video, "time_ms": self.key.time_ms}

    def top(self, person: int, count: int = 3) -> list[tuple[str, float]]:
        """The `count` highest-scoring (action name, probability) pairs of one person."""
        order = np.argsort(-self.action_scores[person], kind="stable")[:count]
        return [(self.labels.names[i], float(self.action_scores[person, i])) for i in order]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tube:
    """One person through time: `times_ms (L,)` ascending, `boxes (L, 4)`, scores `(L, K)`.

    `path_ms (P,)`, `path_boxes (P, 4)`: everywhere the person was seen, its keyframes and what lies
    between, before and after them; empty where people were looked for on keyframes only. `name`:
    the person's, where somebody gave one.
    """

    video: str
    track_id: int
    times_ms: Ints
    boxes: Floats
    person_scores: Floats
    action_scores: Floats
    labels: LabelSpace
    path_ms: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    path_boxes: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    name: str = ""

    def __post_init__(self) -> None:
        times = np.asarray(self.times_ms, np.int64)
        boxes = as_boxes(self.boxes, "Tube.boxes")
        check_shape(boxes, (len(times), 4), "Tube.boxes")
        check_shape(self.person_scores, (len(times),), "Tube.person_scores")
        check_shape(self.action_scores, (len(times), len(self.labels)), "Tube.action_scores")
        if (np.diff(times) <= 0).any():
            raise ShapeError("Tube.times_ms must ascend", where=f"track {self.track_id}", got=times)
        object.__setattr__(self, "times_ms", times)
        object.__setattr__(self, "boxes", boxes)
        self._check_path()

    def _check_path(self) -> None:
        path, boxes = np.asarray(self.path_ms, np.int64), as_boxes(self.path_boxes, "Tube.path")
        check_shape(boxes, (len(path), 4), "Tube.path_boxes")
        if (np.diff(path) <= 0).any() or (len(path) and not np.isin(self.times_ms, path).all()):
            raise ShapeError(
                "Tube.path_ms must ascend and contain times_ms",
                where=f"track {self.track_id}",
                got=path,
            )
        object.__setattr__(self, "path_ms", path)
        object.__setattr__(self, "path_boxes", boxes)

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def every_ms(self) -> int:
        """The usual distance between its moments: the median in ms, 1000 if there is only one."""
        return interval([self])

    def life(self, every_ms: int, film_end_ms: int | None = None) -> tuple[int, int]:
        """`(start_ms, end_ms)` between which the person is shown: half of `every_ms` before the
        first moment and after the last; never before a non-negative 0. Where the film ends before
        another keyframe could follow the last moment, to `film_end_ms`. Of a tube with a path:
        half of its own interval before its first point and after its last."""
        times, step_ms = self.times_ms, every_ms
        if len(self.path_ms):
            times, step_ms = self.path_ms, min(every_ms, _step(self.path_ms, every_ms))
        first, last = int(times[0]), int(times[-1])
        return max(first - step_ms // 2, min(first, 0)), end_of(last, step_ms, film_end_ms)

    def box_at(
        self, time_ms: float, every_ms: int, film_end_ms: int | None = None
    ) -> Floats | None:
        """The person's box `(4,)` at any moment, or None outside the tube's life.

        Linear between moments, or between the points of the path, where there is one; held still
        for the half interval before the first and after the last, or to the end of the film as
        `life` says. None too where the path leaves out more than `MAX_GAP` keyframe intervals.
        """
        box = self.boxes_at([time_ms], every_ms, film_end_ms)[0]
        return None if np.isnan(box[0]) else box

    def boxes_at(
        self, times_ms: npt.ArrayLike, every_ms: int, film_end_ms: int | None = None
    ) -> Floats:
        """`box_at` of many moments `(M,)` at once: `(M, 4)`, not a number where the person is not
        there."""
        moments = np.asarray(times_ms, np.float64)
        found = np.full((len(moments), 4), np.nan, np.float32)
        if len(self) == 0:
            return found
        start, end = self.life(every_ms, film_end_ms)
        here = (moments >= start) & (moments < end)
        times, boxes = self.times_ms, self.boxes
        if len(self.path_ms):
            times, boxes = self.path_ms, self.path_boxes
            after = np.searchsorted(times, moments)
            lost = np.diff(times, prepend=times[0], append=times[-1])[after] > MAX_GAP * every_ms
            here &= ~(lost & (moments < times[np.minimum(after, len(times) - 1)]))
        for side in range(4):
            found[here, side] = np.interp(moments[here], times, boxes[:, side])
        return found

    def scores_at(self, time_ms: float) -> Floats:
        """The action scores `(K,)` of the nearest moment (the earlier one on a tie)."""
        nearest = int(np.argmin(np.abs(self.times_ms - time_ms)))
        return np.asarray(self.action_scores[nearest], np.float32)

    def at(self, time_ms: int) -> Detections:
        """The person at any moment: the box as `box_at`, the scores of the nearest moment; empty
        outside the tube's life."""
        box = self.box_at(time_ms, self.every_ms)
        nearest = [] if box is None else [int(np.argmin(np.abs(self.times_ms - time_ms)))]
        return Detections(
            key=Key(video=self.video, time_ms=time_ms),
            boxes=np.zeros((0, 4), np.float32) if box is None else box[None],
            person_scores=self.person_scores[nearest],
            action_scores=self.action_scores[nearest],
            track_ids=np.full(len(nearest), self.track_id),
            labels=self.labels,
        )

    def select(self, index: npt.NDArray[Any]) -> Tube:
        """The moments at `index` (ascending integers, or a boolean mask). The path is kept from the
        first of them to the last, whole where all are kept."""
        times = self.times_ms[index]
        path = np.ones(len(self.path_ms), np.bool_)
        if len(times) < len(self):
            first, last = (times[0], times[-1]) if len(times) else (1, 0)
            path = (self.path_ms >= first) & (self.path_ms <= last)
        return replace(
            self,
            times_ms=times,
            boxes=self.boxes[index],
            person_scores=self.person_scores[index],
            action_scores=self.action_scores[index],
            path_ms=self.path_ms[path],
            path_boxes=self.path_boxes[path],
        )

    def filter(
        self,
        *,
        classes: str | Iterable[str] | None = None,
        min_score: float | None = None,
        persons: int | Iterable[int] | None = None,
        min_person_score: float | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Tube:
        """The moments that meet every given condition, as a new record; conditions as in
        `Detections.filter`, of each moment. No moment is left of a person not in `persons`."""
        labels, actions = _narrowed(self.labels, self.action_scores, classes)
        kept = _at_least(actions.max(axis=1), min_score) & _within(self.times_ms, start_ms, end_ms)
        kept &= _among(np.full(len(self), self.track_id), persons)
        kept &= _at_least(self.person_scores, min_person_score)
        return replace(self, action_scores=actions, labels=labels).select(kept)

    def plot(
        self,
        image: npt.ArrayLike,
        time_ms: int,
        *,
        min_score: float = 0.3,
        top: int = 3,
        sensitive: float = 0.8,
    ) -> Image:
        """A copy of the frame of `time_ms` with the person drawn in, as `Detections.plot`; just the
        copy where the tube does not reach."""
        return self.at(time_ms).plot(image, min_score=min_score, top=top, sensitive=sensitive)

    def to_supervision(self, size: tuple[int, int]) -> Iterator[tuple[int, Any]]:
        """`(time_ms, supervision.Detections)` of each moment, as `Detections.to_supervision`."""
        for index, time_ms in enumerate(self.times_ms.tolist()):
            one, ids = self.select(np.array([index])), np.array([self.track_id])
            yield time_ms, supervision_detections(
                *_arrays(one), ids, self.labels, size=size,
                metadata={"video": self.video, "time_ms": time_ms},
            )  # fmt: skip

    def to_fiftyone(self, fps: float, *, top: int = 3, start_ms: int = 0) -> dict[int, Any]:
        """Frame number, counted from 1 as FiftyOne does, to a `fiftyone.Detection` as in
        `Detections.to_fiftyone`: `sample.frames[number] = fiftyone.Frame(person=detection)`.

        `fps`, `start_ms`: of a film of constant rate, and the stamp of its first frame. Raises
        InputError where FiftyOne is not installed.
        """
        made = fiftyone_detections(*_arrays(self), np.full(len(self), self.track_id), self.labels,
                                   top=top)  # fmt: skip
        # The frame on show: half a millisecond forgives the rounding of stamps.
        frames = ((self.times_ms - start_ms + 0.5) * fps / 1000).astype(np.int64) + 1
        return dict(zip(frames.tolist(), made, strict=True))

    def rows(self, *, min_score: float = 0.0) -> Iterator[Row]:
        """A row for each action of a moment that scores `min_score` or more."""
        check_finite(self.action_scores, f"{self.video}, track {self.track_id}")
        ids = np.full(len(self), self.track_id)
        return _rows(self.video, self.times_ms, ids, self, min_score)

    def save(self, path: str | Path, *, min_score: float = 0.0) -> Path:
        """Write CSV, Parquet or JSON as `Detections.save` does; the JSON is a `tubes.json`."""
        return save_results(path, [self], min_score=min_score)

    def to_json(self) -> dict[str, Any]:
        """A plain dict without the labels, numbers in six decimals."""
        for scores in (self.action_scores, self.person_scores):
            check_finite(scores, f"{self.video}, track {self.track_id}")
        path = {"path_ms": self.path_ms.tolist(), "path_boxes": rounded(self.path_boxes)}
        return {
            "video": self.video,
            "track_id": self.track_id,
            "times_ms": self.times_ms.tolist(),
            "boxes": rounded(self.boxes),
            "person_scores": rounded(self.person_scores),
            "action_scores": rounded(self.action_scores),
            **(path if len(self.path_ms) else {}),
            **({"name": self.name} if self.name else {}),
        }


def _step(times_ms: Ints, default: int) -> int:
    """The usual distance between ascending times; `default` of fewer than two."""
    return max(1, int(np.median(np.diff(times_ms)))) if len(times_ms) > 1 else default


def end_of(last_ms: int, every_ms: int, film_end_ms: int | None) -> int:
    """When what was seen last at `last_ms` ends: half an interval later, or with the film, if that
    ends before the next keyframe."""
    if film_end_ms is None or last_ms + every_ms < film_end_ms:
        return last_ms + every_ms - every_ms // 2
    return max(film_end_ms, last_ms + 1)  # a header may claim too early an end


def interval(tubes: Iterable[Tube]) -> int:
    """The usual distance between keyframes in ms: the median over all tubes, 1000 if unknown."""
    steps = [np.diff(tube.times_ms) for tube in tubes if len(tube) > 1]
    return int(np.median(np.concatenate(steps))) if steps else 1000


def save_results(
    path: str | Path, results: Iterable[Detections] | Iterable[Tube], *, min_score: float = 0.0
) -> Path:
    """Write many keyframes, or many tubes, into one file as `Detections.save` does; returns its
    path. CSV is written as results arrive.

    Raises InputError for another kind of file, and for JSON of no results, which would have no
    labels; DataError where JSON would hold two label spaces, and for a score that is not a number.
    """
    path = Path(path)
    if kind_of(path) == "json":
        _save_json(path, [*results])
    else:
        write_rows(path, (row for result in results for row in result.rows(min_score=min_score)))
    return path


def _save_json(path: Path, results: Sequence[Detections | Tube]) -> None:
    if not results:
        raise InputError("cannot write JSON without results: their classes are unknown", where=path)
    labels = results[0].labels
    if any(result.labels != labels for result in results):
        raise DataError(
            "the results have two label spaces", where=path, hint="save each in its own file"
        )
    tubes = [result for result in results if isinstance(result, Tube)]
    head = {"format": TUBES_FORMAT if tubes else DETECTIONS_FORMAT, "version": VERSION}
    if tubes:  # the video is known to `tubelet detect`, not to a tube
        head |= {"video": None, "every_ms": interval(tubes)}
    head["labels"] = labels.to_json()
    items = (result.to_json() for result in results)
    write_document(path, head, "tubes" if tubes else "keyframes", items)


def _arrays(result: Detections | Tube) -> tuple[Floats, Floats, Floats]:
    return result.boxes, result.person_scores, result.action_scores


def _rows(
    video: str, times_ms: Ints, ids: Ints, result: Detections | Tube, min_score: float
) -> Iterator[Row]:
    actions = result.action_scores
    places, columns = (index.tolist() for index in np.nonzero(actions >= min_score))
    for place, column in zip(places, columns, strict=True):
        yield Row(
            video=video,
            time_ms=int(times_ms[place]),
            box=tuple(result.boxes[place].tolist()),
            class_id=result.labels.ids[column],
            score=float(actions[place, column]),
            track_id=int(ids[place]),
        )


def _narrowed(
    labels: LabelSpace, actions: Floats, classes: str | Iterable[str] | None
) -> tuple[LabelSpace, Floats]:
    """The label space of `classes` and their columns of `actions`."""
    if classes is None:
        return labels, actions
    only = labels.only([classes] if isinstance(classes, str) else classes)
    return only, actions[:, [labels.ids.index(i) for i in only.ids]]


def _at_least(scores: Floats, least: float | None) -> Bools:
    return np.asarray(scores >= (-np.inf if least is None else least))


def _among(track_ids: Ints, persons: int | Iterable[int] | None) -> Bools:
    if persons is None:
        return np.ones(len(track_ids), np.bool_)
    return np.isin(track_ids, [persons] if isinstance(persons, int) else list(persons))


def _within(times_ms: Ints, start_ms: int | None, end_ms: int | None) -> Bools:
    first = -np.inf if start_ms is None else start_ms
    end = np.inf if end_ms is None else end_ms
    return np.asarray((times_ms >= first) & (times_ms < end))
