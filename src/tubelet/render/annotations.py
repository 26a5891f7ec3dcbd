"""What was found, as annotations to be corrected: each person a track, with the actions under way.

Shape legend: F frames of the film.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.render.timeline import Spans, segments
from tubelet.results import Tube
from tubelet.types import Ints


def annotations_of(
    tubes: Iterable[Tube],
    frames_ms: Ints,
    *,
    spans: Spans,
    every_ms: int,
    film_end_ms: int | None = None,
) -> Annotations:
    """A row for each action under way of each person on each keyframe, one without an action where
    none is. `frames_ms (F,)`: the film's stamps; a keyframe is the frame that is on show then, as
    labelling tools know nothing but frames."""
    video: list[str] = []
    times: list[int] = []
    boxes: list[list[float]] = []
    label: list[int | None] = []
    person: list[int] = []
    for tube in tubes:
        parts = segments(tube, spans, every_ms, film_end_ms=film_end_ms)
        shown = np.maximum(np.searchsorted(frames_ms, tube.times_ms, side="right") - 1, 0)
        for index, time_ms in enumerate(tube.times_ms.tolist()):
            if index and shown[index] == shown[index - 1]:
                continue  # two keyframes of one frame
            acts = sorted({p.column for p in parts if p.start_ms <= time_ms < p.end_ms})
            ids: list[int | None] = [tube.labels.ids[column] for column in acts]
            for one in ids or [None]:
                video.append(tube.video)
                times.append(int(frames_ms[shown[index]]) * 1000)
                boxes.append(tube.boxes[index].astype(float).clip(0, 1).tolist())
                label.append(one)
                person.append(tube.track_id)
    return Annotations.of(
        video=video,
        time_us=np.array(times, np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        label=label,
        person=person,
    )
