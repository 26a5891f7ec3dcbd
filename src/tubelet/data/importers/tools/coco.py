"""COCO-style JSON: AlphAction's (`action_ids` of a movie and a second), CocoVID, YouTube-VIS, and
the exports of CVAT, Roboflow and others, whose pictures are a film's frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tubelet.data.annotations import seconds_to_us
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import (
    Box,
    Options,
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
from tubelet.data.importers.tools.marks import Export, Mark, enclosing, turned
from tubelet.data.importers.tools.people import PersonIds
from tubelet.data.importers.tools.pictures import Pictures
from tubelet.data.importers.tools.spoken import add_attributes, spoken
from tubelet.errors import DataError
from tubelet.film_ids import film_id

_FRAME = ("frame_id", "frame_index", "frame_idx", "frame_number")
_PERSON = ("person_id", "track_id", "instance_id", "tracking_id")


class _Image(NamedTuple):
    video: str
    time_us: int
    size: tuple[int, int]


def read(path: str | Path, options: Options | None = None) -> Export:
    """Boxes are `[x, y, width, height]` in pixels of the image's `width` and `height`.

    `action_ids` are class ids without names; elsewhere the category, or its attributes, are the
    action. A category that is the supercategory of all others and has no box (Roboflow's root) is
    no class. Images without annotation are frames without people.
    """
    export = Export(tool="COCO", source=path)
    films = FilmClock(options or Options(), export.ledger, "COCO")
    document = as_mapping(read_json(path), path)
    annotations = _annotations(document, path)
    images = _images(document, films, export, path)
    names = _categories(document, annotations, export, path)
    numbered = any("action_ids" in one for one in annotations)
    people, seen = PersonIds(export.ledger), set()
    for number, one in enumerate(annotations, 1):
        where = f"{path}, annotation {number}"
        key = as_text(field_of(one, "image_id", where), where)
        if key not in images:
            raise DataError(f"unknown image id {key[:40]!r}", where=where)
        seen.add(key)
        box = _box(one, export, where)
        if box is None:
            continue
        image, score = images[key], one.get("score")
        ids = as_sequence(one.get("action_ids", ()), where) if numbered else None
        export.marks.append(
            Mark(
                video=image.video,
                time_us=image.time_us,
                box=scaled(box, image.size),
                label="" if numbered else names.get(_category(one, where), ""),
                where=where,
                attributes=spoken(one.get("attributes")),
                person=_person(one, people, image.video, where),
                score=None if score is None else as_float(score, where),
                ids=None if ids is None else tuple(as_int(a, where) for a in ids),
            )
        )
    export.empty = [(i.video, i.time_us) for key, i in images.items() if key not in seen]
    if not numbered:
        add_attributes(export)
    return export


def _annotations(document: Mapping[Any, Any], path: str | Path) -> list[Mapping[Any, Any]]:
    listed = as_sequence(field_of(document, "annotations", path), path)
    found = [as_mapping(one, f"{path}, annotation {i}") for i, one in enumerate(listed, 1)]
    if any("bboxes" in one and "image_id" not in one for one in found):
        return _tubes(found, path)
    return found


def _tubes(found: list[Mapping[Any, Any]], path: str | Path) -> list[Mapping[Any, Any]]:
    """YouTube-VIS: an annotation is an instance, with a box, or null, for each of its film's
    frames; here one for each."""
    flat: list[Mapping[Any, Any]] = []
    for number, one in enumerate(found, 1):
        where = f"{path}, annotation {number}"
        video = as_text(field_of(one, "video_id", where), where)
        for frame, box in enumerate(as_sequence(field_of(one, "bboxes", where), where)):
            if box is not None:
                flat.append({**one, "bbox": box, "image_id": f"{video}/{frame}",
                             "instance_id": one.get("id", number)})  # fmt: skip
    return flat


def _images(
    document: Mapping[Any, Any], films: FilmClock, export: Export, path: str | Path
) -> dict[str, _Image]:
    videos = _videos(document, path)
    listed = as_sequence(document.get("images", ()), path) or _frames_of(document, path)
    if not listed:
        field_of(document, "images", path)
        return {}
    records = [as_mapping(value, f"{path}, image {i}") for i, value in enumerate(listed, 1)]
    pictures = Pictures(
        [str(_picture_name(r)) for r in records if not (_timed(r) or _framed(r, videos))],
        films, path, "COCO file",
    )  # fmt: skip
    export.first = {pictures.first}
    found: dict[str, _Image] = {}
    for number, image in enumerate(records, 1):
        where = f"{path}, image {number}"
        key = as_text(field_of(image, "id", where), where)
        if key in found:
            raise DataError(f"duplicate image id {key[:40]!r}", where=where)
        if _timed(image):
            video = as_text(image.get("movie", image.get("video")), where)
            seconds = as_float(field_of(image, "timestamp", where), where)
            moment = video, seconds_to_us(seconds, where)
        elif (place := _framed(image, videos)) is not None:
            frame = as_int(place[1], where)
            moment = place[0], films.time_us(place[0], frame, where, sampled=True)
        else:
            name = as_text(field_of(image, "file_name", where), where)
            moment = pictures.moment(str(_picture_name(image)) or name, where)
        found[key] = _Image(*moment, _size(image, where))
    return found


def _timed(image: Mapping[Any, Any]) -> bool:
    return ("movie" in image or "video" in image) and "timestamp" in image


def _framed(image: Mapping[Any, Any], videos: Mapping[str, str]) -> tuple[str, Any] | None:
    """The film and the frame number, where the image states both (CocoVID)."""
    frame = next((image[k] for k in _FRAME if k in image), None)
    video = videos.get(str(image.get("video_id")))
    return None if frame is None or video is None else (video, frame)


def _picture_name(image: Mapping[Any, Any]) -> object:
    """Roboflow renames pictures, and keeps the name they had."""
    extra = image.get("extra")
    name = image.get("file_name", "")
    kept = extra.get("name") if isinstance(extra, Mapping) else None
    return kept if isinstance(kept, str) and ".rf." in str(name) else name


def _videos(document: Mapping[Any, Any], path: str | Path) -> dict[str, str]:
    found = {}
    for number, value in enumerate(as_sequence(document.get("videos", ()), path), 1):
        where = f"{path}, video {number}"
        one = as_mapping(value, where)
        files = one.get("file_names")
        first = files[0] if isinstance(files, list) and files else None
        name = one.get("name", one.get("file_name", str(first).rpartition("/")[0] if first else ""))
        found[as_text(field_of(one, "id", where), where)] = film_id(as_text(name, where))
    return found


def _frames_of(document: Mapping[Any, Any], path: str | Path) -> list[Mapping[Any, Any]]:
    """YouTube-VIS lists the frames with their film instead of as images."""
    found: list[Mapping[Any, Any]] = []
    for number, value in enumerate(as_sequence(document.get("videos", ()), path), 1):
        where = f"{path}, video {number}"
        one = as_mapping(value, where)
        for frame, _ in enumerate(as_sequence(one.get("file_names") or (), where)):
            key = as_text(field_of(one, "id", where), where)
            found.append({"id": f"{key}/{frame}", "video_id": key, "frame_id": frame,
                          "width": one.get("width"), "height": one.get("height")})  # fmt: skip
    return found


def _size(image: Mapping[Any, Any], where: str) -> tuple[int, int]:
    width = as_int(field_of(image, "width", where), where)
    height = as_int(field_of(image, "height", where), where)
    if min(width, height) < 1:
        raise DataError("missing size of an image", where=where, got=(width, height))
    return width, height


def _categories(
    document: Mapping[Any, Any],
    annotations: list[Mapping[Any, Any]],
    export: Export,
    path: str | Path,
) -> dict[str, str]:
    """Names by id; they become the export's labels."""
    used = {str(one.get("category_id")) for one in annotations}
    names: dict[str, str] = {}
    parents: dict[str, str] = {}
    for number, value in enumerate(as_sequence(document.get("categories", ()), path), 1):
        where = f"{path}, category {number}"
        one = as_mapping(value, where)
        number_id = str(as_int(field_of(one, "id", where), where))
        names[number_id] = as_text(field_of(one, "name", where), where).strip()
        parents[number_id] = str(one.get("supercategory") or "")
    for key, name in names.items():
        others = [parents[k] for k in names if k != key]
        if others and key not in used and all(parent == name for parent in others):
            export.ledger.leave(f"category {name!r}: the heading of all others, without boxes", 0)
        elif name in export.labels:
            raise DataError(f"duplicate category name {name!r}", where=path)
        else:
            export.labels[name], export.ids[name] = (), int(key)
    return names


def _category(one: Mapping[Any, Any], where: str) -> str:
    return str(as_int(one["category_id"], where)) if "category_id" in one else ""


def _box(one: Mapping[Any, Any], export: Export, where: str) -> Box | None:
    """The pixel box; that around a polygon where there is no other, or where it is turned."""
    polygons = one.get("segmentation")
    points = [
        (as_float(x, where), as_float(y, where))
        for polygon in (polygons if isinstance(polygons, list) else [])
        if isinstance(polygon, list)
        for x, y in zip(polygon[::2], polygon[1::2], strict=False)
    ]
    box = one.get("bbox")
    attributes = one.get("attributes")
    rotation = attributes.get("rotation", 0) if isinstance(attributes, Mapping) else 0
    if box:
        x, y, width, height = as_box(box, where)
        degrees = as_float(rotation, where)
        if degrees % 360:
            export.ledger.note("rotated boxes: the upright box around each")
            return turned((x, y, x + width, y + height), degrees)
        return x, y, x + width, y + height
    if points:
        export.ledger.note("polygons without a box: the box around each")
        return enclosing(points)
    if "bbox" not in one and not polygons:
        field_of(one, "bbox", where)
    export.ledger.leave("annotations without a box or a polygon")
    return None


def _person(one: Mapping[Any, Any], people: PersonIds, video: str, where: str) -> int | None:
    attributes = one.get("attributes")
    inner = attributes if isinstance(attributes, Mapping) else {}
    found = next(
        (v for part in (one, inner) for k in _PERSON if (v := part.get(k)) is not None), None
    )
    return None if found is None else people.number(video, as_text(_whole(found), where))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value
