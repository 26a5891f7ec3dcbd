"""The files of a detection that are only written when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.importers import Options
from tubelet.data.importers.writers import coco_video, cvat, fiftyone, label_studio, via
from tubelet.data.labelmaps import write_pbtxt
from tubelet.errors import InputError, did_you_mean
from tubelet.labels import LabelSpace
from tubelet.media.stamps import frame_times
from tubelet.render.actions import write_actions
from tubelet.render.annotations import annotations_of
from tubelet.render.frames import write_frames
from tubelet.render.timeline import Spans
from tubelet.result_files import write_rows
from tubelet.results import Detections, Tube


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found in one film, and what its files need to know besides. `fps`: of a folder of
    frames."""

    video: Path
    moments: Iterable[Detections]
    tubes: Sequence[Tube]
    spans: Spans
    every_ms: int
    film_end_ms: int
    labels: LabelSpace
    fps: float | None = None


Writer = Callable[[Path, Found], None]
Annotating = Callable[[Path, Annotations, Options], None]


def write_extras(
    folder: Path, found: Found, *, to: Sequence[str], every_frame: bool
) -> tuple[str, ...]:
    """Write one film's files of the kinds `to`, and everybody's boxes on every frame, to `folder`.

    Returns the kinds that have no file where nobody was found: labelling tools have none for a film
    without people. Errors as the files' writers'.
    """
    without = tuple(kind for kind in to if kind in _TOOLS and not found.tubes)
    for kind in to:
        if kind not in without:
            KINDS[kind](folder, found)
    if every_frame:
        _every_frame(folder / "frames.csv", found)
        if "parquet" in to:
            _every_frame(folder / "frames.parquet", found)
    return without


def check_kinds(to: Iterable[str]) -> None:
    """Raise InputError for a kind of file that there is not, naming the nearest."""
    for kind in to:
        if kind not in KINDS:
            raise InputError(
                f"unknown kind of file {kind!r}",
                expected=f"one of {', '.join(KINDS)}",
                hint=did_you_mean(kind, KINDS),
                arguments=("to",),
            )


def _actions(path: Path, found: Found) -> None:
    write_actions(
        path,
        found.tubes,
        spans=found.spans,
        every_ms=found.every_ms,
        film_end_ms=found.film_end_ms,
    )


def _every_frame(path: Path, found: Found) -> None:
    write_frames(
        path,
        found.tubes,
        frame_times(found.video, fps=found.fps),
        spans=found.spans,
        every_ms=found.every_ms,
        film_end_ms=found.film_end_ms,
    )


def _parquet(folder: Path, found: Found) -> None:
    _actions(folder / "actions.parquet", found)
    write_rows(folder / "detections.parquet", (r for m in found.moments for r in m.rows()))


def _json(folder: Path, found: Found) -> None:
    _actions(folder / "actions.json", found)


def _annotations(write: Annotating, name: str, folder: Path, found: Found) -> None:
    """The film's people as a labelling tool reads them, and the label map that reads them back."""
    table = annotations_of(
        found.tubes,
        frame_times(found.video, fps=found.fps),
        spans=found.spans,
        every_ms=found.every_ms,
        film_end_ms=found.film_end_ms,
    )
    options = Options(videos=found.video.parent, fps=found.fps, labels=found.labels)
    write(folder / name, table, options)
    write_pbtxt(folder / "labels.pbtxt", found.labels)


_TOOLS: Mapping[str, Writer] = {
    "cvat": partial(_annotations, cvat.write, "cvat.xml"),
    "via": partial(_annotations, via.write, "via.json"),
    "label-studio": partial(_annotations, label_studio.write, "label-studio.json"),
    "coco": partial(_annotations, coco_video.write, "coco.json"),
    "fiftyone": partial(_annotations, fiftyone.write, "fiftyone"),
}
KINDS: Mapping[str, Writer] = {"parquet": _parquet, "json": _json, **_TOOLS}
