"""Label Studio's JSON of videos: regions that are key frames, drawn between them by the tool."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.glance import Glance
from tubelet.data.importers.records import (
    Options,
    as_float,
    as_int,
    as_mapping,
    as_sequence,
    field_of,
    read_json,
    scaled,
)
from tubelet.data.importers.tools.marks import Attribute, Export, Mark
from tubelet.data.importers.tools.people import PersonIds, is_person
from tubelet.data.importers.tools.tracks import Pose, filled
from tubelet.errors import DataError
from tubelet.film_ids import film_id

# What an upload is prefixed with.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_FULL = ("annotations", "completions")
_PROPOSED = "predictions"


def is_export(sample: Glance) -> bool:
    """Whether a JSON list is of Label Studio's tasks."""
    first = sample.json[0] if isinstance(sample.json, list) and sample.json else None
    if not isinstance(first, Mapping):
        return False
    tasks = any(k in first for k in (*_FULL, _PROPOSED)) and isinstance(first.get("data"), Mapping)
    return tasks or any(True for _ in _short(first))


def read(path: str | Path, options: Options | None = None) -> Export:
    """Regions at every frame that they are shown on: between two key frames, and from the last one
    to the film's end unless it is switched off; with `options.every_ms` at the nearest of each
    period.

    Frames are counted from 1, at `framesCount / duration` a second. Labels are the actions, or the
    choices made for a region; a region's text called `person` is the person's id, else each region
    is somebody. Of several annotations of a task the ground truth, else the first, is read; of a
    task without that field, as programs write it, its prediction.
    """
    export = Export(tool="Label Studio", source=path)
    films = FilmClock(options or Options(), export.ledger, "Label Studio")
    labels: dict[str, dict[str, Attribute]] = {}
    persons: dict[str, int] = {}
    people = PersonIds(export.ledger)
    for number, value in enumerate(as_sequence(read_json(path), path), 1):
        where = f"{path}, task {number}"
        task = as_mapping(value, where)
        video = _film(task, films, where)
        for region, names, said, owner in _regions(task, export, where):
            if owner is None:
                persons[video] = person = persons.get(video, -1) + 1
            else:
                person = people.number(video, owner) or 0
            pairs = [*(("label", name) for name in names), *said] if len(names) > 1 else said
            label = names[0] if len(names) == 1 else ""
            known = labels.setdefault(label, {})
            for name, chosen in pairs:
                before = known.get(name)
                values = (*(before.values if before else ()), chosen)
                known[name] = Attribute(
                    name=name, kind="several", values=tuple(dict.fromkeys(values))
                )
            export.marks += _marks(region, films, video, label, tuple(pairs), person, where)
    export.labels = {label: tuple(found.values()) for label, found in labels.items()}
    return export


def _film(task: Mapping[Any, Any], films: FilmClock, where: str) -> str:
    data = task.get("data")
    given = data if isinstance(data, Mapping) else task
    named = [v for k in ("video", "video_url", "url") if isinstance(v := given.get(k), str)]
    named += [v for v in given.values() if isinstance(v, str) and re.search(r"\.\w{2,5}$", v)]
    named += [v for v in (task.get("file_upload"),) if isinstance(v, str)]
    if not named:
        raise DataError("the task names no video", where=where, expected="data: {video: …}")
    whole = film_id(unquote(named[0]).partition("?d=")[2] or unquote(named[0]))
    last = whole.rpartition("/")[2]
    short = whole.removesuffix(last) + _UPLOAD.sub("", last, count=1)
    return whole if films.path(whole) is not None else short


def _regions(
    task: Mapping[Any, Any], export: Export, where: str
) -> Iterator[tuple[Mapping[Any, Any], list[str], list[tuple[str, str]], str | None]]:
    """(the value that has a sequence, its labels, what was chosen for it, the person's id) of each
    region."""
    annotations = next((task[k] for k in (*_FULL, _PROPOSED) if k in task), None)
    if _PROPOSED in task and not any(k in task for k in _FULL):
        export.ledger.note(
            "predictions that nobody has looked at are read: there are no annotations"
        )
    if annotations is None:
        yield from ((region, _texts(region.get("labels")), [], None) for region in _short(task))
        return
    listed = [as_mapping(a, where) for a in as_sequence(annotations, where)]
    done = [a for a in listed if not a.get("was_cancelled")]
    if not done:
        export.ledger.leave("tasks without a finished annotation", 0)
        return
    if len(done) > 1:
        export.ledger.note(
            f"{where}: {len(done)} annotations; the ground truth, else the first, is read"
        )
    chosen = next((a for a in done if a.get("ground_truth")), done[0])
    results = [as_mapping(r, where) for r in as_sequence(field_of(chosen, "result", where), where)]
    said: dict[str, list[tuple[str, str]]] = {}
    owners: dict[str, str] = {}
    for one in results:
        value = one.get("value")
        inner: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}
        if is_person(str(one.get("from_name", ""))) and (texts := _texts(inner.get("text"))):
            owners[str(one.get("id"))] = texts[0]
        for text in _texts(inner.get("choices")) if "sequence" not in inner else ():
            pair = (str(one.get("from_name", "choice")), text)
            said.setdefault(str(one.get("id")), []).append(pair)
    for one in results:
        value = as_mapping(one.get("value", {}), where)
        if "sequence" in value:
            names = _texts(value.get("labels"))
            key = str(one.get("id"))
            yield value, names, said.get(key, []), owners.get(key)
        elif "choices" not in value and str(one.get("id")) not in owners:
            kind = str(one.get("type", "a result"))[:40]
            export.ledger.leave(f"Label Studio's {kind}: no box over time")


def _short(task: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """The regions of the export JSON-MIN, whose fields are called as the user called them."""
    for value in task.values():
        for one in value if isinstance(value, list) else ():
            if isinstance(one, Mapping) and isinstance(one.get("sequence"), list):
                yield one


def _texts(value: Any) -> list[str]:
    return [str(v).strip() for v in value] if isinstance(value, list) else []


def _marks(
    region: Mapping[Any, Any],
    films: FilmClock,
    video: str,
    label: str,
    said: tuple[tuple[str, str], ...],
    person: int,
    where: str,
) -> Iterator[Mark]:
    count, rate = _counted(region, where)
    poses = []
    for key in as_sequence(region["sequence"], where):
        one = as_mapping(key, where)
        frame = as_int(field_of(one, "frame", where), where) - 1
        place = f"{where}, frame {frame + 1}"
        if frame < 0:
            raise DataError("Label Studio counts frames from 1", where=place)
        x, y, width, height = (
            as_float(field_of(one, k, place), place) for k in ("x", "y", "width", "height")
        )
        degrees = as_float(one.get("rotation") or 0, place)
        # Percent of the frame; only pixels can be turned.
        w, h = films.size(video) if degrees % 360 else (100, 100)
        box = (x * w / 100, y * h / 100, (x + width) * w / 100, (y + height) * h / 100)
        shown = one.get("enabled") is not False
        poses.append((Pose(frame=frame, box=box, where=place, shown=shown, degrees=degrees,
                           about_corner=True), (w, h)))  # fmt: skip
    sizes = {size for _, size in poses}
    if len(sizes) > 1:  # some are turned: all of them in pixels
        size = films.size(video)
        poses = [(_in_pixels(p, s, size), size) for p, s in poses]
    elif not poses:
        return
    size = poses[0][1]
    until = None if count is None else count - 1
    for pose in filled([p for p, _ in poses], films, video, dense=True, until=until, rate=rate):
        yield Mark(
            video=video,
            time_us=films.time_us(video, pose.frame, pose.where, rate=rate),
            box=scaled(pose.enclosing(), size),
            label=label,
            where=pose.where,
            attributes=said,
            person=person,
        )


def _in_pixels(pose: Pose, size: tuple[int, int], wanted: tuple[int, int]) -> Pose:
    x1, y1, x2, y2 = scaled(pose.box, size)
    w, h = wanted
    return Pose(frame=pose.frame, box=(x1 * w, y1 * h, x2 * w, y2 * h), where=pose.where,
                shown=pose.shown, degrees=pose.degrees, about_corner=True)  # fmt: skip


def _counted(region: Mapping[Any, Any], where: str) -> tuple[int | None, float | None]:
    """The film's frames as the tool counted them, and how many it counts a second."""
    count, duration = region.get("framesCount"), region.get("duration")
    frames = None if count is None else as_int(count, where)
    if frames is None or duration is None:
        return frames, None
    seconds = as_float(duration, where)
    return frames, round(frames / seconds, 3) if seconds > 0 and frames > 0 else None
