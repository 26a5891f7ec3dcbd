"""From a user's annotations to files that a recipe can train on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.doctor.films import check_films
from tubelet.data.doctor.findings import Case, DataSet
from tubelet.data.importers import Imported, Options, Report, read_all
from tubelet.data.importers.sources import split_named
from tubelet.data.labelmaps import write_pbtxt
from tubelet.data.splits import Sides, given_split, one_sided, stratified_split, without_column
from tubelet.data.tables import write_ava_csv
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError, InputError
from tubelet.film_ids import same_films
from tubelet.labels import LabelSpace

_WRITTEN = ("labels.pbtxt", "train.csv", "val.csv", "test.csv", "recipe.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSet:
    """What `prepare` wrote. `videos`: the folder they came from; `frame_rate`: of those that are
    folders of frames; `test_videos`: those of the annotations' own test subset beside a validation
    subset; `report`: what was taken from the annotations and what was left; `single_choice`:
    whether a person does exactly one of the classes at a time; `split_notes`: what the split could
    not do."""

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
    single_choice: bool = False
    split_notes: tuple[str, ...] = ()


def prepare(
    sources: Path | Sequence[Path],
    videos: Path,
    out: Path,
    *,
    format_name: str | None = None,
    options: Options | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    val_videos: Sequence[str] = (),
    split_column: str | None = None,
) -> PreparedSet:
    """Write `labels.pbtxt`, `train.csv` and `val.csv` (AVA's columns) from annotations of any
    format that `tubelet data convert` reads: files, zip archives and folders of them.

    Whole videos go to one side or the other, so that no video is in both: `val_videos` to
    validation, or as the column `split_column` of a CSV says, or by the annotations' own subsets
    (train, validation, test) where they have them, else `val_share` of them (at least one) to
    validation, so that as many classes as possible are on both sides (`seed` decides which).
    `split_notes` of the result says what could not be had. `options`: how the annotations are read.
    Raises InputError or DataError, before anything is written, if the classes have no names, no box
    has an action, there are fewer than two videos, or a video is missing.
    """
    if not 0 < val_share < 1:
        raise InputError("invalid share of validation videos", expected="0…1", got=val_share)
    given = [sources] if isinstance(sources, Path) else list(sources)
    _check_output(given, out)
    options = replace(options or Options(), videos=videos)
    columns: dict[str, frozenset[str]] = {}
    originals = given
    with tempfile.TemporaryDirectory(prefix="tubelet_") as folder:
        if split_column is not None:
            given, columns = without_column(given, split_column, Path(folder))
        table, space, report = _read(given, format_name, options, out)
        report = _of_originals(report, dict(zip(given, originals, strict=True)))
    names = _videos_with_files(table, videos, given[0])
    rate = _rate_of_folders(names, videos, options.fps)
    report = replace(report, taken=(*report.taken, *_outside(table, videos, originals[0])))
    split = _split(table, names, report, columns, val_videos, val_share, seed)
    parts = {"train": split.train, "val": split.val, "test": split.test}
    for side, members in parts.items():
        if members:
            write_ava_csv(out / f"{side}.csv", table.of_video(*members), kind="truth")
    write_pbtxt(out / "labels.pbtxt", space)
    return PreparedSet(
        videos=videos,
        labels=out / "labels.pbtxt",
        train=out / "train.csv",
        val=out / "val.csv",
        space=space,
        train_videos=parts["train"],
        val_videos=parts["val"],
        test_videos=parts["test"],
        frame_rate=rate,
        report=report,
        single_choice=_single_choice(table, report),
        split_notes=(
            *split.notes,
            *one_sided(table, split, space),
            *_without_negatives(table, space),
        ),
    )


def _of_originals(report: Report, copies: Mapping[Path, Path]) -> Report:
    """The report of copies, told of their originals."""
    taken = report.taken
    for copy, original in copies.items():
        taken = tuple(line.replace(str(copy), str(original)) for line in taken)
    return replace(report, taken=taken)


def _split(
    table: Annotations,
    names: Sequence[str],
    report: Report,
    columns: Mapping[str, frozenset[str]],
    val_videos: Sequence[str],
    val_share: float,
    seed: int,
) -> Sides:
    if val_videos:
        return given_split(names, val_videos)
    if columns:
        alike = same_films(columns, names)
        own = _own_split(names, {alike.get(video, video): of for video, of in columns.items()})
        if own is None:
            raise DataError(
                "the column does not give every video one side",
                expected="train, val or test in each row, the same for all rows of a video, "
                "and a video on both sides",
                got="; ".join(f"{v}: {', '.join(sorted(of))}" for v, of in [*columns.items()][:4]),
                hint="mend the column, or leave the split to us",
                arguments=("split",),
            )
        return own
    own = _own_split(names, report.subsets)
    if own is not None:
        return own
    told: tuple[str, ...] = ()
    if any(report.subsets.values()):
        told = ("the annotations' own subsets do not give every video one side: split anew",)
    return replace(stratified_split(table, val_share, seed), notes=told)


def _single_choice(table: Annotations, report: Report) -> bool:
    """Whether a person does exactly one of the classes: the values of one choice, more than one of
    them used, and nobody who does two (in COCO a box for each)."""
    said = table.frame.drop_nulls(["x1", "label"])
    if not report.single_choice or said["label"].n_unique() < 2:
        return False
    several = said.drop_nulls("person").group_by("video", "time_us", "person").len()["len"]
    return several.is_empty() or int(str(several.max())) == 1


def _without_negatives(table: Annotations, space: LabelSpace) -> list[str]:
    """A word about a single class that every labelled person does."""
    boxed = table.frame.drop_nulls("x1")
    if boxed["label"].drop_nulls().n_unique() != 1 or boxed["label"].null_count():
        return []
    name = dict(zip(space.ids, space.names, strict=True)).get(boxed["label"][0], "")
    return [
        f"{name}: the only action, and everybody labelled does it, so a model learns to say yes to "
        "everybody: label people who do not do it too, as boxes without an action"
    ]


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


def _own_split(names: Sequence[str], subsets: Mapping[str, frozenset[str]]) -> Sides | None:
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
    return Sides(**{side: tuple(members) for side, members in sides.items()})


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
