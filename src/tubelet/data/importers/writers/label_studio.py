"""Label Studio's video tasks with predictions, and the labelling configuration they need.

A region is one person as long as the actions stay the same: an action is a choice of a region,
which Label Studio cannot change within it. The regions of one person share the text of `person`.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options
from tubelet.data.importers.writers.people import Spot, frames_of, named, tracks_of
from tubelet.data.untrusted.reading import write_atomic
from tubelet.labels import LabelSpace


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write one task a film, and beside it, as `.xml`, the labelling configuration of its project.

    Needs the label space, and the films or their frame rate (`options`). Raises InputError for
    people without an id and times that are no frame's.
    """
    labels = named(options, "Label Studio")
    films = FilmClock(options or Options())
    tasks = []
    for video, tracks in tracks_of(table, films, "Label Studio"):
        labelled = frames_of(tracks)
        count, rate = films.counted(video, labelled[-1] + 1 if labelled else 1)
        result = [
            one
            for person, places in tracks.items()
            for number, (run, off) in enumerate(_runs(places, labelled), 1)
            for one in _region(f"{person}_{number}", person, run, off, count, rate)
        ]
        prediction = {"model_version": "tubelet", "result": result}
        tasks.append({"data": {"video": films.file_name(video)}, "predictions": [prediction]})
    write_atomic(path, json.dumps(tasks))
    write_atomic(Path(path).with_suffix(".xml"), configuration(labels))


def configuration(labels: LabelSpace) -> str:
    """The labelling configuration: a box a person, its actions and its id."""
    view = ET.Element("View")
    ET.SubElement(view, "Video", name="video", value="$video")
    ET.SubElement(view, "VideoRectangle", name="box", toName="video")
    who = ET.SubElement(view, "Labels", name="who", toName="video")
    ET.SubElement(who, "Label", value="person")
    choice = "single" if labels.exclusive else "multiple"
    what = ET.SubElement(
        view, "Choices", name="action", toName="video", perRegion="true", choice=choice
    )
    for name in labels.names:
        ET.SubElement(what, "Choice", value=name)
    ET.SubElement(view, "TextArea", name="person", toName="video", perRegion="true")
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _runs(places: Sequence[Spot], labelled: Sequence[int]) -> Iterator[tuple[list[Spot], Spot]]:
    """Places without a break and with the same actions, and where they are switched off: at the
    next place, where the actions change, else a frame after the last."""
    order = {frame: index for index, frame in enumerate(labelled)}
    run: list[Spot] = []
    for place in places:
        broken = run and order[place.frame] - order[run[-1].frame] > 1
        if run and (broken or set(place.actions) != set(run[-1].actions)):
            yield run, run[-1]._replace(frame=run[-1].frame + 1) if broken else place
            run = []
        run.append(place)
    if run:
        yield run, run[-1]._replace(frame=run[-1].frame + 1)


def _region(
    name: str,
    person: int,
    run: Sequence[Spot],
    off: Spot,
    count: int,
    rate: float,
) -> Iterator[dict[str, Any]]:
    """Results of one region: its box, its choices and the person's id."""
    keys = [_key(place, True, rate) for place in run]
    keys += [_key(off, False, rate)] if off.frame < count else []
    value = {"framesCount": count, "duration": count / rate, "sequence": keys, "labels": ["person"]}
    common = {"id": name, "to_name": "video"}
    yield {**common, "from_name": "box", "type": "videorectangle", "value": value}
    if run[0].actions:
        chosen = {"choices": list(run[0].actions)}
        yield {**common, "from_name": "action", "type": "choices", "value": chosen}
    text = {"text": [str(person)]}
    yield {**common, "from_name": "person", "type": "textarea", "value": text}


def _key(place: Spot, enabled: bool, rate: float) -> dict[str, Any]:
    """A key frame: percent of the picture, frames counted from 1."""
    x1, y1, x2, y2 = (100 * side for side in place.box)
    return {
        "frame": place.frame + 1,
        "enabled": enabled,
        "rotation": 0,
        "x": x1,
        "y": y1,
        "width": x2 - x1,
        "height": y2 - y1,
        "time": place.frame / rate,
    }
