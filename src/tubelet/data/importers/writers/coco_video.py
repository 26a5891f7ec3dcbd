"""COCO JSON of a film's frames, as CVAT, FiftyOne, Datumaro and pycocotools read it.

A category is an action; a person who does several has a box for each, with one `track_id`. Who does
nothing that is known has the category `person`, which is no action.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options
from tubelet.data.importers.writers.people import Spot, frames_of, named, tracks_of
from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import InputError

_PERSON = "person"


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as COCO with videos, frames (counted from 0) and track ids.

    Needs the label space, the frame sizes, and the films or their rate (`options`). Raises
    InputError for people without an id, times that are no frame's, and a class called "person".
    """
    labels = named(options, "COCO")
    if _PERSON in labels.names:
        raise InputError(
            "a class is called 'person', which here is somebody who does nothing known",
            hint="rename the class in the label map",
            arguments=("labels",),
        )
    films = FilmClock(options or Options())
    nobody = max(labels.ids) + 1
    ids = dict(zip(labels.names, labels.ids, strict=True))
    videos: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (video, tracks) in enumerate(tracks_of(table, films, "COCO"), 1):
        videos.append({"id": number, "name": films.file_name(video)})
        width, height = films.size(video)
        frames: dict[int, int] = {}
        for frame in frames_of(tracks):
            frames[frame] = len(images) + 1
            images.append(
                {"id": frames[frame], "video_id": number, "frame_id": frame, "width": width,
                 "height": height, "file_name": f"{video}/{frame:06d}.jpg"}
            )  # fmt: skip
        for person, places in tracks.items():
            for place in places:
                for category in [ids[name] for name in place.actions] or [nobody]:
                    one = _annotation(place, (width, height)) | {"category_id": category}
                    one |= {"id": len(annotations) + 1, "image_id": frames[place.frame]}
                    own = {"track_id": person}
                    annotations.append(one | own | {"attributes": own})
    categories = [{"id": i, "name": name} for i, name in zip(labels.ids, labels.names, strict=True)]
    document = {
        "info": {"description": "tubelet"},
        "videos": videos,
        "images": images,
        "annotations": annotations,
        "categories": [*categories, {"id": nobody, "name": _PERSON}],
    }
    write_atomic(path, json.dumps(document))


def _annotation(place: Spot, size: tuple[int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = place.box
    width, height = (x2 - x1) * size[0], (y2 - y1) * size[1]
    bbox = [x1 * size[0], y1 * size[1], width, height]
    return {"bbox": bbox, "area": width * height, "iscrowd": 0}
