"""Following people between keyframes, several times a second.

The association is the one of `linking` (ByteTrack, Zhang et al., ECCV 2022; buffered IoU, Yang et
al., WACV 2023), told what can be known when frames lie close together.

Shape legend: N people of a frame, M live tracks, P moments at which a person was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from tubelet.boxes import area, iou_matrix
from tubelet.errors import DataError
from tubelet.people.camera import Grey, grey, shift
from tubelet.people.detectors.base import Image, PersonDetector
from tubelet.people.linking import LinkConfig, best_pairs, grown
from tubelet.types import Floats, Ints, People

Array = npt.NDArray[np.float64]
OnPeople = Callable[[int, People], None]

TRACK_RATE = 5.0
"""How often a second people are looked for by default."""
LEAST_SEEN, LEAST_SEEN_MS = 3, 400
"""Whoever is seen less often, or for less than this, is taken for a ghost when a film ends."""
_FEW_LOOKS = 10  # of a film in which everybody is believed
_NEW_VELOCITY_WEIGHT = 0.8  # of the latest displacement in the running velocity
_LONGEST_STRIDE_MS = 600  # a velocity is not trusted for longer than this
_NEW_LOOK_WEIGHT = 0.2  # of the latest picture in the running appearance
_LOOK_SHARE = 0.15  # of the look in how alike two are; the rest is where they are
_LEAST_LOOK = 0.6  # of one who has jumped
_SAME_LOOK = 0.8  # of one who was away
_PACE = 1.0  # box heights a second that somebody out of sight may have gone
_INSIDE = 0.75  # of a box in another: two boxes of one person,
_LOWER = 0.2  # unless one begins lower by this share of the taller: a child before an adult


@dataclass(slots=True, kw_only=True)
class _Followed:
    """A person being followed: where last seen, how fast the centre moves per ms, and the look."""

    id: int
    time_ms: int
    box: Array
    velocity: Array
    look: Array

    def at(self, time_ms: int) -> Array:
        """The last box moved on at constant velocity."""
        moved = self.velocity * min(time_ms - self.time_ms, _LONGEST_STRIDE_MS)
        return np.asarray(self.box + np.tile(moved, 2))

    def see(self, time_ms: int, box: Array, look: Array) -> None:
        latest = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / (time_ms - self.time_ms)
        keep = 1 - _NEW_VELOCITY_WEIGHT if self.velocity.any() else 0.0
        self.velocity = keep * self.velocity + (1 - keep) * latest
        self.look = (1 - _NEW_LOOK_WEIGHT) * self.look + _NEW_LOOK_WEIGHT * look
        self.time_ms, self.box = time_ms, box


class Tracker:
    """Gives the people of one film's frames their track ids, frame by frame.

    A person who has an id already (≥ 0) keeps it. Memory does not grow with the film, but for the
    ids that were given.
    """

    def __init__(self, config: LinkConfig | None = None) -> None:
        self.config = config or LinkConfig()
        self._tracks: dict[int, _Followed] = {}
        self._next_id = 1
        self._given: set[int] = set()
        self._grey: Grey | None = None

    def see(self, time_ms: int, people: People, image: Image) -> People:
        """The people of the frame `image` u8 `(H, W, 3)`, everyone with a track id; two boxes of
        one person become one. Times must ascend. Raises DataError where a detector's own id is
        there twice, or is one that was chosen here for somebody without."""
        self._check_given(people.track_ids[people.track_ids >= 0], time_ms)
        self._move_with_camera(image)
        oldest = time_ms - self.config.max_gap_ms
        self._tracks = {i: t for i, t in self._tracks.items() if t.time_ms >= oldest}
        people = people.select(np.argsort(-people.scores, kind="stable"))
        boxes, ids = people.boxes.astype(np.float64), people.track_ids.copy()
        looks = looks_of(image, people.boxes)
        self._associate(boxes, looks, people.scores, ids, time_ms)
        self._begin(boxes, ids)
        kept = np.flatnonzero(ids >= 0)
        for person in kept.tolist():
            self._see(int(ids[person]), time_ms, boxes[person], looks[person])
        return People.of(people.boxes[kept], people.scores[kept], ids[kept])

    def _move_with_camera(self, image: Image) -> None:
        latest = grey(image)
        if self._grey is not None:
            moved = np.tile(shift(self._grey, latest), 2)
            for track in self._tracks.values():
                track.box = track.box + moved
        self._grey = latest

    def _associate(
        self, boxes: Array, looks: Array, scores: Floats, ids: Ints, time_ms: int
    ) -> None:
        """Fill `ids` of the people who continue a track: the sure ones near where it should be now,
        then those who jumped, then the doubtful, then those who come back into sight."""
        taken = set(ids.tolist())
        tracks = [t for i, t in sorted(self._tracks.items()) if i not in taken]
        sure = scores >= self.config.sure
        rounds = ((self._near, sure), (self._far, sure), (self._near, ~sure), (self._back, sure))
        for alike_by, who in rounds:
            people = np.flatnonzero(who & (ids < 0))
            if not tracks or not len(people):
                continue
            look = np.stack([t.look for t in tracks]) @ looks[people].T
            alike = alike_by(tracks, boxes[people], look, time_ms)
            pairs = best_pairs(alike, 1e-6)
            for row, column in pairs:
                ids[people[column]] = tracks[row].id
            matched = {row for row, _ in pairs}
            tracks = [t for row, t in enumerate(tracks) if row not in matched]

    def _near(self, tracks: list[_Followed], boxes: Array, look: Array, time_ms: int) -> Array:
        """How alike tracks and boxes are `(M, N)` that overlap as predicted; 0 for all others."""
        iou = iou_matrix(np.stack([t.at(time_ms) for t in tracks]), boxes).astype(np.float64)
        return _alike(iou, look, iou >= self.config.iou)

    def _far(self, tracks: list[_Followed], boxes: Array, look: Array, time_ms: int) -> Array:
        """The same of those who jumped, or were predicted wrongly: enlarged boxes overlap."""
        wide = grown(boxes, self.config.expand)
        places = (np.stack([t.at(time_ms) for t in tracks]), np.stack([t.box for t in tracks]))
        iou = np.maximum(*(iou_matrix(grown(p, self.config.expand), wide) for p in places))
        return _alike(iou, look, (iou >= self.config.far_iou) & (look >= _LEAST_LOOK))

    def _back(self, tracks: list[_Followed], boxes: Array, look: Array, time_ms: int) -> Array:
        """The same of those who were out of sight: their looks, and how far they can have gone."""
        last = np.stack([t.box for t in tracks])
        away = np.array([time_ms - t.time_ms for t in tracks]) / 1000
        height = np.maximum.outer(last[:, 3] - last[:, 1], boxes[:, 3] - boxes[:, 1])
        gone = np.linalg.norm(_centres(last)[:, None] - _centres(boxes)[None], axis=2)
        near = gone <= height * (0.5 + _PACE * away[:, None])
        return np.where(near & (look >= _SAME_LOOK), look, 0.0)

    def _begin(self, boxes: Array, ids: Ints) -> None:
        """New ids for who continues no track, best first, but for second boxes of one person."""
        for person in np.flatnonzero(ids < 0).tolist():
            if _inside(boxes[person], boxes[ids >= 0]) >= _INSIDE:
                continue
            while self._next_id in self._given:
                self._next_id += 1
            ids[person] = self._next_id
            self._next_id += 1

    def _check_given(self, given: Ints, time_ms: int) -> None:
        values, counts = np.unique(given, return_counts=True)
        if (counts > 1).any():
            raise DataError(
                f"the person detector gives track id {values[counts > 1][0]} to two people",
                where=f"{time_ms} ms",
            )
        for track_id in values.tolist():
            if track_id < self._next_id and track_id not in self._given and track_id > 0:
                raise DataError(
                    f"the person detector's track id {track_id} is taken by somebody without one",
                    where=f"{time_ms} ms",
                    hint="give ids to everybody, or to nobody",
                )
        self._given.update(values.tolist())

    def _see(self, track_id: int, time_ms: int, box: Array, look: Array) -> None:
        if track_id in self._tracks:
            self._tracks[track_id].see(time_ms, box, look)
            return
        self._tracks[track_id] = _Followed(
            id=track_id, time_ms=time_ms, box=box, velocity=np.zeros(2), look=look
        )


def passers_by(seen: Iterable[tuple[int, People]]) -> set[int]:
    """The track ids of a finished film that were seen too seldom to be believed: fewer than
    `LEAST_SEEN` times, or fewer than make `LEAST_SEEN_MS` where looks lie further apart. Nobody of
    a film that was hardly looked at."""
    looks = [(time_ms, people.track_ids.tolist()) for time_ms, people in seen]
    if len(looks) < _FEW_LOOKS:
        return set()
    step_ms = max(1, int(np.median(np.diff([time_ms for time_ms, _ in looks]))))
    least = min(LEAST_SEEN, 1 + LEAST_SEEN_MS // step_ms)
    counts = Counter(chain.from_iterable(ids for _, ids in looks))
    return {track_id for track_id, count in counts.items() if count < least}


def looks_of(image: Image, boxes: Floats) -> Array:
    """What people look like `(N, 128)`: the square roots of the shares of 64 colours in the upper
    and the lower half of the middle of each box, so that a scalar product is 1 for equal looks."""
    height, width = image.shape[:2]
    looks = np.zeros((len(boxes), 2, 64))
    for look, (x1, y1, x2, y2) in zip(looks, boxes.astype(np.float64).tolist(), strict=True):
        margin = (x2 - x1) / 5
        left, right = _pixels(x1 + margin, x2 - margin, width)
        for half, (top, bottom) in zip(
            look, ((y1, (y1 + y2) / 2), ((y1 + y2) / 2, y2)), strict=True
        ):
            first, last = _pixels(top, bottom, height)
            step = max(1, (last - first) // 16), max(1, (right - left) // 12)
            colours = image[first : last : step[0], left : right : step[1]].reshape(-1, 3) >> 6
            counts = np.bincount(colours @ np.array([16, 4, 1]), minlength=64)
            half[:] = np.sqrt(counts / counts.sum() / 2)
    return looks.reshape(len(boxes), 128)


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """Whole pixels from `low` to `high` in shares of `size`, at least one."""
    first = min(max(0, int(low * size)), size - 1)
    return first, min(size, max(first + 1, round(high * size)))


def _alike(iou: Array, look: Array, allowed: npt.NDArray[np.bool_]) -> Array:
    """Place and look in one number, 0 where a pair is not allowed."""
    return np.where(allowed, (1 - _LOOK_SHARE) * iou + _LOOK_SHARE * look, 0.0)


def _centres(boxes: Array) -> Array:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)


def _inside(box: Array, others: Array) -> float:
    """The greatest share of a box or of another that the two have in common, among those whose tops
    are at one height."""
    if not len(others):
        return 0.0
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    least = np.minimum(area(box[None]), area(others))
    shares = sides.clip(min=0).prod(1) / np.maximum(least, 1e-12)
    tall = np.maximum(box[3] - box[1], others[:, 3] - others[:, 1])
    return float(np.where(np.abs(box[1] - others[:, 1]) < _LOWER * tall, shares, 0).max())


class Follower:
    """Detects and tracks `rate` times a second, and remembers the people of keyframes until they
    are asked for.

    `on_people` is called with each moment and its people, in order of time.
    """

    def __init__(
        self,
        detector: PersonDetector,
        tracker: Tracker,
        on_people: OnPeople | None = None,
        *,
        rate: float = TRACK_RATE,
    ) -> None:
        self.rate = rate
        self._detector, self._tracker, self._on_people = detector, tracker, on_people
        self._found: dict[int, People] = {}

    def look(self, time_ms: int, image: Image) -> None:
        """Find and follow the people of the frame displayed at `time_ms`; moments ascend."""
        people = self._tracker.see(time_ms, self._detector(image), image)
        if self._on_people is not None:
            self._on_people(time_ms, people)
        self._found[time_ms] = people

    def at(self, key_ms: int) -> People:
        """The people of a keyframe; those before it are forgotten."""
        people = self._found[key_ms]
        self._found = {ms: p for ms, p in self._found.items() if ms > key_ms}
        return people
