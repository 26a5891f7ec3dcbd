"""VIA 3 (VGG's video annotator) project JSON, read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations, seconds_to_us
from tubelet.data.importers.records import (
    Imported,
    Options,
    Rows,
    Vocabulary,
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
from tubelet.errors import DataError, InputError

_RECTANGLE = 2
_TEXT, _CHECKBOX = 1, 2


def read(path: str | Path, options: Options | None = None) -> Imported:
    """Rectangles at one moment, with the chosen options of their attributes as actions.

    Attributes with options are actions; a text attribute named like a person's or a track's id is
    the person id. Regions of other shapes and pure time segments are not people and are left out.
    Boxes are in pixels: needs `options.size` or `options.videos`.
    """
    options = options or Options()
    document = as_mapping(read_json(path), path)
    videos = _videos(document, path)
    attributes = {
        str(key): as_mapping(value, f"{path}, attribute {key}")
        for key, value in as_mapping(field_of(document, "attribute", path), path).items()
    }
    choices = {key: _choices(a, f"{path}, attribute {key}") for key, a in attributes.items()}
    groups = [(str(attributes[k].get("aname", k)), list(c.values())) for k, c in choices.items()]
    vocabulary = Vocabulary(groups, options.labels)
    person_key = next((k for k, a in attributes.items() if not choices[k] and _is_person(a)), None)
    rows = Rows()
    for key, value in as_mapping(field_of(document, "metadata", path), path).items():
        where = f"{path}, metadata {str(key)[:40]}"
        region = as_mapping(value, where)
        shape = as_sequence(field_of(region, "xy", where), where)
        moments = as_sequence(field_of(region, "z", where), where)
        if len(shape) != 5 or shape[0] != _RECTANGLE or len(moments) > 1:
            continue
        view = as_text(field_of(region, "vid", where), where)
        if view not in videos:
            raise DataError("the region does not belong to any video", where=where, got=view[:40])
        x, y, width, height = as_box(list(shape[1:]), where)
        values = as_mapping(region.get("av", {}), where)
        names = [n for k, c in choices.items() for n in _chosen(values.get(k, ""), c, where)]
        person = str(values.get(person_key, "")).strip() if person_key is not None else ""
        rows.add(
            videos[view],
            seconds_to_us(as_float(moments[0], where) if moments else 0.0, where),
            scaled((x, y, x + width, y + height), options.size_of(videos[view])),
            labels=[vocabulary.id(name, where) for name in names],
            person=as_int(person, where) if person else None,
        )
    return Imported(rows.table(path), vocabulary.labels)


def write(path: str | Path, table: Annotations, options: Options | None = None) -> None:
    """Write `table` as a VIA 3 project; needs the label space and the frame size (`options`)."""
    options = options or Options()
    labels = options.labels
    if labels is None:
        raise InputError("VIA needs class names", hint="provide the label map")
    numbers = {video: str(i) for i, video in enumerate(table.videos(), 1)}
    regions: dict[tuple[Any, ...], list[str]] = {}
    for video, time_us, x1, y1, x2, y2, label, person, _, _ in table.frame.iter_rows():
        if x1 is not None:
            chosen = regions.setdefault((video, time_us, x1, y1, x2, y2, person), [])
            if label is not None:
                chosen.append(str(labels.column(label)))
    metadata = {}
    for index, ((video, time_us, x1, y1, x2, y2, person), chosen) in enumerate(regions.items()):
        w, h = options.size_of(video)
        values = {"1": ",".join(chosen)} | ({} if person is None else {"2": str(person)})
        metadata[f"{numbers[video]}_{index:08d}"] = {
            "vid": numbers[video],
            "flg": 0,
            "z": [time_us / 1e6],
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
            n: {"fid": n, "fname": video, "type": 4, "loc": 1, "src": ""}
            for video, n in numbers.items()
        },
        "view": {n: {"fid_list": [n]} for n in numbers.values()},
        "metadata": metadata,
    }
    write_atomic(path, json.dumps(document))


def _videos(document: Mapping[Any, Any], path: str | Path) -> dict[str, str]:
    """View id → the name of its first file, without extension."""
    files = as_mapping(field_of(document, "file", path), path)
    videos = {}
    for key, value in as_mapping(field_of(document, "view", path), path).items():
        where = f"{path}, view {key}"
        listed = as_sequence(field_of(as_mapping(value, where), "fid_list", where), where)
        if not listed:
            continue
        file = as_mapping(field_of(files, as_text(listed[0], where), where), where)
        name = as_text(field_of(file, "fname", where), where).replace("\\", "/")
        videos[str(key)] = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name.rsplit("/", 1)[-1])
    return videos


def _choices(attribute: Mapping[Any, Any], where: str) -> dict[str, str]:
    options = as_mapping(attribute.get("options", {}), where)
    return {
        str(k): as_text(v, where).strip("* ") for k, v in options.items() if v not in ("", None)
    }


def _chosen(value: Any, choices: Mapping[str, str], where: str) -> list[str]:
    """The names of a choice: one option id, or several with commas between them."""
    keys = [key for key in str(value if isinstance(value, (str, int)) else "").split(",") if key]
    for key in keys if choices else ():
        if key not in choices:
            raise DataError(
                "unknown option in the region",
                where=where,
                expected=f"one of {', '.join(list(choices)[:8])}",
                got=key[:40],
            )
    return [choices[key] for key in keys] if choices else []


def _is_person(attribute: Mapping[Any, Any]) -> bool:
    return re.search(r"person|track", str(attribute.get("aname", "")), re.IGNORECASE) is not None
