"""AlphAction's COCO-style JSON, written: images of a movie and a second, boxes in pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options
from tubelet.data.untrusted.reading import write_atomic


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as AlphAction reads it; pixels need `options.size` or `options.videos`."""
    films = FilmClock(options or Options())
    images: dict[tuple[str, int], dict[str, Any]] = {}
    people: dict[tuple[Any, ...], dict[str, Any]] = {}
    for video, time_us, x1, y1, x2, y2, label, person, score, _ in table.frame.iter_rows():
        if (video, time_us) not in images:
            width, height = films.size(video)
            images[video, time_us] = {
                "id": len(images) + 1,
                "movie": video,
                "timestamp": time_us / 1e6 if time_us % 1_000_000 else time_us // 1_000_000,
                "width": width,
                "height": height,
            }
        if x1 is None:
            continue
        key = (video, time_us, x1, y1, x2, y2, person, score)
        if key not in people:
            image = images[video, time_us]
            w, h = image["width"], image["height"]
            one = {
                "id": len(people) + 1,
                "image_id": image["id"],
                "category_id": 1,
                "bbox": [x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h],
                "area": (x2 - x1) * w * (y2 - y1) * h,
                "iscrowd": 0,
                "action_ids": [],
                "person_id": person,
                "score": score,
            }
            people[key] = {k: v for k, v in one.items() if v is not None}
        if label is not None:
            people[key]["action_ids"].append(label)
    document = {
        "images": list(images.values()),
        "annotations": list(people.values()),
        "categories": [{"id": 1, "name": "person"}],
    }
    write_atomic(path, json.dumps(document))
