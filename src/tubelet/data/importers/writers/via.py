"""VIA 3 project JSON, written: a view per video, a region per person and moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Options
from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import InputError

_RECTANGLE, _VIDEO = 2, 4
_TEXT, _CHECKBOX = 1, 2


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as a VIA 3 project; needs the label space and the frame size (`options`)."""
    options = options or Options()
    labels = options.labels
    if labels is None:
        raise InputError("VIA needs class names", hint="provide the label map")
    films = FilmClock(options)
    numbers = {video: str(i) for i, video in enumerate(table.videos(), 1)}
    regions: dict[tuple[Any, ...], list[str]] = {}
    for video, time_us, x1, y1, x2, y2, label, person, _, _ in table.frame.iter_rows():
        if x1 is not None:
            chosen = regions.setdefault((video, time_us, x1, y1, x2, y2, person), [])
            if label is not None:
                chosen.append(str(labels.column(label)))
    metadata = {}
    for index, ((video, time_us, x1, y1, x2, y2, person), chosen) in enumerate(regions.items()):
        w, h = films.size(video)
        values = {"1": ",".join(chosen)} | ({} if person is None else {"2": str(person)})
        metadata[f"{numbers[video]}_{index:08d}"] = {
            "vid": numbers[video],
            "flg": 0,
            "z": [films.player_seconds(video, time_us)],
            "xy": [_RECTANGLE, x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h],
            "av": values,
        }
    anchor = {"anchor_id": "FILE1_Z1_XY1", "desc": "", "default_option_id": ""}
    names = {str(i): name for i, name in enumerate(labels.names)}
    document = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "tubelet",
            "data_format_version": "3.1.1",
            "vid_list": list(numbers.values()),
        },
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": {
            "1": {"aname": "action", "type": _CHECKBOX, "options": names, **anchor},
            "2": {"aname": "person", "type": _TEXT, "options": {}, **anchor},
        },
        "file": {
            n: {"fid": n, "fname": films.file_name(video), "type": _VIDEO, "loc": 1, "src": ""}
            for video, n in numbers.items()
        },
        "view": {n: {"fid_list": [n]} for n in numbers.values()},
        "metadata": metadata,
    }
    write_atomic(path, json.dumps(document))
