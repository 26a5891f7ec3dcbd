"""The files that a detection writes for programs: AVA's CSV and `tubes.json`.

Shape legend: N people of a keyframe, K classes, L moments of a tube, P points of its path.

`tubes.json`, version 1:

    {"format": "tubelet.tubes", "version": 1,
     "video": {"name", "fps", "width", "height", "start_ms", "duration_ms"} or null,
     "every_ms": distance of the keyframes,
     "made_by": {"tubelet", "model", "people", "threshold", "every_ms", "person_threshold" or null,
                 "off" or null, "least_ms", "sensitive_threshold" or null, "classes": [] for all,
                 "notes"}, may be left out,
     "labels": {"ids", "names", "exclusive", "evaluated", "groups"},
     "tubes": [{"video", "track_id", "times_ms": [L], "boxes": [[x1, y1, x2, y2] × L] in [0, 1],
                "person_scores": [L], "action_scores": [[K] × L],
                "path_ms": [P], "path_boxes": [[x1, y1, x2, y2] × P]}, …]}

`path_ms` and `path_boxes` are there where people were tracked between keyframes; `times_ms` are
among them. A person's tube may have a "name". Scores and boxes carry six decimals. A reader refuses
a version it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.errors import DataError, InputError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.media.video import VideoInfo
from tubelet.render.made_by import MadeBy
from tubelet.result_files import write_csv, write_document
from tubelet.results import TUBES_FORMAT, VERSION, Detections, Tube


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMeta:
    """What a results file records about its video: the upright picture's size and the timeline."""

    name: str
    fps: float
    width: int
    height: int
    start_ms: int
    duration_ms: int

    @classmethod
    def of(cls, info: VideoInfo) -> VideoMeta:
        """What is worth keeping of a probed video; its name without the folder."""
        return cls(
            name=info.path.name,
            fps=round(info.fps, 6),
            width=info.width,
            height=info.height,
            start_ms=info.start_ms,
            duration_ms=info.duration_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TubesFile:
    """The content of one `tubes.json`; `video` is None where tubes saved themselves."""

    video: VideoMeta | None
    every_ms: int
    labels: LabelSpace
    tubes: tuple[Tube, ...]
    made_by: MadeBy | None = None


def write_detections(
    path: str | Path, detections: Iterable[Detections], *, min_score: float = 0.0
) -> int:
    """Write AVA's detection CSV in one pass over `detections`; returns the number of rows.

    A person gets one row for each action whose score is at least `min_score`; at the default 0
    that is every class, which is what a mean average precision needs.
    """
    return write_csv(path, (row for d in detections for row in d.rows(min_score=min_score)))


def write_tubes(
    path: str | Path,
    tubes: Sequence[Tube],
    *,
    video: VideoMeta | None,
    labels: LabelSpace,
    every_ms: int,
    made_by: MadeBy | None = None,
) -> None:
    """Write `tubes.json` (schema at this file's head), one tube per line.

    Raises DataError for a score that is not finite and for a tube of another label space.
    """
    head = {
        "format": TUBES_FORMAT,
        "version": VERSION,
        "video": None if video is None else asdict(video),
        "every_ms": every_ms,
        **({} if made_by is None else {"made_by": made_by.to_json()}),
        "labels": labels.to_json(),
    }
    for tube in tubes:
        if tube.labels.names != labels.names:
            where = f"{path}, track {tube.track_id}"
            raise DataError("a tube has a different label space than its file", where=where)
    write_document(path, head, "tubes", (tube.to_json() for tube in tubes))


def read_tubes(path: str | Path) -> TubesFile:
    """Read a `tubes.json` back into records.

    Raises InputError for a missing file, DataError for one that is not tubes.json, is of a later
    version, or is incomplete; the message names the file, and the tube where there is one.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("cannot read the tubes", where=path, got=error.strerror) from error
    except ValueError as error:
        raise DataError("invalid JSON", where=path, got=error) from error
    if not isinstance(data, dict) or data.get("format") != TUBES_FORMAT:
        expected = f"format {TUBES_FORMAT!r}"
        raise DataError("not a tubes.json file", where=path, expected=expected)
    if data.get("version") != VERSION:
        raise DataError(
            "unknown version of tubes.json",
            where=path,
            expected=VERSION,
            got=data.get("version"),
            hint="write it again with this tubelet, or upgrade tubelet",
        )
    where = str(path)
    try:
        labels = LabelSpace.from_json(data["labels"])
        video = None if data["video"] is None else VideoMeta(**data["video"])
        every_ms = int(data["every_ms"])
        made_by = MadeBy.from_json(data["made_by"]) if data.get("made_by") else None
        tubes = []
        for i, item in enumerate(data["tubes"]):
            where = f"{path}, tube {i}"
            tubes.append(_tube(item, labels))
    except (KeyError, TypeError, ValueError, ShapeError) as error:
        raise DataError(
            "missing field or wrong type in tubes.json",
            where=where,
            got=f"{type(error).__name__}: {error}",
        ) from error
    return TubesFile(
        video=video, every_ms=every_ms, labels=labels, tubes=tuple(tubes), made_by=made_by
    )


def _tube(item: Mapping[str, Any], labels: LabelSpace) -> Tube:
    times = np.asarray(item["times_ms"], np.int64)
    return Tube(
        video=str(item["video"]),
        track_id=int(item["track_id"]),
        times_ms=times,
        boxes=np.asarray(item["boxes"], np.float32),
        person_scores=np.asarray(item["person_scores"], np.float32),
        action_scores=np.asarray(item["action_scores"], np.float32).reshape(-1, len(labels)),
        labels=labels,
        path_ms=np.asarray(item.get("path_ms", []), np.int64),
        path_boxes=np.asarray(item.get("path_boxes", []), np.float32).reshape(-1, 4),
        name=str(item.get("name", "")),
    )
