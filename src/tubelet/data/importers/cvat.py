"""CVAT's XML (for video or for images), of a task or a whole project, read and written.

A project's file numbers the frames of its tasks one after the other: the second task's first frame
is the first task's size. Reading that as seconds puts every label after the end of its video, so
frames are counted from their own task's start here.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from tubelet.data.annotations import Annotations
from tubelet.data.importers.records import (
    Imported,
    Options,
    Rows,
    Vocabulary,
    as_float,
    as_int,
    frame_us,
    scaled,
)
from tubelet.data.untrusted.reading import read_bytes, write_atomic
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace

_NOTHING = {"", "none", "__undefined__"}
_COORDINATES = ("xtl", "ytl", "xbr", "ybr")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    video: str
    first_frame: int
    size: tuple[int, int] | None


def read(path: str | Path, options: Options | None = None) -> Imported:
    """Boxes of tracks and images, with the values of their select attributes as actions.

    Attributes whose choices are all numbers (a person's id) and the choice `None` are not actions.
    Where no label has such attributes, the labels themselves are the actions. The person id is the
    track's. A video is named by its task's source file without extension. Frame times need
    `options.fps` or `options.videos`: CVAT does not write the rate.
    """
    options = options or Options()
    root = _parse(path)
    tasks = _tasks(root, path)
    groups, by_label = _vocabulary(root)
    vocabulary = Vocabulary(groups, options.labels)
    actions = {group for group, _ in groups}
    rows = Rows()
    for task, frame, box, label, person, where in _boxes(root, tasks, path):
        fps = options.rate(task.video)
        if not options.keeps(frame, fps):
            continue
        if by_label:
            named = [label]
        else:
            values = [(a.get("name", ""), a.text or "") for a in box.findall("attribute")]
            named = [v.strip() for name, v in values if _group(name) in actions]
        chosen = [n for n in named if n.casefold() not in _NOTHING]
        coordinates = [as_float(box.get(name), where) for name in _COORDINATES]
        rows.add(
            task.video,
            frame_us(frame, fps, where),
            scaled(
                (coordinates[0], coordinates[1], coordinates[2], coordinates[3]),
                task.size or options.size_of(task.video),
            ),
            labels=dict.fromkeys(vocabulary.id(name, where) for name in chosen),
            person=person,
        )
    return Imported(rows.table(path), vocabulary.labels)


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as one CVAT project: a task per video, a track per person.

    Needs the frame rate, the frame size and the label space (`options`). Raises InputError for a
    time that is not a frame's, and for people without an id, whom CVAT cannot track.
    """
    options = options or Options()
    labels = options.labels
    if labels is None:
        raise InputError("CVAT needs class names", hint="provide the label map")
    frames = _frames(table, options)
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    project = ET.SubElement(ET.SubElement(root, "meta"), "project")
    tasks = ET.SubElement(project, "tasks")
    most = _most_actions(table)
    _write_label(project, labels, most)
    first = 0
    for task_id, video in enumerate(table.videos(), 1):
        numbers = frames[video]
        task = ET.SubElement(tasks, "task")
        length = max(numbers.values()) + 1
        width, height = options.size_of(video)
        for name, value in (("id", task_id), ("name", video), ("size", length)):
            ET.SubElement(task, name).text = str(value)
        original = ET.SubElement(task, "original_size")
        ET.SubElement(original, "width").text = str(width)
        ET.SubElement(original, "height").text = str(height)
        ET.SubElement(task, "source").text = video
        _write_tracks(root, table.of_video(video), task_id, first, numbers, (width, height), labels)
        first += length
    write_atomic(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _parse(path: str | Path) -> ET.Element:
    """The document's root; a document type, which could define entity bombs, is refused."""
    data = read_bytes(path)

    def refuse(name: str, *_rest: object) -> None:
        raise DataError("the XML declares a document type, which CVAT never does", where=path)

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(data, True)
        root = ET.fromstring(data)
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise DataError(
            "invalid XML", where=f"{path}, row {guard.ErrorLineNumber}", got=error
        ) from None
    if root.tag != "annotations":
        raise DataError("not a CVAT XML file", where=path, expected="<annotations>", got=root.tag)
    return root


def _tasks(root: ET.Element, path: str | Path) -> dict[str, _Task]:
    """Tasks by id, each with the number of its first frame in this file."""
    tasks: dict[str, _Task] = {}
    first = 0
    in_project = root.find("meta/project") is not None
    for element in root.iter("task"):
        where = f"{path}, task {len(tasks) + 1}"
        source = element.findtext("source") or element.findtext("name") or "video"
        width = element.findtext("original_size/width") or root.findtext("meta/original_size/width")
        height = element.findtext("original_size/height") or root.findtext(
            "meta/original_size/height"
        )
        size = (as_int(width, where), as_int(height, where)) if width and height else None
        if size is not None and min(size) < 1:
            raise DataError("missing frame size of the task", where=where, got=size)
        task_id = (element.findtext("id") or "").strip()
        tasks[task_id] = _Task(video=_stem(source), first_frame=first, size=size)
        if in_project:
            first += as_int(element.findtext("size") or 0, where)
    if not tasks:
        raise DataError("the CVAT file has no task", where=path, expected="<meta><task>")
    return tasks


def _stem(source: str) -> str:
    return re.sub(r"\.[A-Za-z0-9]{1,5}$", "", source.strip().replace("\\", "/").rsplit("/", 1)[-1])


def _boxes(
    root: ET.Element, tasks: dict[str, _Task], path: str | Path
) -> Iterator[tuple[_Task, int, ET.Element, str, int | None, str]]:
    """(task, frame in its video, box, label, person id, where) of every visible box."""
    only = next(iter(tasks.values())) if len(tasks) == 1 else None
    for number, track in enumerate(root.findall("track"), 1):
        where = f"{path}, track {track.get('id', number)}"
        task = tasks.get(track.get("task_id", ""), only)
        if task is None:
            raise DataError(
                "the track does not belong to any task", where=where, got=track.get("task_id")
            )
        person = as_int(track.get("id", number), where)
        for box in track.findall("box"):
            if box.get("outside") != "1":
                frame = as_int(box.get("frame"), where) - task.first_frame
                place = f"{where}, frame {box.get('frame')}"
                if frame < 0:
                    raise DataError("the frame is before its task's first", where=place)
                yield task, frame, box, track.get("label", ""), person, place
    for image in root.findall("image"):
        where = f"{path}, image {image.get('id')}"
        task = tasks.get(image.get("task_id", ""), only)
        if task is None:
            raise DataError(
                "the image does not belong to any task", where=where, got=image.get("task_id")
            )
        frame = as_int(image.get("id"), where) - task.first_frame
        size = (as_int(image.get("width"), where), as_int(image.get("height"), where))
        if frame < 0 or min(size) < 1:
            raise DataError("the image has no size, or is before its task's first", where=where)
        sized = _Task(video=task.video, first_frame=task.first_frame, size=size)
        for box in image.findall("box"):
            yield sized, frame, box, box.get("label", ""), None, where


def _group(attribute: str) -> str:
    """`Object Interaction 1`, `… 2` and `… 3` are one group: CVAT has no multiple choice."""
    return re.sub(r"\s*\d+$", "", attribute.strip())


def _vocabulary(root: ET.Element) -> tuple[list[tuple[str, list[str]]], bool]:
    """Groups of action names, and whether the labels themselves are the actions."""
    groups: dict[str, list[str]] = {}
    labels = []
    for label in root.findall("meta//label"):
        labels.append((label.findtext("name") or "").strip())
        for attribute in label.iter("attribute"):
            values = [v.strip() for v in (attribute.findtext("values") or "").splitlines()]
            names = [v for v in values if v.casefold() not in _NOTHING]
            choice = attribute.findtext("input_type") in ("select", "radio")
            if choice and names and not all(re.fullmatch(r"[\d.]+", n) for n in names):
                groups.setdefault(_group(attribute.findtext("name") or ""), []).extend(names)
    if groups:
        return list(groups.items()), False
    return [("", [name for name in labels if name])], True


def _frames(table: Annotations, options: Options) -> dict[str, dict[int, int]]:
    """Frame number of every time, video by video."""
    frames: dict[str, dict[int, int]] = {}
    for index, (video, time_us) in enumerate(table.frame.select("video", "time_us").iter_rows()):
        fps = options.rate(video)
        number = round(time_us / 1e6 * fps)
        if abs(number / fps * 1e6 - time_us) > 1000 or number < 0:
            raise InputError(
                "no frame has this time at this frame rate",
                where=table.where(index),
                got=f"{time_us / 1e6} s at {fps} frames per second",
            )
        frames.setdefault(video, {})[time_us] = number
    return frames


def _most_actions(table: Annotations) -> int:
    """The most actions that one person has at once: CVAT needs an attribute for each."""
    counts = table.frame.group_by(["video", "time_us", "x1", "y1", "x2", "y2", "person"]).len()
    return int(str(counts["len"].max() or 1))


def _write_label(project: ET.Element, labels: LabelSpace, most: int) -> None:
    label = ET.SubElement(ET.SubElement(project, "labels"), "label")
    ET.SubElement(label, "name").text = "person"
    ET.SubElement(label, "type").text = "rectangle"
    attributes = ET.SubElement(label, "attributes")
    for number in range(1, most + 1):
        attribute = ET.SubElement(attributes, "attribute")
        for name, value in (
            ("name", f"action {number}"),
            ("mutable", "True"),
            ("input_type", "select"),
            ("default_value", "None"),
            ("values", "\n".join(["None", *labels.names])),
        ):
            ET.SubElement(attribute, name).text = value


def _write_tracks(
    root: ET.Element,
    table: Annotations,
    task_id: int,
    first: int,
    frames: dict[int, int],
    size: tuple[int, int],
    labels: LabelSpace,
) -> None:
    boxes: dict[tuple[int, int, float, float, float, float], list[int]] = {}
    for index, (_, time_us, x1, y1, x2, y2, label, person, _, _) in enumerate(
        table.frame.iter_rows()
    ):
        if x1 is None:
            continue
        if person is None:
            raise InputError(
                "missing person id: CVAT tracks people by id", where=table.where(index)
            )
        actions = boxes.setdefault((person, time_us, x1, y1, x2, y2), [])
        if label is not None:
            actions.append(label)
    tracks: dict[int, ET.Element] = {}
    for (person, time_us, x1, y1, x2, y2), actions in boxes.items():
        if person not in tracks:
            tracks[person] = ET.SubElement(
                root, "track", id=str(person), label="person", task_id=str(task_id)
            )
        pixels = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
        places = dict(zip(_COORDINATES, map(repr, pixels), strict=True))
        frame = str(first + frames[time_us])
        fixed = {"frame": frame, "keyframe": "1", "outside": "0", "occluded": "0"}
        box = ET.SubElement(tracks[person], "box", fixed | places)
        for number, action in enumerate(actions, 1):
            attribute = ET.SubElement(box, "attribute", name=f"action {number}")
            attribute.text = labels.names[labels.column(action)]
