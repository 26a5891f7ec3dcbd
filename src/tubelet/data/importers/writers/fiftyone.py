"""FiftyOne's video labels: `labels/<film>.json` and a manifest that names the films."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options
from tubelet.data.importers.writers.people import Spot, named, tracks_of
from tubelet.data.untrusted.reading import write_atomic

_DATASET = "eta.core.datasets.labeled_datasets.LabeledVideoDataset"
_OBJECT = "eta.core.objects.DetectedObject"
_CATEGORY = "eta.core.data.CategoricalAttribute"


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write a folder that FiftyOne opens as a `FiftyOneVideoLabelsDataset`: a box a person and
    frame, labelled "person", with its track id as `index` and its actions as attributes.

    Needs the label space, and the films or their frame rate (`options`). Raises InputError for
    people without an id and times that are no frame's.
    """
    named(options, "FiftyOne")
    films, folder, index = FilmClock(options or Options()), Path(path), []
    for video, tracks in tracks_of(table, films, "FiftyOne"):
        frames: dict[int, list[dict[str, Any]]] = {}
        for person, places in tracks.items():
            for place in places:
                frames.setdefault(place.frame + 1, []).append(_object(person, place))
        stem = video.replace("/", "_")
        listed = {
            str(number): {"frame_number": number, "objects": {"objects": frames[number]}}
            for number in sorted(frames)
        }
        labels = folder / "labels" / f"{stem}.json"
        labels.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(labels, json.dumps({"frames": listed}))
        film = films.path(video)
        data = films.file_name(video) if film is None else os.path.relpath(film, folder)
        index.append({"data": Path(data).as_posix(), "labels": f"labels/{stem}.json"})
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"type": _DATASET, "description": "", "index": index}
    write_atomic(folder / "manifest.json", json.dumps(manifest, indent=1))


def _object(person: int, place: Spot) -> dict[str, Any]:
    x1, y1, x2, y2 = place.box
    attributes = [
        {"type": _CATEGORY, "name": "action" if n == 1 else f"action {n}", "value": action}
        for n, action in enumerate(place.actions, 1)
    ]
    return {
        "type": _OBJECT,
        "label": "person",
        "bounding_box": {"top_left": {"x": x1, "y": y1}, "bottom_right": {"x": x2, "y": y2}},
        "name": "people",
        "index": person,
        "attrs": {"attrs": attributes},
    }
