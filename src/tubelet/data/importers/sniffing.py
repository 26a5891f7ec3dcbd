"""Which format a file has, by its content, with the reason; or why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tubelet.data.importers.base import Format
from tubelet.data.importers.glance import Glance
from tubelet.data.untrusted.pickles import load_pickle
from tubelet.errors import DataError

_NEAREST = 3


def format_of(path: str | Path, known: Sequence[Format]) -> Format:
    """The first of the `known` formats that the file has.

    Raises DataError naming the three that it comes nearest to, and what it lacks of each.
    """
    sample = Glance(path)
    if sample.is_pickle:
        name = _pickle(path)
        return next(form for form in known if form.name == name)
    for form in known:
        if form.fits(sample):
            return form
    unread = _known_but_unread(sample)
    if unread is not None:
        what, hint = unread
        raise DataError(f"{what}, which is not read", where=path, hint=hint)
    first = next(iter(sample.lines), "an empty file")
    raise DataError(
        "unknown file format",
        where=path,
        expected="one of these, the nearest first:\n    " + "\n    ".join(_nearest(sample, known)),
        got=repr(first[:80]),
        hint="state the format",
        arguments=("from_",),
    )


def why(path: str | Path, form: Format) -> str:
    """What makes a file of this format."""
    signs = ", ".join(sign.words for sign in form.signs)
    return f"{path}: {form.about}" + (f" ({signs})" if signs else "")


def _nearest(sample: Glance, known: Sequence[Format]) -> list[str]:
    ranked = sorted(
        ((*form.missing(sample), form) for form in known if form.signs), key=lambda row: -row[0]
    )
    return [f"{form.name} ({form.about}): lacks {what}" for _, what, form in ranked[:_NEAREST]]


def _known_but_unread(sample: Glance) -> tuple[str, str] | None:
    """Formats that people have and that hold too little, or for which there is a way round."""
    keys = sample.keys
    if "_via_img_metadata" in keys or "_via_settings" in keys:
        return "a VIA 2 project of pictures", "open it in VIA 3, or export it as COCO"
    if sample.xml_root == "annotation":
        return "Pascal VOC XML, which has no tracks", "export COCO, Datumaro or CVAT instead"
    if {"frames", "objects"} <= keys or {"size", "framesCount"} <= keys:
        return "a Supervisely video annotation", "export it as COCO or CVAT"
    if sample.is_object and {"item", "annotations"} <= keys:
        return "V7 Darwin JSON", "export it as COCO"
    if sample.head[:4] == b"PAR1":
        return "a Parquet file", "write it as CSV in AVA's columns"
    if sample.text.lstrip().lower().startswith(("<!doctype html", "<html")):
        return "a web page", "was the file downloaded while signed in?"
    return None


def _pickle(path: str | Path) -> str:
    content = load_pickle(path)
    if isinstance(content, dict) and "gttubes" in content:
        return "tubes"
    if isinstance(content, dict):
        value = next(iter(content.values()), None)
        return "pyannot" if isinstance(value, dict) else "mmaction2-proposals"
    if isinstance(content, (list, tuple)):
        first = content[0] if content else None
        return "mmaction2-predictions" if isinstance(first, dict) else "acar"
    raise DataError(
        "the pickle is not in a known annotation format", where=path, got=type(content).__name__
    )
