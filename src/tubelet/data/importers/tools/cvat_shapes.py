"""The shapes of CVAT's XML, and the box that each of them fills."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tubelet.data.importers.records import Box, as_float, as_int
from tubelet.data.importers.tools.marks import enclosing
from tubelet.errors import DataError

SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "mask", "skeleton", "cuboid")
_LARGEST_MASK = 1 << 28


def shape_of(element: ET.Element, where: str) -> tuple[Box, float] | None:
    """The box of a shape in pixels, and by how many degrees clockwise it is turned about its
    centre. None for points that enclose nothing."""
    degrees = as_float(element.get("rotation") or 0, where)
    if element.tag == "box":
        x1, y1, x2, y2 = (as_float(element.get(k), where) for k in ("xtl", "ytl", "xbr", "ybr"))
        return (x1, y1, x2, y2), degrees
    if element.tag == "ellipse":
        cx, cy, rx, ry = (as_float(element.get(k), where) for k in ("cx", "cy", "rx", "ry"))
        return (cx - rx, cy - ry, cx + rx, cy + ry), degrees
    if element.tag == "mask":
        return _mask(element, where), 0.0
    if element.tag == "cuboid":
        corners = [k[:-1] for k in element.attrib if k.startswith("x") and k.endswith(("1", "2"))]
        found = [
            (as_float(element.get(f"x{k[1:]}{i}"), where),
             as_float(element.get(f"y{k[1:]}{i}"), where))
            for k in dict.fromkeys(corners) for i in (1, 2)
        ]  # fmt: skip
    elif element.tag == "skeleton":
        joints = [p for p in element.findall("points") if p.get("outside") != "1"]
        found = [point for joint in joints for point in _points(joint, where)]
    else:
        found = _points(element, where)
    if not found:
        return None
    box = enclosing(found)
    return (box, degrees) if box[0] < box[2] and box[1] < box[3] else None


def _points(element: ET.Element, where: str) -> list[tuple[float, float]]:
    found = []
    for text in filter(str.strip, (element.get("points") or "").split(";")):
        x, comma, y = text.partition(",")
        if not comma:
            raise DataError("invalid point", where=where, expected="x,y", got=text[:40])
        found.append((as_float(x, where), as_float(y, where)))
    return found


def _mask(element: ET.Element, where: str) -> Box:
    """The filled part of a mask: runs of unset and set pixels, row by row, within its rectangle."""
    left, top, width, height = (
        as_int(element.get(k), where) for k in ("left", "top", "width", "height")
    )
    runs = [as_int(n, where) for n in (element.get("rle") or "").split(",") if n.strip()]
    if min(width, height) < 1 or min(runs, default=0) < 0 or sum(runs) > _LARGEST_MASK:
        raise DataError("invalid mask", where=where, got=f"{width}×{height}, {len(runs)} runs")
    xs, ys, at = [], [], 0
    for index, run in enumerate(runs):
        if index % 2 and run:
            first, last = at, at + run - 1
            ys += [first // width, last // width]
            whole = first // width != last // width
            xs += [0, width - 1] if whole else [first % width, last % width]
        at += run
    if not xs:
        return (float(left), float(top), float(left + width), float(top + height))
    return (float(left + min(xs)), float(top + min(ys)),
            float(left + max(xs) + 1), float(top + max(ys) + 1))  # fmt: skip
