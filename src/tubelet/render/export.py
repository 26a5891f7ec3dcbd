"""What a detection leaves on the disk: AVA's CSV, a CSV for people, and `tubes.json`.

Shape legend: N people of a keyframe, K classes, L moments of a tube.

`tubes.json`, version 1:

    {"format": "tubelet.tubes", "version": 1,
     "video": {"name", "fps", "width", "height", "start_ms", "duration_ms"},
     "every_ms": distance of the keyframes,
     "labels": {"ids", "names", "exclusive", "evaluated", "groups"},
     "tubes": [{"video", "track_id", "times_ms": [L], "boxes": [[x1, y1, x2, y2] × L] in [0, 1],
                "person_scores": [L], "action_scores": [[K] × L]}, …]}

Scores and boxes carry six decimals. A reader refuses a version it does not know.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tubelet.files import atomic_text
from tubelet.labels import LabelSpace
from tubelet.media.video import VideoInfo
from tubelet.render.timeline import segments
from tubelet.types import DataError, Detections, InputError, ShapeError, Tube

ACTION_COLUMNS = (
    "video_id", "person_id", "action", "score", "start_s", "end_s",
    "action_id", "peak_score", "peak_s", "x1", "y1", "x2", "y2",
)  # fmt: skip
FORMAT, VERSION = "tubelet.tubes", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMeta:
    """What a results file remembers of its video: the upright picture's size and the timeline."""

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
    """The content of one `tubes.json`."""

    video: VideoMeta
    every_ms: int
    labels: LabelSpace
    tubes: tuple[Tube, ...]


def seconds(time_ms: int) -> str:
    """Milliseconds as AVA's seconds: `902` for whole ones, else three decimals (`902.040`)."""
    return str(time_ms // 1000) if time_ms % 1000 == 0 else f"{time_ms / 1000:.3f}"


class DetectionWriter:
    """AVA's detection CSV, row by row: `video_id,timestamp,x1,y1,x2,y2,action_id,score`.

    A context manager for results that arrive as an iterator: memory does not grow with the film,
    and the file takes its name only when the block ends without an error. There is no header, as
    in AVA's own files. A person gets one row for each action whose score is at least `min_score`;
    at the default 0 that is every class, which is what a mean average precision needs.
    """

    def __init__(self, path: str | Path, *, min_score: float = 0.0) -> None:
        self.path, self.min_score, self.rows = Path(path), min_score, 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        file = self._stack.enter_context(atomic_text(self.path))
        self._csv = csv.writer(file, lineterminator="\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, detections: Detections) -> None:
        """Append one keyframe. Raises DataError for a score that is not finite."""
        key, ids = detections.key, detections.labels.ids
        _check_finite(detections.action_scores, str(key))
        timestamp = seconds(key.time_ms)
        people, columns = np.nonzero(detections.action_scores >= self.min_score)
        for person, column in zip(people.tolist(), columns.tolist(), strict=True):
            box = [f"{side:.6f}" for side in detections.boxes[person].tolist()]
            score = f"{detections.action_scores[person, column]:.6g}"
            self._csv.writerow([key.video, timestamp, *box, ids[column], score])
        self.rows += len(people)


def write_detections(
    path: str | Path, detections: Iterable[Detections], *, min_score: float = 0.0
) -> int:
    """Write AVA's detection CSV in one pass over `detections`; returns the number of rows."""
    with DetectionWriter(path, min_score=min_score) as writer:
        for keyframe in detections:
            writer.write(keyframe)
    return writer.rows


def write_actions(
    path: str | Path, tubes: Iterable[Tube], *, threshold: float, every_ms: int
) -> int:
    """Write the CSV for people: one row an action of a person, from–to; returns the rows.

    Columns are `ACTION_COLUMNS`, with a header. `score` is the mean over the action's keyframes;
    the box is the one at the peak, which is where to look first.
    """
    rows = 0
    with atomic_text(Path(path)) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(ACTION_COLUMNS)
        for tube in tubes:
            for part in segments(tube, threshold, every_ms):
                box = tube.boxes[int(np.searchsorted(tube.times_ms, part.peak_ms))]
                table.writerow(
                    [
                        tube.video, part.track_id, tube.labels.names[part.column],
                        f"{part.score:.4f}", f"{part.start_ms / 1000:.3f}",
                        f"{part.end_ms / 1000:.3f}", tube.labels.ids[part.column],
                        f"{part.peak:.4f}", f"{part.peak_ms / 1000:.3f}",
                        *(f"{side:.4f}" for side in box.tolist()),
                    ]
                )  # fmt: skip
                rows += 1
    return rows


def write_tubes(
    path: str | Path,
    tubes: Sequence[Tube],
    *,
    video: VideoMeta,
    labels: LabelSpace,
    every_ms: int,
) -> None:
    """Write `tubes.json` (schema at this file's head), one tube a line.

    Raises DataError for a score that is not finite and for a tube of another label space.
    """
    head = {
        "format": FORMAT,
        "version": VERSION,
        "video": asdict(video),
        "every_ms": every_ms,
        "labels": labels.to_json(),
    }
    with atomic_text(Path(path)) as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "tubes": [')
        for i, tube in enumerate(tubes):
            where = f"{path}, track {tube.track_id}"
            if tube.labels.names != labels.names:
                raise DataError("a tube speaks of other actions than its file", where=where)
            _check_finite(tube.action_scores, where)
            _check_finite(tube.person_scores, where)
            file.write((",\n" if i else "\n") + json.dumps(_plain(tube), ensure_ascii=False))
        file.write("\n]}\n")


def read_tubes(path: str | Path) -> TubesFile:
    """Read a `tubes.json` back into records.

    Raises InputError for a missing file, DataError for one that is not tubes.json, is of a later
    version, or lacks something; the message names the file, and the tube where there is one.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("cannot read the tubes", where=path, got=error.strerror) from error
    except ValueError as error:
        raise DataError("this is not a JSON file", where=path, got=error) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError("this JSON file holds no tubes", where=path, expected=f"format {FORMAT!r}")
    if data.get("version") != VERSION:
        raise DataError(
            "tubes.json of an unknown version",
            where=path,
            expected=VERSION,
            got=data.get("version"),
            hint="write it again with this tubelet, or upgrade tubelet",
        )
    where = str(path)
    try:
        labels = LabelSpace.from_json(data["labels"])
        video = VideoMeta(**data["video"])
        every_ms = int(data["every_ms"])
        tubes = []
        for i, item in enumerate(data["tubes"]):
            where = f"{path}, tube {i}"
            tubes.append(_tube(item, labels))
    except (KeyError, TypeError, ValueError, ShapeError) as error:
        raise DataError(
            "tubes.json lacks something or holds a wrong type",
            where=where,
            got=f"{type(error).__name__}: {error}",
        ) from error
    return TubesFile(video=video, every_ms=every_ms, labels=labels, tubes=tuple(tubes))


def _plain(tube: Tube) -> dict[str, Any]:
    return {
        "video": tube.video,
        "track_id": tube.track_id,
        "times_ms": tube.times_ms.tolist(),
        "boxes": _rounded(tube.boxes),
        "person_scores": _rounded(tube.person_scores),
        "action_scores": _rounded(tube.action_scores),
    }


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
    )


def _rounded(values: npt.NDArray[np.floating]) -> Any:
    # Through float64: a float32 rounded to six decimals prints as 0.10000000149.
    return np.round(np.asarray(values, np.float64), 6).tolist()


def _check_finite(values: npt.NDArray[np.floating], where: str) -> None:
    if not np.isfinite(values).all():
        raise DataError(
            "a score is not a number",
            where=where,
            expected="a probability",
            got=values[~np.isfinite(values)][0],
            hint="check the model's weights and its input",
        )
