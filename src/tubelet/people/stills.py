"""Still pictures with person boxes: what a person detector is taught and measured on.

A folder of pictures and a `boxes.csv` of `image,x1,y1,x2,y2[,crowd]`, coordinates in [0, 1]; a
row with crowd 1 is a region where finding somebody is neither right nor wrong. An `images.csv` of
`image[,source][,labels][,aspect]` beside it adds pictures without people, and per picture: which
collection it is from, `labels` "pseudo" where a detector drew the boxes, and `aspect` "guess" where
the picture was squeezed once and only about restored.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError
from tubelet.media.video import Video
from tubelet.people.detectors.base import Image
from tubelet.types import Floats, as_boxes

BOXES, IMAGES = "boxes.csv", "images.csv"
_SIDES = ("x1", "y1", "x2", "y2")
_SLACK = 0.01  # rounding may put a side just outside its picture; further out are pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Still:
    """One picture: `people` (N, 4) and `ignored` (I, 4) in [0, 1]; `pseudo`: a detector's boxes."""

    name: str
    path: Path
    people: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    ignored: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    source: str = ""
    pseudo: bool = False
    guessed_aspect: bool = False

    def image(self) -> Image:
        """u8 (H, W, 3) RGB. Raises VideoError if it cannot be read."""
        with Video(self.path, threads=1) as video:
            return next(iter(video.frames())).image


def read_stills(folder: Path, boxes: Path | None = None) -> list[Still]:
    """The pictures of `folder`, in the order of its tables, with their boxes.

    `boxes` replaces `folder/boxes.csv`. Raises DataError, naming file and row, for a column that is
    missing, a box that is no box in [0, 1], and a picture that is not there.
    """
    boxes = boxes or folder / BOXES
    about: dict[str, dict[str, str]] = {}
    listed = folder / IMAGES
    if listed.is_file():
        about.update({row["image"]: row for _, row in _rows(listed, ("image",))})
    people: dict[str, list[Floats]] = defaultdict(list)
    ignored: dict[str, list[Floats]] = defaultdict(list)
    for number, row in _rows(boxes, ("image", *_SIDES)):
        kind = ignored if row.get("crowd") == "1" else people
        kind[row["image"]].append(_box(row, f"{boxes}, row {number}"))
        about.setdefault(row["image"], {})
    stills = []
    for name, row in about.items():
        if not (folder / name).is_file():
            raise DataError("a picture of the table is not there", where=boxes, got=folder / name)
        stills.append(
            Still(
                name=name,
                path=folder / name,
                people=as_boxes(np.array(people[name]).reshape(-1, 4), name),
                ignored=as_boxes(np.array(ignored[name]).reshape(-1, 4), name),
                source=row.get("source", ""),
                pseudo=row.get("labels") == "pseudo",
                guessed_aspect=row.get("aspect") == "guess",
            )
        )
    return stills


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV with a header; DataError unless it has `columns` and whole rows."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DataError(
            f"{path.name} lacks the column {missing[0]!r}",
            where=path,
            expected=",".join(columns),
            got=",".join(reader.fieldnames or ()),
        )
    for row in reader:
        if None in row or None in row.values():
            raise DataError(
                "a row differs in length from the header", where=f"{path}, row {reader.line_num}"
            )
        yield reader.line_num, row


def _box(row: Mapping[str, str], where: str) -> Floats:
    try:
        box = np.array([float(row[side]) for side in _SIDES], np.float32)
    except ValueError as error:
        raise DataError("a box's side is not a number", where=where, got=str(error)) from error
    inside = np.isfinite(box).all() and box.min() >= -_SLACK and box.max() <= 1 + _SLACK
    if not inside or (box[2:] <= box[:2]).any():
        raise DataError(
            "not a box of a picture",
            where=where,
            expected="x1 < x2 and y1 < y2, shares of the picture's sides in [0, 1]",
            got=", ".join(row[side] for side in _SIDES),
        )
    return box.clip(0, 1)
