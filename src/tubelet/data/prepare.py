"""From a user's annotations to files that a recipe can train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.doctor.films import check_films
from tubelet.data.doctor.findings import Case, DataSet
from tubelet.data.importers import Imported, Options, Report, read_all
from tubelet.data.importers.sources import split_named
from tubelet.data.labelmaps import write_pbtxt
from tubelet.data.tables import write_ava_csv
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace

_WRITTEN = ("labels.pbtxt", "train.csv", "val.csv", "test.csv", "recipe.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSet:
    """What `prepare` wrote. `videos`: the folder they came from; `frame_rate`: of those that are
    folders of frames; `test_videos`: those of the annotations' own test subset beside a validation
    subset; `report`: what was taken from the annotations and what was left."""

    videos: Path
    labels: Path
    train: Path
    val: Path
    space: LabelSpace
    train_videos: tuple[str, ...]
    val_videos: tuple[str, ...]
    test_videos: tuple[str, ...] = ()
    frame_rate: float | None = None
    report: Report = field(default_factory=Report)


def prepare(
    sources: Path | Sequence[Path],
    videos: Path,
    out: Path,
    *,
    format_name: str | None = None,
    options: Options | None = None,
    val_share: float = 0.2,
    seed: int = 0,
) -> PreparedSet:
    """Write `labels.pbtxt`, `train.csv` and `val.csv` (AVA's columns) from annotations of any
    format that `tubelet data convert` reads: files, zip archives and folders of them.

    Whole videos go to one side or the other, so that no video is in both: by the annotations' own
    subsets (train, validation, test) where they have them, else `val_share` of them (at least one)
    to validation. `options`: how the annotations are read. Raises InputError or DataError, before
    anything is written, if the classes have no names, no box has an action, there are fewer than
    two videos, or a video is missing.
    """
    if not 0 < val_share < 1:
        raise InputError("invalid share of validation videos", expected="0…1", got=val_share)
    given = [sources] if isinstance(sources, Path) else list(sources)
    _check_output(given, out)
    options = replace(options or Options(), videos=videos)
    table, space, report = _read(given, format_name, options, out)
    names = _videos_with_files(table, videos, given[0])
    rate = _rate_of_folders(names, videos, options.fps)
    report = replace(report, taken=(*report.taken, *_outside(table, videos, given[0])))
    parts = _own_split(names, report.subsets)
    if parts is None:
        held = set(_held_out(names, val_share, seed))
        parts = {
            "train": tuple(n for n in names if n not in held),
            "val": tuple(n for n in names if n in held),
        }
    for split, members in parts.items():
        if members:
            write_ava_csv(out / f"{split}.csv", table.of_video(*members), kind="truth")
    write_pbtxt(out / "labels.pbtxt", space)
    return PreparedSet(
        videos=videos,
        labels=out / "labels.pbtxt",
        train=out / "train.csv",
        val=out / "val.csv",
        space=space,
        train_videos=parts["train"],
        val_videos=parts["val"],
        test_videos=parts.get("test", ()),
        frame_rate=rate,
        report=report,
    )


def _check_output(sources: Sequence[Path], out: Path) -> None:
    written = {(out / name).resolve() for name in _WRITTEN}
    for source in sources:
        if source.resolve() in written:
            raise InputError(
                "this would overwrite the annotations",
                where=source,
                hint="choose another output folder",
                arguments=("out",),
            )


def _read(
    sources: Sequence[Path], format_name: str | None, options: Options, out: Path
) -> tuple[Annotations, LabelSpace, Report]:
    imported: Imported = read_all(sources, format_name, options, written=out)
    table, where = imported.table, sources[0]
    if not isinstance(table, Annotations):
        raise DataError("the annotations contain no people", where=where, expected="boxes")
    if imported.report.nothing is not None:
        raise InputError(
            "nothing is labelled: no box has an action",
            where=where,
            got=imported.report.nothing,
            hint="say which attributes are actions, or label what people do",
            arguments=("attribute", "ignore"),
        )
    space = options.labels or imported.labels
    if space is None:
        raise InputError(
            "missing class names in the annotations",
            where=where,
            hint="provide a label map",
            arguments=("labels",),
        )
    return table, space, imported.report


def _outside(table: Annotations, videos: Path, source: Path) -> list[str]:
    """A line about labels that lie outside their films. Raises DataError where most do: their times
    mean something else."""
    case = Case(sets=(DataSet(name="annotations", truth=table),))
    found = [f for f in check_films(case, videos) if f.code == "keyframe-outside-film"]
    lines = []
    for one in found:
        if 2 * one.count > len(table):
            raise DataError(
                one.message,
                where=source,
                got=f"{one.count} of {len(table)} rows, such as {one.examples[0]}",
                hint=one.fix,
            )
        lines.append(f"warning: {one.message}: {one.count} rows, such as {one.examples[0]}")
    return lines


def _rate_of_folders(names: Sequence[str], videos: Path, fps: float | None) -> float | None:
    """The rate of the videos that are folders of frames; None if none is."""
    folders = [n for n in names if (path := find_video(videos, n)) is not None and path.is_dir()]
    if folders and fps is None:
        raise InputError(
            "missing frame rate for a folder of frames",
            where=videos / folders[0],
            hint="state the rate the frames were extracted at",
            arguments=("fps",),
        )
    return fps if folders else None


def _own_split(
    names: Sequence[str], subsets: Mapping[str, frozenset[str]]
) -> dict[str, tuple[str, ...]] | None:
    """The annotations' own split, if it gives every video one side and both sides a video. A test
    subset stands for a validation subset where there is none."""
    sides: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in names:
        of = {split_named(subset) for subset in subsets.get(name, ())}
        if len(of) != 1 or (side := next(iter(of))) is None:
            return None
        sides[side].append(name)
    if not sides["val"]:
        sides["val"], sides["test"] = sides["test"], []
    if not sides["train"] or not sides["val"]:
        return None
    return {side: tuple(members) for side, members in sides.items()}


def _videos_with_files(table: Annotations, videos: Path, source: Path) -> list[str]:
    if not videos.is_dir():
        raise InputError("the video folder does not exist", where=videos)
    names = sorted(table.videos())
    missing = [name for name in names if find_video(videos, name) is None]
    if missing:
        raise DataError(
            f"no file for {len(missing)} annotated videos",
            where=source,
            expected=f"a video in {videos}",
            got=", ".join(missing[:5]),
        )
    if not names:
        raise DataError("the annotations label no video", where=source)
    if len(names) < 2:
        raise DataError(
            "a single video cannot be used for both training and testing",
            where=source,
            got=names[0],
            hint="annotate at least two, or split it into two files",
        )
    return names


def _held_out(names: list[str], share: float, seed: int) -> list[str]:
    count = min(len(names) - 1, max(1, round(share * len(names))))
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[i] for i in sorted(chosen)]
