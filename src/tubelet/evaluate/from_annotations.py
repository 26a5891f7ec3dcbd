"""From the data room's `Annotations` to the plain columns that the evaluators read."""

from __future__ import annotations

import numpy as np
import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable


def box_table(annotations: Annotations) -> BoxTable:
    """The same rows as a BoxTable; null labels, boxes and scores keep their meaning.

    A number column without nulls is shared with the frame, not copied.
    """
    frame = annotations.frame
    coded = frame["video"].rle() if frame.height else None
    if coded is None:
        names, video = pl.Series("video", [], dtype=pl.String), np.zeros(0, np.int32)
    else:
        runs = coded.struct.field("value")
        names = runs.unique(maintain_order=True)
        codes = runs.replace_strict(names, np.arange(len(names), dtype=np.int32))
        video = np.repeat(codes.to_numpy(), coded.struct.field("len").to_numpy())
    scores = frame["score"]
    return BoxTable(
        videos=tuple(names.to_list()),
        video=video,
        time_us=frame["time_us"].to_numpy(),
        boxes=frame.select(pl.col(BOX).fill_null(float("nan"))).to_numpy(),
        labels=frame["label"].fill_null(NO_LABEL).to_numpy(),
        scores=scores.fill_null(1.0).to_numpy(),
        scored=scores.is_not_null().to_numpy() if scores.null_count() else None,
    )


def frame_list(annotations: Annotations) -> list[tuple[str, int]]:
    """(video, time in µs) of every row: the form in which `evaluate_frames` takes exclusions."""
    return list(annotations.frame.select("video", "time_us").iter_rows())
