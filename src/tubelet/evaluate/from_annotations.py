"""From the data room's `Annotations` to the plain columns that the evaluators read."""

from __future__ import annotations

import numpy as np
import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.evaluate.boxtable import I32, NO_LABEL, BoxTable


def box_table(annotations: Annotations) -> BoxTable:
    """The same rows as a BoxTable; null labels, boxes and scores keep their meaning.

    A number column without nulls is shared with the frame, not copied.
    """
    frame = annotations.frame
    names, video = video_codes(frame["video"])
    scores = frame["score"]
    return BoxTable(
        videos=tuple(names),
        video=video,
        time_us=frame["time_us"].to_numpy(),
        boxes=frame.select(pl.col(BOX).fill_null(float("nan"))).to_numpy(),
        labels=frame["label"].fill_null(NO_LABEL).to_numpy(),
        scores=scores.fill_null(1.0).to_numpy(),
        scored=scores.is_not_null().to_numpy() if scores.null_count() else None,
    )


def video_codes(video: pl.Series) -> tuple[list[str], I32]:
    """Distinct names in order of appearance, and the code of each row `(R,)`."""
    if not len(video):
        return [], np.zeros(0, np.int32)
    # A file usually keeps the rows of a video together: runs are far fewer than rows.
    changes = (video.slice(1) != video.slice(0, len(video) - 1)).arg_true().to_numpy()
    starts = np.concatenate([[0], changes + 1])
    places: dict[str, int] = {}
    codes = [places.setdefault(name, len(places)) for name in video.gather(starts.tolist())]
    sizes = np.diff(np.append(starts, len(video)))
    return list(places), np.repeat(np.array(codes, np.int32), sizes)


def frame_list(annotations: Annotations) -> list[tuple[str, int]]:
    """(video, time in µs) of every row: the form in which `evaluate_frames` takes exclusions."""
    return list(annotations.frame.select("video", "time_us").iter_rows())
