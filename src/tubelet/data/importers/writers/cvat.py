"""CVAT's XML, written: one project, a task per video, a track per person."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options
from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import InputError
from tubelet.labels import LabelSpace

_COORDINATES = ("xtl", "ytl", "xbr", "ybr")


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as a CVAT task of one video, or a project of several: a track per person, with
    attributes for its actions (one more than anybody needs, unless a person does exactly one), and
    switched off where the person is not seen.

    Needs the frame rate, the frame size and the label space (`options`). Raises InputError for a
    time that is not a frame's, and for people without an id, whom CVAT cannot track.
    """
    options = options or Options()
    labels = options.labels
    if labels is None:
        raise InputError("CVAT needs class names", hint="provide the label map")
    films = FilmClock(options)
    frames = _frames(table, films)
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    meta, several = ET.SubElement(root, "meta"), len(table.videos()) > 1
    project = ET.SubElement(meta, "project") if several else meta
    tasks = ET.SubElement(project, "tasks") if several else meta
    most = _most_actions(table) + (not labels.exclusive)
    first = 0
    for task_id, video in enumerate(table.videos(), 1):
        numbers = frames[video]
        task = ET.SubElement(tasks, "task")
        length = _length(films, video, numbers)
        if first == 0:
            _write_label(project if several else task, labels, most)
        width, height = films.size(video)
        for name, value in (("id", task_id), ("name", video), ("size", length)):
            ET.SubElement(task, name).text = str(value)
        original = ET.SubElement(task, "original_size")
        ET.SubElement(original, "width").text = str(width)
        ET.SubElement(original, "height").text = str(height)
        ET.SubElement(task, "source").text = films.file_name(video)
        own, size = table.of_video(video), (width, height)
        _write_tracks(root, own, task_id, first, numbers, size, labels, most, length)
        first += length
    write_atomic(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _frames(table: Annotations, films: FilmClock) -> dict[str, dict[int, int]]:
    """Frame number of every time, video by video."""
    frames: dict[str, dict[int, int]] = {}
    for index, (video, time_us) in enumerate(table.frame.select("video", "time_us").iter_rows()):
        known = frames.setdefault(video, {})
        if time_us not in known:
            known[time_us] = films.frame_at(video, time_us, table.where(index))
    return frames


def _length(films: FilmClock, video: str, numbers: dict[int, int]) -> int:
    """The film's frames, as far as is known."""
    if films.path(video) is not None:
        return len(films.times(video))
    return max(numbers.values()) + 1


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
    most: int,
    length: int,
) -> None:
    times = sorted(frames)
    following: dict[int, int | None] = dict(zip(times, [*times[1:], None], strict=True))
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
    ordered = sorted(boxes, key=lambda one: (one[0], one[1]))
    for index, (person, time_us, x1, y1, x2, y2) in enumerate(ordered):
        actions = boxes[person, time_us, x1, y1, x2, y2]
        if person not in tracks:
            tracks[person] = ET.SubElement(
                root, "track", id=str(person), label="person", task_id=str(task_id), source="auto"
            )
        pixels = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
        places = dict(zip(_COORDINATES, map(repr, pixels), strict=True))
        frame = str(first + frames[time_us])
        fixed = {"frame": frame, "keyframe": "1", "outside": "0", "occluded": "0", "z_order": "0"}
        box = ET.SubElement(tracks[person], "box", fixed | places)
        names = [labels.names[labels.column(action)] for action in actions]
        for number in range(1, most + 1):
            attribute = ET.SubElement(box, "attribute", name=f"action {number}")
            attribute.text = names[number - 1] if number <= len(names) else "None"
        after = following[time_us]
        later = ordered[index + 1] if index + 1 < len(ordered) else None
        if later is not None and later[0] == person and later[1] == after:
            continue
        # CVAT shows a track until it is switched off.
        if frames[time_us] + 1 < length:
            gone = {"frame": str(first + frames[time_us] + 1), "outside": "1"}
            ET.SubElement(tracks[person], "box", fixed | gone | places)
