"""All keyframes of a video, stored compactly so that memory hardly grows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from tubelet.labels import LabelSpace
from tubelet.results import Detections
from tubelet.types import Key, People


class Recording:
    """The detections of one video in a few byte strings.

    A list of thousands of Detections would hold as many small arrays, and each of them pins a piece
    of the C heap that large frames and tensors came from: a ten-minute video then retains over
    a hundred megabytes unused. Here only five buffers grow.
    """

    def __init__(self, video: str, labels: LabelSpace) -> None:
        self._video, self._labels = video, labels
        self._times_ms: list[int] = []
        self._ends: list[int] = [0]
        self._boxes, self._scores = bytearray(), bytearray()
        self._actions, self._tracks = bytearray(), bytearray()
        self._forgotten = np.zeros(0, np.int64)
        self._seen_ms: list[int] = []
        self._seen_ends: list[int] = [0]
        self._seen_boxes, self._seen_scores, self._seen_tracks = (bytearray() for _ in range(3))

    def see(self, time_ms: int, people: People) -> None:
        """Add the people tracked at a moment, a keyframe or not."""
        self._seen_ms.append(time_ms)
        self._seen_ends.append(self._seen_ends[-1] + len(people))
        self._seen_boxes += people.boxes.tobytes()
        self._seen_scores += people.scores.tobytes()
        self._seen_tracks += people.track_ids.tobytes()

    def seen(self) -> Iterator[tuple[int, People]]:
        """The moments that `see` was told of."""
        people = People.split(
            np.frombuffer(bytes(self._seen_boxes), np.float32).reshape(-1, 4),
            np.frombuffer(bytes(self._seen_scores), np.float32),
            np.frombuffer(bytes(self._seen_tracks), np.int64),
            self._seen_ends,
        )
        for time_ms, there in zip(self._seen_ms, people, strict=True):
            yield time_ms, there.select(~np.isin(there.track_ids, self._forgotten))

    def append(self, moment: Detections) -> None:
        """Add one keyframe of the video."""
        self._times_ms.append(moment.key.time_ms)
        self._ends.append(self._ends[-1] + len(moment))
        self._boxes += moment.boxes.tobytes()
        self._scores += moment.person_scores.tobytes()
        self._actions += moment.action_scores.tobytes()
        self._tracks += moment.track_ids.tobytes()

    @property
    def people(self) -> int:
        """How many people were seen, over all keyframes."""
        return sum(map(len, self))

    def forget(self, track_ids: Iterable[int]) -> None:
        """Leave these tracks out from now on, on keyframes and between them."""
        self._forgotten = np.array(sorted(track_ids), np.int64)

    def __len__(self) -> int:
        return len(self._times_ms)

    def __iter__(self) -> Iterator[Detections]:
        boxes = np.frombuffer(bytes(self._boxes), np.float32).reshape(-1, 4)
        scores = np.frombuffer(bytes(self._scores), np.float32)
        actions = np.frombuffer(bytes(self._actions), np.float32).reshape(-1, len(self._labels))
        tracks = np.frombuffer(bytes(self._tracks), np.int64)
        for index, time_ms in enumerate(self._times_ms):
            own = slice(self._ends[index], self._ends[index + 1])
            moment = Detections(
                key=Key(video=self._video, time_ms=time_ms),
                boxes=boxes[own],
                person_scores=scores[own],
                action_scores=actions[own],
                track_ids=tracks[own],
                labels=self._labels,
            )
            yield moment.select(~np.isin(moment.track_ids, self._forgotten))
