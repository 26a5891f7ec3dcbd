"""CVAT's XML (for video or for images), of a job, a task or a whole project.

A project's file numbers the frames of its tasks one after the other, and begins again in each of
its subsets: a task's frames follow those of the earlier tasks of the same subset, each of which
takes up `start_frame + step × size` numbers. Within a task the numbers are those of the film.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options, as_int, scaled
from tubelet.data.importers.tools.cvat_shapes import SHAPES, shape_of
from tubelet.data.importers.tools.marks import Attribute, Export, Mark, attribute_of
from tubelet.data.importers.tools.pictures import Pictures, picture_of
from tubelet.data.importers.tools.tracks import Pose, filled
from tubelet.data.untrusted.reading import parse_xml
from tubelet.errors import DataError
from tubelet.film_ids import EXTENSIONS, film_id


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """`first`: the number of the film's frame 0 in this file. `film`: whether the task is of a
    film, so that its images are the film's frames."""

    video: str
    first: int
    size: tuple[int, int] | None
    step: int = 1
    film: bool = True


def read(path: str | Path, options: Options | None = None) -> Export:
    """Boxes of tracks and images, what encloses turned boxes, polygons, masks and skeletons, and
    every attribute.

    The person id is the track's. A film is named by its task's source file without extension.
    """
    export = Export(tool="CVAT", source=path)
    films = FilmClock(options or Options(), export.ledger, "CVAT")
    root = parse_xml(path, "annotations", "CVAT")
    export.labels = _labels(root)
    tasks = _tasks(root, path, films)
    export.marks += _tracks(root, tasks, path, films)
    export.marks += _images(root, tasks, path, films)
    return export


def _tasks(root: ET.Element, path: str | Path, films: FilmClock) -> dict[str, _Task]:
    """Tasks by id."""
    tasks: dict[str, _Task] = {}
    taken: dict[str, int] = {}
    project = root.find("meta/project") is not None
    listed = [*root.iter("task")] or [*root.iter("job")]
    for element in listed:
        where = f"{path}, task {len(tasks) + 1}"
        subset = (element.findtext("subset") or "").strip()
        step = _step(element)
        source = element.findtext("source") or root.findtext("meta/source")
        named = None if element.tag == "job" else element.findtext("name")
        video = film_id(source or named or "") or films.nameless(path, "CVAT's export of a job")
        tasks[(element.findtext("id") or "").strip()] = _Task(
            video=video,
            first=taken.get(subset, 0) if project else 0,
            size=_size(element, where) or _size(root.find("meta"), where),
            step=step,
            film=bool(source) or _names_a_film(named),
        )
        films.ledger.subset(video, subset)
        start = as_int(element.findtext("start_frame") or 0, where)
        size = as_int(element.findtext("size") or 0, where)
        taken[subset] = taken.get(subset, 0) + start + step * size
    if not tasks:
        raise DataError(
            "the CVAT file has no task and no job", where=path, expected="<meta><task> or <job>"
        )
    return tasks


def _names_a_film(name: str | None) -> bool:
    return Path((name or "").strip()).suffix.lower() in EXTENSIONS


def _step(element: ET.Element) -> int:
    found = re.search(r"step\s*=\s*(\d{1,6})", element.findtext("frame_filter") or "")
    return max(1, int(found[1])) if found else 1


def _size(element: ET.Element | None, where: str) -> tuple[int, int] | None:
    if element is None:
        return None
    width = element.findtext("original_size/width")
    height = element.findtext("original_size/height")
    if not (width and height):
        return None
    size = as_int(width, where), as_int(height, where)
    if min(size) < 1:
        raise DataError("missing frame size of the task", where=where, got=size)
    return size


def _labels(root: ET.Element) -> dict[str, tuple[Attribute, ...]]:
    """Labels and their attributes. A label of a skeleton's joint has no boxes of its own."""
    labels: dict[str, tuple[Attribute, ...]] = {}
    for label in root.findall("meta//label"):
        name = (label.findtext("name") or "").strip()
        if not name or (label.findtext("parent") or "").strip():
            continue
        found = [_attribute(a) for a in label.iter("attribute")]
        labels[name] = (*labels.get(name, ()), *found)
    return labels


def _attribute(element: ET.Element) -> Attribute:
    name = element.findtext("name") or ""
    values = (element.findtext("values") or "").splitlines()
    kind = (element.findtext("input_type") or "").strip()
    if kind == "checkbox":
        return attribute_of(name, (), "switch")
    if kind == "number":  # its values are the least, the most and the step
        return attribute_of(name, (), "number")
    if kind == "text":
        return attribute_of(name, (), "text")
    choices = [v for v in (value.strip() for value in values) if v not in ("", "__undefined__")]
    return attribute_of(name, choices)


def _task_of(element: ET.Element, tasks: dict[str, _Task], where: str) -> _Task:
    only = next(iter(tasks.values())) if len(tasks) == 1 else None
    task = tasks.get(element.get("task_id", ""), only)
    if task is None:
        raise DataError(
            f"the {element.tag} does not belong to any task",
            where=where,
            got=element.get("task_id"),
        )
    return task


def _tracks(
    root: ET.Element, tasks: dict[str, _Task], path: str | Path, films: FilmClock
) -> Iterator[Mark]:
    for number, track in enumerate(root.findall("track"), 1):
        where = f"{path}, track {track.get('id', number)}"
        task = _task_of(track, tasks, where)
        fixed = _attributes(track)
        label = track.get("label", "").strip()
        person = as_int(track.get("id", number), where)
        poses: list[Pose] = []
        for element in track:
            place = f"{where}, frame {element.get('frame')}"
            shape = _shape(element, place, films, label)
            if shape is None:
                continue
            frame = as_int(element.get("frame"), where) - task.first
            if frame < 0:
                raise DataError("the frame is before its task's first", where=place)
            box, degrees = shape
            poses.append(
                Pose(
                    frame=frame,
                    box=box,
                    degrees=degrees,
                    where=place,
                    shown=element.get("outside") != "1",
                    attributes=(*fixed, *_attributes(element)),
                )
            )
        _tell_of_key_frames(poses, task, films)
        for pose in filled(poses, films, task.video, step=task.step):
            time_us = films.time_us(task.video, pose.frame, pose.where)
            size = task.size or films.size(task.video)
            yield Mark(
                video=task.video,
                time_us=time_us,
                box=scaled(pose.enclosing(), size),
                label=label,
                where=pose.where,
                attributes=pose.attributes,
                person=person,
            )


def _tell_of_key_frames(poses: list[Pose], task: _Task, films: FilmClock) -> None:
    """A track that says nothing of the frames between two of its boxes, as other programs than
    CVAT write them, or a task of which only some frames were labelled."""
    frames = sorted(pose.frame for pose in poses)
    if films.options.every_ms is None and any(
        two - one > task.step for one, two in pairwise(frames)
    ):
        films.ledger.note(
            "tracks hold key frames only, with frames between them that no box is written for: "
            "those are left out; `every` fills them in, as CVAT shows them"
        )


def _images(
    root: ET.Element, tasks: dict[str, _Task], path: str | Path, films: FilmClock
) -> Iterator[Mark]:
    images = root.findall("image")
    loose = [i for i in images if not _task_of(i, tasks, str(path)).film]
    named = [i.get("name", "") for i in loose if _is_frame(i.get("name", ""))]
    pictures = Pictures(named, films, path, "CVAT's export") if named else None
    for image in images:
        where = f"{path}, image {image.get('id')}"
        task = _task_of(image, tasks, where)
        size = (as_int(image.get("width"), where), as_int(image.get("height"), where))
        if min(size) < 1:
            raise DataError("missing size of the image", where=where, got=size)
        name = image.get("name", "")
        if pictures is not None and not task.film and _is_frame(name):
            video, time_us = pictures.moment(name, where)
        else:
            frame = as_int(image.get("id"), where) - task.first
            if frame < 0:
                raise DataError("the image is before its task's first", where=where)
            video, time_us = task.video, films.time_us(task.video, frame, where)
        films.ledger.subset(video, image.get("subset"))
        for element in image:
            label = element.get("label", "").strip()
            shape = _shape(element, where, films, label)
            if shape is not None:
                pose = Pose(frame=0, box=shape[0], degrees=shape[1], where=where)
                yield Mark(
                    video=video,
                    time_us=time_us,
                    box=scaled(pose.enclosing(), size),
                    label=label,
                    where=where,
                    attributes=_attributes(element),
                )


def _is_frame(name: str) -> bool:
    found = picture_of(name, seconds=False)
    return found is not None and found.video is not None


def _shape(
    element: ET.Element, where: str, films: FilmClock, label: str
) -> tuple[tuple[float, float, float, float], float] | None:
    """The element's box and its turn; None for what is no box, which the ledger names."""
    if element.tag not in SHAPES:
        if element.tag != "attribute":
            films.ledger.leave(f"CVAT's <{element.tag}> of {label!r}: has no box")
        return None
    found = shape_of(element, where)
    if found is None:
        films.ledger.leave(f"CVAT's <{element.tag}> of {label!r}: too few points for a box")
        return None
    if element.tag != "box":
        films.ledger.note(f"CVAT's <{element.tag}> of {label!r}: the box around it")
    elif found[1] % 360:
        films.ledger.note(f"rotated boxes of {label!r}: the upright box around each")
    return found


def _attributes(element: ET.Element) -> tuple[tuple[str, str], ...]:
    found = element.findall("attribute")
    return tuple((a.get("name", "").strip(), (a.text or "").strip()) for a in found)
