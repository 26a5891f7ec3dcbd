"""The keyframes of sets whose labels are not public: which videos, and which seconds of each."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.tables import read_excluded, read_included
from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError, InputError
from tubelet.film_ids import film_id


def read_video_list(path: str | Path) -> list[str]:
    """Video ids of a split's list: `Basketball/v_Basketball_g01_c01.avi 1` names its video.

    Raises DataError if the list is empty.
    """
    found = []
    for line in read_text(path).splitlines():
        name = re.sub(r"\s+\d+$", "", line.strip())
        found += [film_id(name)] if name else []
    if not found:
        raise DataError("the list of videos is empty", where=path)
    return found


def read_keyframes(
    path: str | Path,
    *,
    included: str | Path | None = None,
    excluded: str | Path | None = None,
) -> Annotations:
    """A row without a box for every keyframe that a list names, each once, in the list's order.

    The list has `video,seconds` rows (the Kinetics part of AVA-Kinetics), or a video's id per line
    (`ava_test_v2.2.txt`), each with all seconds of `included` (AVA's included timestamps). The
    moments of `excluded` (`video,seconds`) are left out. Raises InputError where the seconds are
    stated twice or not at all, DataError naming the row for a file that cannot be read.
    """
    timed = "," in next((line for line in read_text(path).splitlines() if line.strip()), "")
    if timed == (included is not None):
        raise InputError(
            "the list has its own times, and included timestamps besides"
            if timed
            else "the list names videos, but not which of their seconds",
            where=path,
            expected="video,seconds rows, or a list of videos and their included timestamps",
            got="both" if timed else "video ids alone",
            arguments=("included",),
        )
    if included is None:
        table = read_excluded(path)  # the same two columns
    else:
        rows = list(product(dict.fromkeys(read_video_list(path)), read_included(included)))
        table = Annotations.of(
            video=[video for video, _ in rows], time_us=[t for _, t in rows], source=path
        )
    once = table.frame.unique(["video", "time_us"], keep="first", maintain_order=True)
    table = Annotations(frame=once, source=str(path))
    return table if excluded is None else table.without(read_excluded(excluded))
