"""The file formats of the field: one row each in `FORMATS`.

A format's signs are what its files have, from the most general to the most special; the first row
all of whose signs a file has is its format, and rows that a file nearly fits explain a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.importers import acar, cliplists, mmaction, tube_pickles
from tubelet.data.importers.base import Format, Sign
from tubelet.data.importers.glance import Glance
from tubelet.data.importers.records import Imported, Options
from tubelet.data.importers.tools import (
    coco,
    cvat,
    datumaro,
    fiftyone,
    label_studio,
    labelme,
    named_tracks,
    trackers,
    via,
)
from tubelet.data.importers.tools.marks import Export
from tubelet.data.importers.tools.meaning import table_of
from tubelet.data.importers.writers import coco as coco_write
from tubelet.data.importers.writers import cvat as cvat_write
from tubelet.data.importers.writers import via as via_write
from tubelet.data.tables import Kind, read_ava_csv, write_ava_csv

Writer = Callable[[str | Path, Annotations, Options | None], None]
_OBJECT = Sign("a JSON object", lambda s: s.is_object)
_LIST = Sign("a JSON list of objects", lambda s: s.is_list)
_LINES = Sign("lines of text", lambda s: bool(s.lines) and "\0" not in s.text[:200])
_VIDEO_FILE = re.compile(r"\.(mp4|avi|mkv|webm)$")


def _has(*names: str) -> Sign:
    return Sign(f"the fields {', '.join(names)}", lambda s: s.keys >= set(names))


def _any(*names: str) -> Sign:
    return Sign(f"a field {' or '.join(names)}", lambda s: not s.keys.isdisjoint(names))


def _starts(words: str, pattern: str) -> Sign:
    compiled = re.compile(pattern, re.DOTALL)
    return Sign(words, lambda s: compiled.match(s.text) is not None)


def _read_csv(kind: Kind, path: str | Path, options: Options | None) -> Imported:
    labels = options.labels if options is not None else None
    return Imported(read_ava_csv(path, kind=kind, labels=labels), labels)


def _write_csv(kind: Kind, path: str | Path, table: Annotations, options: Options | None) -> None:
    write_ava_csv(path, table, kind=kind)


def _csv(name: str, kind: Kind, about: str, *signs: Sign) -> Format:
    read, write = partial(_read_csv, kind), partial(_write_csv, kind)
    return Format(name=name, about=about, read=read, write=write, signs=(_LINES, _AVA, *signs))


def _tool(
    name: str,
    about: str,
    export: Callable[[str | Path, Options | None], Export],
    *signs: Sign,
    write: Writer | None = None,
) -> Format:
    def read(path: str | Path, options: Options | None = None) -> Imported:
        return table_of([export(path, options)], options or Options())

    return Format(name=name, about=about, read=read, write=write, signs=signs, export=export)


def _body(sample: Glance) -> list[list[str]]:
    rows = sample.cells
    header = len(rows) > 1 and not numeric(rows[0][1:2])
    return rows[1:] if header else rows


def _is_ava(sample: Glance) -> bool:
    body = _body(sample)
    if all(len(r) == 2 and _VIDEO_FILE.search(r[0].strip()) for r in body):
        return False  # a list of files and classes; a frame without people names its video's id
    if all(len(r) == 2 for r in body) and any(";" in line for line in sample.lines):
        return False
    # The majority of rows decides: the reader, which knows the row, reports the others.
    fits = [_fits_ava(row) for row in body]
    return bool(body) and 2 * sum(fits) >= len(fits)


def _fits_ava(row: list[str]) -> bool:
    if len(row) == 2:
        return numeric(row[1:])
    # A cell with several actions in quotes is split at its comma here.
    several = len(row) > 8 and '"' in row[6]
    return (len(row) in (6, 7, 8) or several) and numeric(row[1:6])


def numeric(cells: list[str]) -> bool:
    """Whether every cell is a number, in quotes or not."""
    return all(re.fullmatch(r'\s*"?[-+.\deE]*"?\s*', cell) for cell in cells) and cells != []


def _has_scores(sample: Glance) -> bool:
    """Whether the eighth column holds scores: its header says so; or a value is no whole number,
    or the same one stands for two boxes of one frame, which no person's id does."""
    rows = [row for row in sample.cells if len(row) == 8]
    if not rows:
        return False
    named = sample.cells[0][7].strip().strip('"').lower() if len(sample.cells[0]) == 8 else ""
    if named in ("score", "confidence", "person_id", "track_id", "entity_id", "person"):
        return named in ("score", "confidence")
    seen: dict[tuple[str, str, str], tuple[str, ...]] = {}
    dotted = False
    for row in rows:
        last = row[7].strip().strip('"')
        if "." not in last and "e" not in last.lower():
            continue
        dotted = True
        try:
            if float(last) != int(float(last)):
                return True
        except (ValueError, OverflowError):
            continue
        box = tuple(row[2:6])
        if seen.setdefault((row[0], row[1], last), box) != box:
            return True
    lone = {row[7].strip() for row in rows} == {"1.0"} or not dotted
    return dotted and lone


def _is_proposals(sample: Glance) -> bool:
    return all(len(r) < 7 or not r[6].strip() for r in _body(sample))


_AVA = Sign("2, 6, 7 or 8 columns, of which the 2nd to the 6th are numbers", _is_ava)
_SCORES = Sign("an 8th column of scores", _has_scores)

FORMATS: tuple[Format, ...] = (
    _tool(
        "cvat",
        "CVAT XML, for video or for images",
        cvat.read,
        Sign("XML", lambda s: s.xml_root is not None),
        Sign("the root <annotations>", lambda s: s.xml_root == "annotations"),
        write=cvat_write.write,
    ),
    _tool(
        "via3",
        "VIA 3 project JSON",
        via.read,
        _OBJECT,
        _any("project", "vid_list"),
        _any("config", "attribute", "metadata"),
        write=via_write.write,
    ),
    _tool("datumaro", "Datumaro JSON", datumaro.read, _OBJECT, _has("categories", "items")),
    _tool(
        "fiftyone",
        "FiftyOne's video labels",
        fiftyone.read,
        _OBJECT,
        _has("frames"),
        Sign("the fields frame_number and objects", lambda s: '"frame_number"' in s.text),
    ),
    _tool(
        "labelme",
        "LabelMe JSON, one file a picture",
        labelme.read,
        _OBJECT,
        _has("shapes"),
        _any("imagePath", "imageHeight"),
    ),
    _tool(
        "coco",
        "COCO JSON: AlphAction, CocoVID, Roboflow, CVAT",
        coco.read,
        _OBJECT,
        _any("images", "annotations", "categories", "info", "videos"),
        write=coco_write.write,
    ),
    _tool(
        "label-studio",
        "Label Studio JSON of videos",
        label_studio.read,
        _LIST,
        Sign("a video and its annotations", label_studio.is_export),
    ),
    Format(
        name="ssv2",
        about="Something-Something v2 JSON",
        read=cliplists.read_ssv2,
        signs=(
            _LIST,
            _has("id"),
            Sign(
                "an id, with or without a template, and no annotations",
                lambda s: s.keys.isdisjoint({"annotations", "data", "result", "shapes"}),
            ),
        ),
    ),
    _tool(
        "tracks-csv",
        "CSV with a header: a box, a track id, and a frame or a time",
        named_tracks.read,
        _LINES,
        Sign("a header that names a box and a frame or time", named_tracks.is_named_tracks),
    ),
    Format(
        name="kinetics",
        about="Kinetics CSV with a header",
        read=cliplists.read_kinetics,
        signs=(
            _LINES,
            _starts("the columns youtube_id and time_start", r"[^\n]*youtube_id[^\n]*time_start"),
        ),
    ),
    Format(
        name="charades",
        about="Charades CSV with a header",
        read=cliplists.read_charades,
        signs=(_LINES, _starts("the columns id and actions", r"id,[^\n]*actions")),
    ),
    _tool(
        "mot",
        "MOT challenge text: frame, id, x, y, w, h, …",
        trackers.read_mot,
        _LINES,
        Sign("6 to 10 numbers a line, of which frame and id are whole", trackers.is_mot),
    ),
    _tool(
        "yolo-track",
        "YOLO text of one picture: class, x, y, w, h, id",
        trackers.read_yolo,
        _LINES,
        Sign("5 to 7 numbers a line between spaces, fractions after the class", trackers.is_yolo),
    ),
    _csv(
        "proposals-csv",
        "proposals",
        "person boxes: PySlowFast predicted boxes",
        _SCORES,
        Sign("an empty 7th column", _is_proposals),
    ),
    _csv("detections-csv", "detections", "AVA detections: 8th column a score", _SCORES),
    _csv("ava-csv", "truth", "AVA CSV: 8th column a person id"),
    Format(
        name="ssv1",
        about="Something-Something v1 CSV",
        read=cliplists.read_ssv1,
        signs=(
            _LINES,
            _starts("a number and a semicolon", r"\s*\d+;"),
            Sign(
                "one semicolon a line",
                lambda s: all(not re.match(r"[^;]*;[^;]*;[^;]*;", x) for x in s.lines),
            ),
        ),
    ),
    Format(
        name="moments",
        about="Moments in Time CSV: class/file,class,…",
        read=cliplists.read_moments,
        signs=(_LINES, _starts("class/file,class", r"\s*([^/\n,]+)/[^\n,]+,\1[,\r\n]")),
    ),
    Format(
        name="paths",
        about="'path label' lists of PySlowFast and MMAction2",
        read=cliplists.read_paths,
        signs=(
            _LINES,
            _starts("a path and a whole number", r"\s*\S[^\n]*[ ,\t]\d+\s*(\n|$)"),
            Sign("one or two numbers after each path", lambda s: _is_paths(s)),
        ),
    ),
    Format(
        name="mmaction2-proposals",
        about="MMAction2 proposals pickle",
        read=mmaction.read_proposals,
        write=mmaction.write_proposals,
    ),
    Format(
        name="mmaction2-predictions",
        about="MMAction2 predictions pickle",
        read=mmaction.read_predictions,
    ),
    Format(name="acar", about="ACAR-Net pickle", read=acar.read),
    Format(name="tubes", about="JHMDB-GT, UCF101v2-GT, MultiSports pickle", read=tube_pickles.read),
    Format(name="pyannot", about="UCF101-24 pyannot.pkl", read=tube_pickles.read_pyannot),
)


def _is_paths(sample: Glance) -> bool:
    first = next(iter(sample.lines), "")
    cells = first.split(next((s for s in ("\t", ",") if s in first), None))
    return len(cells) <= 3
