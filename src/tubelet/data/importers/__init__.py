"""The file formats of the field: one row each in `FORMATS`, and `convert` between any two.

Other packages add theirs as a `FormatFamily`.

A reader gives `Imported(table, labels)`; a writer takes an Annotations table. `sniff` names the
format of a file from its first bytes and, where those do not decide, from what is inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.importers import acar, cliplists, coco, cvat, mmaction, tube_pickles, via
from tubelet.data.importers.base import Format, FormatFamily
from tubelet.data.importers.pyslowfast import FrameList, read_frame_list
from tubelet.data.importers.records import Imported, Options
from tubelet.data.tables import Kind, read_ava_csv, write_ava_csv
from tubelet.data.untrusted.pickles import load_pickle
from tubelet.data.untrusted.reading import read_head
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.labels import LabelSpace
from tubelet.plugins import families

__all__ = [
    "FORMATS",
    "Format",
    "FormatFamily",
    "FrameList",
    "Imported",
    "Options",
    "convert",
    "formats",
    "read",
    "read_clips",
    "read_frame_list",
    "sniff",
]

_HEAD = 1 << 16


def _read_csv(kind: Kind, path: str | Path, options: Options | None) -> Imported:
    labels = options.labels if options is not None else None
    table = read_ava_csv(path, kind=kind, labels=labels)
    if options is not None and options.every_ms is not None:
        table = table.every(options.every_ms)
    return Imported(table, labels)


def _write_csv(kind: Kind, path: str | Path, table: Annotations, options: Options | None) -> None:
    write_ava_csv(path, table, kind=kind)


def _csv(name: str, kind: Kind, about: str, matches: Callable[[str], bool]) -> Format:
    read, write = partial(_read_csv, kind), partial(_write_csv, kind)
    return Format(name=name, about=about, read=read, write=write, matches=matches)


def _lines(head: str) -> list[str]:
    return [line for line in head.splitlines()[:200] if line.strip()]


def _cells(head: str) -> list[list[str]]:
    return [re.split(r"[,\t]", line) for line in _lines(head)]


def _is_ava(head: str) -> bool:
    rows = _cells(head)
    body = rows[1:] if len(rows) > 1 and not _numeric(rows[0][1:2]) else rows
    if all(len(r) == 2 and re.search(r"\.(mp4|avi|mkv|webm)$", r[0].strip()) for r in body):
        return False  # a list of files and classes; a frame without people names its video's id
    fits = [len(row) in (2, 6, 7, 8) and _numeric(row[1:6]) for row in body]
    # The majority of rows decides: the reader, which knows the row, reports the others.
    return bool(body) and 2 * sum(fits) >= len(fits)


def _numeric(cells: list[str]) -> bool:
    return all(re.fullmatch(r'\s*"?[-+.\deE]*"?\s*', cell) for cell in cells) and cells != []


def _has_scores(head: str) -> bool:
    return _is_ava(head) and any(len(r) == 8 and "." in r[7] for r in _cells(head))


def _is_proposals(head: str) -> bool:
    return _has_scores(head) and all(len(r) < 7 or not r[6].strip() for r in _cells(head)[1:])


def _starts(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda head: compiled.match(head) is not None


FORMATS: tuple[Format, ...] = (
    Format(
        name="cvat",
        about="CVAT XML, for video or for images",
        read=cvat.read,
        write=cvat.write,
        matches=_starts(r"\s*(<\?xml[^>]*>)?\s*(<!--.*?-->\s*)*<annotations"),
    ),
    Format(
        name="via3",
        about="VIA 3 project JSON",
        read=via.read,
        write=via.write,
        matches=_starts(r'\s*\{.*"(project|vid_list)"\s*:.*"(config|attribute|metadata)"\s*:'),
    ),
    Format(
        name="coco",
        about="AlphAction and COCO JSON",
        read=coco.read,
        write=coco.write,
        matches=_starts(r'\s*\{.*"(images|annotations|categories|info)"\s*:'),
    ),
    Format(
        name="ssv2",
        about="Something-Something v2 JSON",
        read=cliplists.read_ssv2,
        matches=_starts(r'\s*\[\s*\{.*"id"\s*:'),
    ),
    Format(
        name="kinetics",
        about="Kinetics CSV with a header",
        read=cliplists.read_kinetics,
        matches=_starts(r"[^\n]*youtube_id[^\n]*time_start"),
    ),
    Format(
        name="charades",
        about="Charades CSV with a header",
        read=cliplists.read_charades,
        matches=_starts(r"id,[^\n]*actions"),
    ),
    Format(
        name="ssv1",
        about="Something-Something v1 CSV",
        read=cliplists.read_ssv1,
        matches=_starts(r"\s*\d+;"),
    ),
    _csv("proposals-csv", "proposals", "person boxes: PySlowFast predicted boxes", _is_proposals),
    _csv("detections-csv", "detections", "AVA detections: 8th column a score", _has_scores),
    _csv("ava-csv", "truth", "AVA CSV: 8th column a person id", _is_ava),
    Format(
        name="moments",
        about="Moments in Time CSV: class/file,class,…",
        read=cliplists.read_moments,
        matches=_starts(r"\s*([^/\n,]+)/[^\n,]+,\1[,\r\n]"),
    ),
    Format(
        name="paths",
        about="'path label' lists of PySlowFast and MMAction2",
        read=cliplists.read_paths,
        matches=_starts(r"\s*\S[^\n]*[ ,\t]\d+\s*(\n|$)"),
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


def formats() -> tuple[Format, ...]:
    """Every format: those of plugins and of the program itself, then ours.

    Raises ConfigError where two formats have one name.
    """
    added = [row for family in families(FormatFamily) for row in family.formats()]
    found = (*added, *FORMATS)
    names = [row.name for row in found]
    for row in added:
        if names.count(row.name) > 1:
            raise ConfigError(f"duplicate annotation format {row.name!r}", got=row.about)
    return found


def sniff(path: str | Path) -> str:
    """The name of a file's format. Raises DataError when no format fits."""
    head = read_head(path, _HEAD)
    if _is_pickle(head):
        return _sniff_pickle(path)
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if len(head) == _HEAD:
        text = text.rpartition("\n")[0] or text
    known = formats()
    for candidate in known:
        if candidate.matches(text):
            return candidate.name
    first = next(iter(_lines(text)), "an empty file")
    raise DataError(
        "unknown file format",
        where=path,
        expected=", ".join(f.name for f in known),
        got=repr(first[:80]),
        hint="state the format",
    )


def read(
    path: str | Path, format_name: str | None = None, options: Options | None = None
) -> Imported:
    """Read a file of any format; None sniffs it. Raises InputError for an unknown name."""
    return _format(format_name or sniff(path)).read(path, options)


def read_clips(
    path: str | Path, options: Options | None = None
) -> tuple[ClipLabels, LabelSpace | None]:
    """Read a list of classes of videos, of whatever format, and the classes it names.

    Where `video,3` could also be an AVA frame without people, here it is a video and its class.
    Raises DataError for a file of boxes.
    """
    name = sniff(path)
    table, labels = read(path, "paths" if name == "ava-csv" else name, options)
    if not isinstance(table, ClipLabels):
        raise DataError("the file lists boxes of people", where=path, expected="classes of videos")
    return table, labels


def convert(
    source: str | Path,
    target: str | Path,
    from_: str | None = None,
    to: str = "ava-csv",
    options: Options | None = None,
) -> Imported:
    """Read `source` and write `target` in the format `to`; returns what was read.

    The source's own class names are used for the target unless `options.labels` gives others.
    Raises InputError if `to` cannot be written or the source is a list of clips.
    """
    writer = _format(to)
    if writer.write is None:
        writable = ", ".join(f.name for f in formats() if f.write is not None)
        raise InputError(f"cannot write the format {to!r}", expected=f"one of {writable}")
    imported = read(source, from_, options)
    if not isinstance(imported.table, Annotations):
        raise InputError(
            f"{source} lists whole clips, which {to!r} cannot hold", expected="boxes of people"
        )
    given = options or Options()
    writer.write(target, imported.table, replace(given, labels=given.labels or imported.labels))
    return imported


def _format(name: str) -> Format:
    known = formats()
    for candidate in known:
        if candidate.name == name:
            return candidate
    raise InputError(
        f"unknown format {name!r}", expected=f"one of {', '.join(f.name for f in known)}"
    )


def _is_pickle(head: bytes) -> bool:
    """Protocol 2 and later say so; protocol 0 begins with a mark and a container."""
    return re.match(rb"\x80[\x02-\x05]|\((d|l|t|i)p\d+\n|\]q|\}q|\(\(?lp\d", head) is not None


def _sniff_pickle(path: str | Path) -> str:
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
