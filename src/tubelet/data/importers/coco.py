"""AlphAction's COCO-style JSON: images of a movie and a second, boxes in pixels, `action_ids`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations, seconds_to_us
from tubelet.data.importers.records import (
    Imported,
    Options,
    Rows,
    as_box,
    as_float,
    as_int,
    as_mapping,
    as_sequence,
    as_text,
    field_of,
    read_json,
    scaled,
)
from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import DataError
from tubelet.labels import LabelSpace


def read(path: str | Path, options: Options | None = None) -> Imported:
    """Boxes are `[x, y, width, height]` in pixels of the image's `width` and `height`.

    `action_ids` are the labels. Where no annotation has them and there are several categories
    (plain COCO), the category is the action. Images without annotation are frames without people.
    """
    document = as_mapping(read_json(path), path)
    images: dict[Any, tuple[str, int, tuple[int, int]]] = {}
    for number, value in enumerate(as_sequence(field_of(document, "images", path), path), 1):
        where = f"{path}, image {number}"
        image = as_mapping(value, where)
        key = as_text(field_of(image, "id", where), where)
        if key in images:
            raise DataError(f"duplicate image id {key[:40]!r}", where=where)
        images[key] = (*_moment(image, where), _size(image, where))
    categories = _categories(document, path)
    annotations = as_sequence(field_of(document, "annotations", path), path)
    by_category = categories is not None and not any(
        isinstance(a, dict) and "action_ids" in a for a in annotations
    )
    rows, seen = Rows(), set()
    for number, value in enumerate(annotations, 1):
        where = f"{path}, annotation {number}"
        one = as_mapping(value, where)
        key = as_text(field_of(one, "image_id", where), where)
        if key not in images:
            raise DataError(f"unknown image id {key[:40]!r}", where=where)
        seen.add(key)
        video, time_us, size = images[key]
        x, y, width, height = as_box(field_of(one, "bbox", where), where)
        actions = [one.get("category_id")] if by_category else one.get("action_ids", ())
        person, score = one.get("person_id"), one.get("score")
        rows.add(
            video,
            time_us,
            scaled((x, y, x + width, y + height), size),
            labels=[as_int(a, where) for a in as_sequence(actions, where)],
            person=None if person is None else as_int(person, where),
            score=None if score is None else as_float(score, where),
        )
    for key, (video, time_us, _) in images.items():
        if key not in seen:
            rows.add(video, time_us, None)
    return Imported(rows.table(path), categories if by_category else None)


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as AlphAction reads it; pixels need `options.size` or `options.videos`."""
    options = options or Options()
    images: dict[tuple[str, int], dict[str, Any]] = {}
    people: dict[tuple[Any, ...], dict[str, Any]] = {}
    for video, time_us, x1, y1, x2, y2, label, person, score, _ in table.frame.iter_rows():
        if (video, time_us) not in images:
            width, height = options.size_of(video)
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


def _moment(image: Any, where: str) -> tuple[str, int]:
    """Movie and second; or, in plain COCO, `video/…seconds.jpg` of the file name."""
    if "movie" in image or "video" in image:
        video = as_text(image.get("movie", image.get("video")), where)
        seconds = as_float(field_of(image, "timestamp", where), where)
        return video, seconds_to_us(seconds, where)
    name = as_text(field_of(image, "file_name", where), where)
    match = re.fullmatch(r"(.+)[/_](\d{1,9}(?:\.\d{1,6})?)\.\w{1,5}", name)
    if match is None:
        raise DataError(
            "missing video or time of an image",
            where=where,
            expected="the fields movie and timestamp, or a file name video/0902.jpg",
            got=name[:80],
        )
    return match[1], seconds_to_us(float(match[2]), where)


def _size(image: Any, where: str) -> tuple[int, int]:
    width = as_int(field_of(image, "width", where), where)
    height = as_int(field_of(image, "height", where), where)
    if min(width, height) < 1:
        raise DataError("missing size of an image", where=where, got=(width, height))
    return width, height


def _categories(document: Any, path: str | Path) -> LabelSpace | None:
    """The categories as classes, if there are several."""
    listed = as_sequence(document.get("categories", ()), path)
    if len(listed) < 2:
        return None
    ids, names = [], []
    for number, value in enumerate(listed, 1):
        where = f"{path}, category {number}"
        one = as_mapping(value, where)
        ids.append(as_int(field_of(one, "id", where), where))
        names.append(as_text(field_of(one, "name", where), where))
    return LabelSpace(ids=tuple(ids), names=tuple(names))
