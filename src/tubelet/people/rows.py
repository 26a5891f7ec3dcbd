"""Person detectors that others have published: what is known of each, and how it is chosen.

`ap` is the published AP of COCO val2017 over all 80 classes and every IoU from 0.5 to 0.95; nobody
publishes that of people alone: `tubelet people bench` measures it. Sizes are of fp32 weights.
Trained on COCO all of them; the licences are the projects' own statements.
"""

from __future__ import annotations

import fnmatch
from dataclasses import asdict, dataclass
from typing import Any

from tubelet.errors import InputError, did_you_mean
from tubelet.people.detectors.huggingface import PREFIX as HUB
from tubelet.people.detectors.yolox import PREFIX as YOLOX
from tubelet.people.hub import cached

_YOLOX_AT = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRow:
    """One published detector. `spelling`: what `person_detector` takes for it; `source`: the
    project; `url`: where a file that must be downloaded by hand is; `note`: what is not known."""

    name: str
    family: str
    spelling: str
    ap: float
    parameters_m: float
    licence: str
    source: str
    url: str | None = None
    note: str | None = None

    @property
    def megabytes(self) -> float:
        """About the size of the file: four bytes a parameter."""
        return 4 * self.parameters_m

    @property
    def model_id(self) -> str | None:
        """Its id on the Hugging Face hub, if it is there."""
        return self.spelling.removeprefix(HUB) if self.spelling.startswith(HUB) else None

    def where(self) -> str:
        """ "cached", "download" or "by hand"."""
        if self.model_id is None:
            return "by hand"
        return "cached" if cached(self.model_id) is not None else "download"

    def to_json(self) -> dict[str, Any]:
        """A plain dict, `where` included."""
        return {**asdict(self), "megabytes": round(self.megabytes, 1), "where": self.where()}


def _family(
    family: str, source: str, spelling: str, members: dict[str, tuple[str, float, float]], note: str
) -> list[DetectorRow]:
    """Rows of one project: `members` by name: the part of the id, AP, millions of parameters."""
    return [
        DetectorRow(
            name=name,
            family=family,
            spelling=spelling.format(part),
            ap=ap,
            parameters_m=parameters,
            licence="Apache-2.0",
            source=source,
            url=f"{_YOLOX_AT}{part}.onnx" if spelling.startswith(YOLOX) else None,
            note=note or None,
        )
        for name, (part, ap, parameters) in members.items()
    ]


_UNCHECKED = "the id is as published, and was not tried"
_ROWS = [
    *_family(
        "D-FINE", "github.com/Peterande/D-FINE", HUB + "ustc-community/dfine-{}-coco",
        {
            "dfine-nano": ("nano", 42.8, 4), "dfine-small": ("small", 48.5, 10),
            "dfine-medium": ("medium", 52.3, 19), "dfine-large": ("large", 54.0, 31),
            "dfine-xlarge": ("xlarge", 55.8, 62),
        }, "",
    ),
    *_family(
        "D-FINE", "github.com/Peterande/D-FINE", HUB + "ustc-community/dfine-{}",
        {
            "dfine-small-objects": ("small-obj2coco", 50.7, 10),
            "dfine-medium-objects": ("medium-obj2coco", 55.1, 19),
            "dfine-large-objects": ("large-obj2coco-e25", 57.3, 31),
            "dfine-xlarge-objects": ("xlarge-obj2coco", 59.3, 62),
        }, f"Objects365 first; {_UNCHECKED}",
    ),
    *_family(
        "RT-DETRv2", "github.com/lyuwenyu/RT-DETR", HUB + "PekingU/rtdetr_v2_{}vd",
        {
            "rtdetrv2-r18": ("r18", 48.1, 20), "rtdetrv2-r50": ("r50", 53.4, 42),
            "rtdetrv2-r101": ("r101", 54.3, 76),
        }, "",
    ),
    *_family(
        "LW-DETR", "github.com/Atten4Vis/LW-DETR", HUB + "AnnaZhang/lwdetr_{}_60e_coco",
        {
            "lwdetr-tiny": ("tiny", 42.9, 12.1), "lwdetr-small": ("small", 48.0, 14.6),
            "lwdetr-medium": ("medium", 52.6, 28.2), "lwdetr-large": ("large", 56.1, 46.8),
            "lwdetr-xlarge": ("xlarge", 58.3, 118.0),
        }, _UNCHECKED,
    ),
    *_family(
        "RF-DETR", "github.com/roboflow/rf-detr", HUB + "Roboflow/rf-detr-{}",
        {
            "rfdetr-nano": ("nano", 48.4, 30.5), "rfdetr-small": ("small", 53.0, 32.1),
            "rfdetr-medium": ("medium", 54.7, 33.7), "rfdetr-large": ("large", 56.5, 33.9),
        }, _UNCHECKED,
    ),
    *_family(
        "YOLOX", "github.com/Megvii-BaseDetection/YOLOX", YOLOX + "{}.onnx",
        {
            "yolox-nano": ("yolox_nano", 25.8, 0.91), "yolox-tiny": ("yolox_tiny", 32.8, 5.06),
            "yolox-s": ("yolox_s", 40.5, 9.0), "yolox-m": ("yolox_m", 46.9, 25.3),
            "yolox-l": ("yolox_l", 49.7, 54.2), "yolox-x": ("yolox_x", 51.1, 99.1),
        }, "",
    ),
]  # fmt: skip
ROWS = {row.name: row for row in _ROWS}


def rows_like(pattern: str = "*") -> list[DetectorRow]:
    """The rows whose name or family matches a pattern or part of one. Raises InputError if none."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    found = [
        row
        for row in _ROWS
        if any(fnmatch.fnmatch(text.lower(), wanted.lower()) for text in (row.name, row.family))
    ]
    if not found:
        raise InputError(
            f"no published person detector matches {pattern!r}",
            hint=did_you_mean(pattern, ROWS) or "`tubelet people list` lists all",
        )
    return found
