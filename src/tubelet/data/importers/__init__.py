"""The file formats of the field, and `convert` between any two.

Other packages add theirs as a `FormatFamily`.

A reader gives `Imported(table, labels, report)`; a writer takes an Annotations table. `sniff` names
the format of a file by its content. Several files are read as one set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.importers.base import Format, FormatFamily, Sign
from tubelet.data.importers.formats import FORMATS
from tubelet.data.importers.joining import joined_tables
from tubelet.data.importers.naming import named_films
from tubelet.data.importers.pyslowfast import FrameList, read_frame_list
from tubelet.data.importers.records import Imported, Options
from tubelet.data.importers.report import Report
from tubelet.data.importers.sniffing import format_of, why
from tubelet.data.importers.sources import documents, split_of
from tubelet.data.importers.tools.marks import Export
from tubelet.data.importers.tools.meaning import table_of
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
    "Report",
    "Sign",
    "convert",
    "formats",
    "read",
    "read_all",
    "read_clips",
    "read_frame_list",
    "sniff",
]


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
    return format_of(path, formats()).name


def read(
    path: str | Path, format_name: str | None = None, options: Options | None = None
) -> Imported:
    """Read a file of any format (or a zip or a folder of them); None sniffs it. Raises InputError
    for an unknown name."""
    return read_all([path], format_name, options)


def read_all(
    sources: Sequence[str | Path],
    format_name: str | None = None,
    options: Options | None = None,
    *,
    written: Path | None = None,
) -> Imported:
    """Read files, zip archives and folders of them as one set: the same name is the same class.
    `written`: a folder for results, whose files are none of them.

    Labelling tools' files are decided together; other tables are joined by the names of their
    classes. Raises InputError and DataError as the readers do, and where files do not go together.
    """
    options = options or Options()
    paths, sought = documents(sources, written)
    read_as, skipped = _recognised(paths, format_name, sought)
    exports = _exports(read_as, options)
    parts = [table_of(exports, options)] if exports else []
    parts += [form.read(path, options) for path, form in read_as if form.export is None]
    imported = joined_tables(parts, sources)
    taken = [why(path, form) for path, form in read_as[:8]]
    taken += [f"and {len(read_as) - 8} more files"] if len(read_as) > 8 else []
    report = replace(
        imported.report,
        taken=(*taken, *imported.report.taken),
        left_out=(*imported.report.left_out, *skipped),
    )
    imported = named_films(imported, options.videos, tool=bool(exports), where=sources[0])
    report = replace(report, subsets=imported.report.subsets)
    table = imported.table
    if options.every_ms is not None and isinstance(table, Annotations):
        table = table.every(options.every_ms)
    return Imported(table, imported.labels, report)


def _recognised(
    paths: Sequence[Path], format_name: str | None, sought: bool
) -> tuple[list[tuple[Path, Format]], list[tuple[str, int]]]:
    """Each file's format; files that were only found in a folder may have none."""
    found: list[tuple[Path, Format]] = []
    skipped: list[tuple[str, int]] = []
    refused: DataError | None = None
    known = formats()
    for path in paths:
        if format_name is not None:
            found.append((path, _format(format_name)))
            continue
        try:
            found.append((path, format_of(path, known)))
        except DataError as error:
            if not sought:
                raise
            refused = error
            skipped.append((f"{path}: {error.what}", 0))
    if not found and refused is not None:
        raise refused
    return found, skipped


def _exports(read_as: Sequence[tuple[Path, Format]], options: Options) -> list[Export]:
    """What labelling tools' files hold. Pictures are counted from one number throughout a set: from
    0 if any of its files has a picture 0."""
    tools = [(path, form.export) for path, form in read_as if form.export is not None]
    exports = [export(path, options) for path, export in tools]
    if len({first for export in exports for first in export.first}) > 1:
        options = replace(options, first_frame=0)
        exports = [export(path, options) for path, export in tools]
    if len(tools) > 1:
        for (path, _), export in zip(tools, exports, strict=True):
            split = split_of(path)
            for video in {mark.video for mark in export.marks} - export.ledger.subsets.keys():
                export.ledger.subset(video, split)
    return exports


def read_clips(
    path: str | Path, options: Options | None = None
) -> tuple[ClipLabels, LabelSpace | None]:
    """Read a list of classes of videos, of whatever format, and the classes it names.

    Where `video,3` could also be an AVA frame without people, here it is a video and its class.
    Raises DataError for a file of boxes.
    """
    name = sniff(path)
    imported = _format("paths" if name == "ava-csv" else name).read(path, options)
    if not isinstance(imported.table, ClipLabels):
        raise DataError("the file lists boxes of people", where=path, expected="classes of videos")
    return imported.table, imported.labels


def convert(
    source: str | Path | Sequence[str | Path],
    target: str | Path,
    from_: str | None = None,
    to: str = "ava-csv",
    options: Options | None = None,
) -> Imported:
    """Read `source`, or several, and write `target` in the format `to`; returns what was read.

    The source's own class names are used for the target unless `options.labels` gives others.
    Raises InputError if `to` cannot be written or the source is a list of clips.
    """
    writer = _format(to)
    if writer.write is None:
        writable = ", ".join(f.name for f in formats() if f.write is not None)
        raise InputError(f"cannot write the format {to!r}", expected=f"one of {writable}")
    sources = [source] if isinstance(source, str | Path) else list(source)
    imported = read_all(sources, from_, options)
    if not isinstance(imported.table, Annotations):
        raise InputError(
            f"{sources[0]} lists whole clips, which {to!r} cannot hold", expected="boxes of people"
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
