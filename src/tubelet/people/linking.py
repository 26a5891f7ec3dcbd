"""Linking people of successive keyframes into tracks.

The association follows ByteTrack (Zhang et al., ECCV 2022): confident detections choose their
tracks first, doubtful ones match the rest. Keyframes may lie a second apart, so two steps are
added: boxes are carried forward at constant velocity, and whoever still finds no partner is
compared once more with enlarged boxes (buffered IoU, Yang et al., WACV 2023).

Shape legend: N people of a keyframe, M live tracks, K classes, L moments of a tube.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tubelet.boxes import iou_matrix
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.results import Detections, Tube
from tubelet.types import Floats, Ints, Key, People

Array = npt.NDArray[np.float64]
_NEW_VELOCITY_WEIGHT = 0.6  # of the latest displacement in the running velocity


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """What counts as the same person.

    `iou`: overlap with the predicted box that suffices. `far_iou`: the same after both boxes have
    grown by `expand` of their size on every side. `sure`: person score from which a detection
    chooses first. `max_gap_ms`: a track unseen for longer has ended.
    """

    iou: float = 0.3
    far_iou: float = 0.1
    expand: float = 0.5
    sure: float = 0.5
    max_gap_ms: int = 3000

    def __post_init__(self) -> None:
        if not (0 < self.iou <= 1 and 0 < self.far_iou <= 1 and 0 <= self.sure <= 1):
            raise ConfigError("iou, far_iou and sure of linking lie in (0, 1]", got=self)
        if self.expand < 0 or self.max_gap_ms < 0:
            raise ConfigError("expand and max_gap_ms of linking cannot be negative", got=self)


@dataclass(slots=True, kw_only=True)
class _Track:
    """A person still being followed: where last seen, and how fast the centre moves per ms."""

    id: int
    time_ms: int
    box: Array
    velocity: Array

    def at(self, time_ms: int) -> Array:
        """The last box moved on at constant velocity."""
        moved = self.velocity * (time_ms - self.time_ms)
        return np.asarray(self.box + np.concatenate([moved, moved]))

    def see(self, time_ms: int, box: Array) -> None:
        moved = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2
        latest = moved / (time_ms - self.time_ms)
        first = not self.velocity.any()
        keep = 0.0 if first else 1 - _NEW_VELOCITY_WEIGHT
        self.velocity = keep * self.velocity + (1 - keep) * latest
        self.time_ms, self.box = time_ms, box


class Linker:
    """Gives the people of one video their track ids, keyframe by keyframe.

    It remembers only people seen within `max_gap_ms` (and the ids that were handed to it).
    Ids count from `first_id`. A detection that already has a track id (≥ 0) keeps it; when only
    some have one, choose `first_id` above them.
    """

    def __init__(self, config: LinkConfig | None = None, *, first_id: int = 1) -> None:
        self.config = config or LinkConfig()
        self._first_id = self._next_id = first_id
        self._given: set[int] = set()
        self._tracks: dict[int, _Track] = {}
        self._last: Key | None = None

    def update(self, detections: Detections) -> Detections:
        """The same detections, in the same order, every one with a track id.

        Keyframes must come in ascending time; raises InputError otherwise, or for another video,
        and DataError when a given id is duplicated in a keyframe or belongs to another person.
        """
        return replace(detections, track_ids=self.identify(detections))

    def identify(self, detections: Detections) -> Ints:
        """The track ids `(N,)` of `update`, without a new record."""
        key = detections.key
        self._check_order(key)
        ids = detections.track_ids.copy()
        self._check_given(ids[ids >= 0], key)
        oldest = key.time_ms - self.config.max_gap_ms
        self._tracks = {i: t for i, t in self._tracks.items() if t.time_ms >= oldest}
        boxes = detections.boxes.astype(np.float64)
        free = _canonical_order(detections)
        free = free[ids[free] < 0]
        taken = set(ids.tolist())
        tracks = [t for i, t in sorted(self._tracks.items()) if i not in taken]
        self._associate(tracks, boxes, detections.person_scores, free, ids, key.time_ms)
        for person in free[ids[free] < 0]:
            while self._next_id in self._given:
                self._next_id += 1
            ids[person] = self._next_id
            self._next_id += 1
        for track_id, box in zip(ids.tolist(), boxes, strict=True):
            if track_id in self._tracks:
                self._tracks[track_id].see(key.time_ms, box)
            else:
                self._tracks[track_id] = _Track(
                    id=track_id, time_ms=key.time_ms, box=box, velocity=np.zeros(2)
                )
        return ids

    def _associate(
        self,
        tracks: list[_Track],
        boxes: Array,
        scores: Floats,
        free: Ints,
        ids: Ints,
        time_ms: int,
    ) -> None:
        """Fill `ids` of the people in `free` that continue one of `tracks`."""
        sure = scores[free] >= self.config.sure
        rounds = ((free[sure], False), (free[sure], True), (free[~sure], False))
        for people, far in rounds:
            people = people[ids[people] < 0]
            if not tracks or not len(people):
                continue
            alike = self._similarity(tracks, boxes[people], time_ms, far=far)
            floor = self.config.far_iou if far else self.config.iou
            pairs = best_pairs(alike, floor)
            for row, column in pairs:
                ids[people[column]] = tracks[row].id
            matched = {row for row, _ in pairs}
            tracks = [t for row, t in enumerate(tracks) if row not in matched]

    def _similarity(self, tracks: list[_Track], boxes: Array, time_ms: int, *, far: bool) -> Array:
        """How alike tracks and boxes are `(M, N)`; `far` forgives a jump or a wrong prediction."""
        predicted = np.stack([t.at(time_ms) for t in tracks])
        if not far:
            return iou_matrix(predicted, boxes).astype(np.float64)
        wide = grown(boxes, self.config.expand)
        last = np.stack([t.box for t in tracks])
        either = [iou_matrix(grown(b, self.config.expand), wide) for b in (predicted, last)]
        return np.asarray(np.maximum(*either), np.float64)

    def _check_order(self, key: Key) -> None:
        last, self._last = self._last, key
        if last is not None and key.video != last.video:
            raise InputError(
                "a linker can only follow one video", expected=last.video, got=key.video,
                hint="create one Linker per video, or use link()",
            )  # fmt: skip
        if last is not None and key.time_ms <= last.time_ms:
            raise InputError(
                "keyframes must be in ascending time", where=key.video,
                expected=f"after {last.time_ms} ms", got=f"{key.time_ms} ms",
            )  # fmt: skip

    def _check_given(self, given: Ints, key: Key) -> None:
        if not len(given):
            return
        values, counts = np.unique(given, return_counts=True)
        if (counts > 1).any():
            raise DataError(
                f"track id {values[counts > 1][0]} is duplicated in one keyframe",
                where=key,
            )
        for track_id in values.tolist():
            if self._first_id <= track_id < self._next_id and track_id not in self._given:
                raise DataError(
                    f"track id {track_id} is already taken by a person given without an id",
                    where=key,
                    hint=f"choose first_id above every id that is given, here {track_id + 1}",
                )
        self._given.update(values.tolist())


def link(
    detections: Iterable[Detections],
    *,
    iou: float = 0.3,
    max_gap_ms: int = 3000,
    smooth_ms: int = 0,
    config: LinkConfig | None = None,
    seen: Iterable[tuple[int, People]] = (),
) -> list[Tube]:
    """The tracks of all the detections, sorted by video and track id.

    Every detection ends in exactly one tube. `iou` and `max_gap_ms` as in LinkConfig (`config`
    replaces both). Action scores of a tube are averaged over a centred window of `smooth_ms`;
    0 leaves them. `seen`: the tracked people of moments, as `ActionDetector.detect` gives them to
    `on_people`; they become the paths of the tubes. Raises InputError for two Detections of one
    keyframe or of two label spaces, and for `seen` of several videos.
    """
    config = config or LinkConfig(iou=iou, max_gap_ms=max_gap_ms)
    if smooth_ms < 0:
        raise ConfigError("smooth_ms cannot be negative", got=smooth_ms)
    videos: dict[str, list[Detections]] = defaultdict(list)
    for moment in detections:
        videos[moment.key.video].append(moment)
    tubes: list[Tube] = []
    for _, moments in sorted(videos.items()):
        moments.sort(key=lambda m: m.key)
        if any(m.labels != moments[0].labels for m in moments):
            raise InputError("one video's detections have two label spaces", where=moments[0].key)
        given = max((int(m.track_ids.max()) for m in moments if len(m)), default=-1)
        linker = Linker(config, first_id=max(1, given + 1))
        tubes += _tubes([(m, linker.identify(m)) for m in moments], smooth_ms)
    paths = _paths(seen)
    if paths and len(videos) > 1:
        raise InputError(
            "people seen between keyframes are of one video", expected="one video", got=len(videos),
            hint="link each video by itself",
        )  # fmt: skip
    return [_with_path(tube, paths.get(tube.track_id, {})) for tube in tubes] if paths else tubes


def _paths(seen: Iterable[tuple[int, People]]) -> dict[int, dict[int, Floats]]:
    """Of each track id, its box `(4,)` at each moment."""
    paths: dict[int, dict[int, Floats]] = defaultdict(dict)
    for time_ms, people in seen:
        for track_id, box in zip(people.track_ids.tolist(), people.boxes, strict=True):
            paths[track_id][time_ms] = box
    return paths


def _with_path(tube: Tube, path: Mapping[int, Floats]) -> Tube:
    """The tube with everywhere its person was seen."""
    points = {**path, **dict(zip(tube.times_ms.tolist(), tube.boxes, strict=True))}
    times = sorted(points)
    return replace(
        tube, path_ms=np.array(times, np.int64), path_boxes=np.stack([points[t] for t in times])
    )


def smooth(times_ms: Ints, scores: Floats, window_ms: int) -> Floats:
    """Moving average of `scores (L, K)` over moments at most `window_ms` / 2 away."""
    first = np.searchsorted(times_ms, times_ms - window_ms / 2, side="left")
    stop = np.searchsorted(times_ms, times_ms + window_ms / 2, side="right")
    sums = np.cumsum(np.vstack([np.zeros(scores.shape[1]), scores]), axis=0, dtype=np.float64)
    return ((sums[stop] - sums[first]) / (stop - first)[:, None]).astype(np.float32)


def _tubes(moments: list[tuple[Detections, Ints]], smooth_ms: int) -> list[Tube]:
    places: dict[int, list[tuple[Detections, int]]] = defaultdict(list)
    for moment, ids in moments:
        for person, track_id in enumerate(ids.tolist()):
            places[track_id].append((moment, person))
    tubes = []
    for track_id, seen in sorted(places.items()):
        times = np.array([m.key.time_ms for m, _ in seen], np.int64)
        actions = np.stack([m.action_scores[i] for m, i in seen])
        tubes.append(
            Tube(
                video=seen[0][0].key.video,
                track_id=track_id,
                times_ms=times,
                boxes=np.stack([m.boxes[i] for m, i in seen]),
                person_scores=np.array([m.person_scores[i] for m, i in seen], np.float32),
                action_scores=smooth(times, actions, smooth_ms) if smooth_ms else actions,
                labels=seen[0][0].labels,
            )
        )
    return tubes


def _canonical_order(detections: Detections) -> Ints:
    """An order that depends on the people alone, so that ties do not depend on the file's order."""
    if len(detections) < 2:
        return np.arange(len(detections))
    columns = (
        *detections.action_scores.T[::-1],
        detections.person_scores,
        *detections.boxes.T[::-1],
    )
    return np.lexsort(columns).astype(np.int64)


def best_pairs(alike: Array, floor: float) -> list[tuple[int, int]]:
    """(row, column) pairs of the assignment with the greatest total, each at least `floor`."""
    allowed = np.where(alike >= floor, alike, 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(r, c) for r, c in pairs if allowed[r, c] > 0]


def grown(boxes: Array, share: float) -> Array:
    """Boxes `(N, 4)` that have grown by `share` of their size on every side."""
    margin = np.tile((boxes[:, 2:] - boxes[:, :2]) * share, 2) * np.array([-1, -1, 1, 1])
    return np.asarray(boxes + margin)
