"""Steps that several sources take: find the folder, the boxes, the classes and the films."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.films import Footage
from tubelet.data.importers import Imported
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace


def folder_of(root: Path, videos: str, name: str) -> Path:
    """`root / videos`. Raises InputError if there is no such folder."""
    folder = root / videos
    if not folder.is_dir():
        raise InputError(
            f"missing video folder of {name!r}",
            where=folder,
            hint="state the folder that holds the data",
            arguments=("root",),
        )
    return folder


def boxes_of(imported: Imported, path: Path) -> Annotations:
    """The imported people. Raises DataError for a list of whole clips."""
    if not isinstance(imported.table, Annotations):
        raise DataError("the file lists whole clips", where=path, expected="boxes of people")
    return imported.table


def classes_of(labels: LabelSpace | None, path: Path, exclusive: bool) -> LabelSpace:
    """The classes of a file. Raises InputError if neither it nor a label map has names."""
    if labels is None:
        raise InputError("missing class names in the file", where=path, hint="provide a label map")
    return replace(labels, exclusive=exclusive)


def whole_films(
    folder: Path, clips: ClipLabels, classes: LabelSpace | None, fps: float | None
) -> dict[str, Footage]:
    """The footage of each video that is there, under its class's folder if `classes` is given."""
    found = {}
    for video, labels in clips.labels_of_videos().items():
        ids = [video]
        if classes is not None and "/" not in video:
            # First, because an absent file is looked for under every extension.
            ids = [*(f"{classes.names[classes.column(i)]}/{video}" for i in labels), video]
        path = next((p for p in (find_video(folder, name) for name in ids) if p), None)
        if path is not None:
            found[video] = Footage(path, fps=fps)
    return found
