"""Where everybody is on every frame of a film: the same rows as CSV, Parquet or JSON.

Boxes are looked for on keyframes (or at a tracker's rate); between them a person moves in a
straight line, as in the overlay and on the page. `seen` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_type_hints

import numpy as np

from tubelet.render.timeline import Spans, segments
from tubelet.result_files import TableForm, write_table
from tubelet.results import Tube
from tubelet.types import Ints


class FrameRow(NamedTuple):
    """One person on one frame. `frame` counts from 0; `seen` is 1 where the box was found and 0
    where it lies between two that were; `actions`: the names of those under way, " | " between
    them."""

    video_id: str
    frame: int
    time_s: float
    person_id: int
    x1: float
    y1: float
    x2: float
    y2: float
    seen: int
    actions: str


FRAMES = TableForm(
    format="tubelet.frames", version=1, columns=get_type_hints(FrameRow), decimals={"time_s": 3}
)


def frame_rows(
    tubes: Iterable[Tube],
    frames_ms: Ints,
    *,
    spans: Spans,
    every_ms: int,
    film_end_ms: int | None = None,
) -> Iterator[FrameRow]:
    """The rows, person by person in order of time. `frames_ms (F,)`: the time of every frame of the
    film, ascending; a person has a row for each of them within its tube's life."""
    for tube in tubes:
        if not len(tube):
            continue
        parts = segments(tube, spans, every_ms, film_end_ms=film_end_ms)
        start, end = tube.life(every_ms, film_end_ms)
        first, stop = np.searchsorted(frames_ms, (start, end))
        shown_ms = frames_ms[first:stop]
        found_ms = tube.path_ms if len(tube.path_ms) else tube.times_ms
        seen = np.isin(shown_ms, _frames_on_show(found_ms, frames_ms)).tolist()
        for index, time_ms in enumerate(shown_ms.tolist()):
            box = tube.box_at(time_ms, every_ms, film_end_ms)
            if box is None:
                continue
            x1, y1, x2, y2 = (round(side, 4) for side in box.tolist())
            acts = sorted({p.column for p in parts if p.start_ms <= time_ms < p.end_ms})
            yield FrameRow(
                video_id=tube.video,
                frame=int(first) + index,
                time_s=time_ms / 1000,
                person_id=tube.track_id,
                x1=x1,
                y1=y1,
                x2=x2,
                y2=y2,
                seen=int(seen[index]),
                actions=" | ".join(tube.labels.names[column] for column in acts),
            )


def _frames_on_show(times_ms: Ints, frames_ms: Ints) -> Ints:
    """The stamp of the frame that is on show at each time."""
    on_show = np.searchsorted(frames_ms, times_ms, side="right") - 1
    return np.asarray(frames_ms[np.maximum(on_show, 0)], np.int64)


def write_frames(
    path: str | Path,
    tubes: Iterable[Tube],
    frames_ms: Ints,
    *,
    spans: Spans,
    every_ms: int,
    film_end_ms: int | None = None,
) -> int:
    """Write everybody's box on every frame as CSV, Parquet or JSON, by the file's name; returns the
    rows. Raises InputError for another kind of file."""
    rows = frame_rows(tubes, frames_ms, spans=spans, every_ms=every_ms, film_end_ms=film_end_ms)
    return write_table(path, FRAMES, rows)
