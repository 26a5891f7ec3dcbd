"""From annotations and detections to action tubes, for video mAP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.evaluate.video_map import ActionTube
from tubelet.types import DataError

_TUBE = ["video", "person", "label"]


def true_tubes(truth: Annotations) -> list[ActionTube]:
    """One tube for each action of each person of a video, over the moments at which it is labelled.

    Times are milliseconds. Raises DataError, with its row, for a labelled box without a person id
    and for a person who has two boxes at one moment.
    """
    rows = truth.frame.with_columns(truth.time_ms).with_row_index("at")
    rows = rows.filter(pl.col("label").is_not_null() & pl.col("x1").is_not_null())
    nameless = rows.filter(pl.col("person").is_null())
    if len(nameless):
        raise DataError(
            "a labelled box has no person id, so it belongs to no tube",
            where=truth.where(nameless["at"][0]),
            expected="an 8th column that numbers the people of a video",
        )
    rows = rows.unique([*_TUBE, "time_ms", *BOX], maintain_order=True)
    twice = rows.filter(rows.select([*_TUBE, "time_ms"]).is_duplicated())
    if len(twice):
        raise DataError(
            "a person stands in two places at one moment",
            where=truth.where(twice["at"][1]),
            got=f"person {twice['person'][1]} of {twice['video'][1]!r}",
            hint="number the people of a video, each of them once",
        )
    tubes = []
    for (video, _, label), own in rows.sort("time_ms").group_by(_TUBE, maintain_order=True):
        tubes.append(
            ActionTube(
                video=str(video),
                label=int(str(label)),
                times=own["time_ms"].to_numpy(),
                boxes=own.select(BOX).to_numpy(),
            )
        )
    return tubes


def unseen_share(found: Sequence[ActionTube], true: Sequence[ActionTube]) -> float:
    """Share of the truth's labelled moments at which no detected tube has a box; NaN without any.

    Tubes overlap only where both have a box at the very same moment, so truth on every frame and
    detections twice a second cannot match however good they are.
    """
    looked = {(tube.video, int(time)) for tube in found for time in tube.times}
    wanted = {(tube.video, int(time)) for tube in true for time in tube.times}
    return float(np.mean([moment not in looked for moment in wanted])) if wanted else float("nan")
