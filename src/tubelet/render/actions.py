"""Who does what from when to when, as a table: the same rows as CSV, Parquet or JSON.

One row is one action of one person; the columns are those of `ActionRow`, and described in
`schemas/actions.json`. CSV has a header and nothing else; Parquet keeps the schema's name and
version in its metadata, JSON in its head:

    {"format": "tubelet.actions", "version": 1, "rows": [{"video_id": …, "person_id": …, …}, …]}

The three files of one detection hold equal numbers: times in milliseconds, scores and boxes in four
decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_type_hints

import numpy as np

from tubelet.render.timeline import Spans, segments
from tubelet.result_files import TableForm, write_table
from tubelet.results import Tube


class ActionRow(NamedTuple):
    """One action of one person. `score` is the mean over the action's keyframes; the box is the one
    at the peak, which is where to look first."""

    video_id: str
    person_id: int
    action: str
    score: float
    start_s: float
    end_s: float
    action_id: int
    peak_score: float
    peak_s: float
    x1: float
    y1: float
    x2: float
    y2: float


ACTIONS = TableForm(
    format="tubelet.actions",
    version=1,
    columns=get_type_hints(ActionRow),
    decimals=dict.fromkeys(("start_s", "end_s", "peak_s"), 3),
)


def action_rows(
    tubes: Iterable[Tube], *, spans: Spans, every_ms: int, film_end_ms: int | None = None
) -> Iterator[ActionRow]:
    """The rows of all tubes, tube by tube in order of start; arguments as `segments` takes them."""
    for tube in tubes:
        for part in segments(tube, spans, every_ms, film_end_ms=film_end_ms):
            box = tube.boxes[int(np.searchsorted(tube.times_ms, part.peak_ms))]
            x1, y1, x2, y2 = (round(side, 4) for side in box.tolist())
            yield ActionRow(
                video_id=tube.video,
                person_id=part.track_id,
                action=tube.labels.names[part.column],
                score=round(part.score, 4),
                start_s=part.start_ms / 1000,
                end_s=part.end_ms / 1000,
                action_id=tube.labels.ids[part.column],
                peak_score=round(part.peak, 4),
                peak_s=part.peak_ms / 1000,
                x1=x1,
                y1=y1,
                x2=x2,
                y2=y2,
            )


def write_actions(
    path: str | Path,
    tubes: Iterable[Tube],
    *,
    spans: Spans,
    every_ms: int,
    film_end_ms: int | None = None,
) -> int:
    """Write the actions as CSV, Parquet or JSON, by the file's name; returns how many.

    Raises InputError for another kind of file.
    """
    rows = action_rows(tubes, spans=spans, every_ms=every_ms, film_end_ms=film_end_ms)
    return write_table(path, ACTIONS, rows)
