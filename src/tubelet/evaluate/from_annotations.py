"""From `Annotations` to what the evaluators read: plain columns, and tubes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.errors import DataError
from tubelet.evaluate.boxtable import I32, NO_LABEL, BoxTable
from tubelet.evaluate.video_map import ActionTube
from tubelet.labels import LabelSpace
from tubelet.results import Detections
from tubelet.types import Key

_TUBE = ["video", "person", "label"]


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


def moments_by_video(
    detections: Annotations, labels: LabelSpace
) -> Iterator[tuple[str, list[Detections]]]:
    """Each video, in order of name, with its rows as one record a keyframe, in order of time.

    Rows of one keyframe with the same box are one person, whose score is that of its best action;
    an action without a row scores 0, a row without a score 1. Rows without a box, or of a class
    outside `labels`, are left out. The columns are gathered video by video, so that the memory
    taken beside the table is that of its longest video.
    """
    frame = detections.frame.select("video", *BOX, "label", "score", time_ms=detections.time_ms)
    frame = frame.filter(pl.col("label").is_in(labels.ids) & pl.col("x1").is_not_null())
    names, codes = video_codes(frame["video"])
    order = np.argsort(codes, kind="stable")
    stops = np.cumsum(np.bincount(codes, minlength=len(names)))
    for code in sorted(range(len(names)), key=names.__getitem__):
        rows = frame[order[stops[code - 1] if code else 0 : stops[code]]]
        yield names[code], _moments(names[code], rows, labels)


def _moments(video: str, rows: pl.DataFrame, labels: LabelSpace) -> list[Detections]:
    """The records of one video's `rows`; the people of a keyframe are in order of their boxes."""
    times, boxes = rows["time_ms"].to_numpy(), rows.select(BOX).to_numpy()
    order = np.lexsort((*boxes.T[::-1], times))
    times, boxes = times[order], boxes[order]
    new_time = np.append(True, times[1:] != times[:-1])
    new_person = new_time | np.append(True, (boxes[1:] != boxes[:-1]).any(axis=1))
    people = np.flatnonzero(new_person)
    ids = np.array(labels.ids)
    by_id = np.argsort(ids)
    columns = by_id[np.searchsorted(ids[by_id], rows["label"].to_numpy()[order])]
    scores = np.zeros((len(people), len(labels)), np.float32)
    given = rows["score"].fill_null(1.0).to_numpy()[order]
    scores[np.cumsum(new_person) - 1, columns] = given
    starts = np.flatnonzero(new_time[people])
    found = []
    for first, stop in pairwise([*starts.tolist(), len(people)]):
        actions = scores[first:stop]
        found.append(
            Detections(
                key=Key(video=video, time_ms=int(times[people[first]])),
                boxes=boxes[people[first:stop]].astype(np.float32),
                person_scores=actions.max(axis=1),
                action_scores=actions,
                track_ids=np.full(stop - first, -1, np.int64),
                labels=labels,
            )
        )
    return found


def true_tubes(truth: Annotations) -> list[ActionTube]:
    """One tube for each action of each person of a video, over the keyframes at which it is
    labelled.

    Times are milliseconds. Raises DataError, with its row, for a labelled box without a person id
    and for a person with two boxes at one time.
    """
    rows = truth.frame.with_columns(truth.time_ms).with_row_index("at")
    rows = rows.filter(pl.col("label").is_not_null() & pl.col("x1").is_not_null())
    nameless = rows.filter(pl.col("person").is_null())
    if len(nameless):
        raise DataError(
            "missing person id: a labelled box cannot be assigned to a tube",
            where=truth.where(nameless["at"][0]),
            expected="person ids in the 8th column",
        )
    rows = rows.unique([*_TUBE, "time_ms", *BOX], maintain_order=True)
    twice = rows.filter(rows.select([*_TUBE, "time_ms"]).is_duplicated())
    if len(twice):
        raise DataError(
            "duplicate person: two boxes of one person at the same time",
            where=truth.where(twice["at"][1]),
            got=f"person {twice['person'][1]} of {twice['video'][1]!r}",
            hint="give each person of a video a unique id",
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
