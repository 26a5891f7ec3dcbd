"""From a user's annotations to files that a recipe can train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.importers import Options, read
from tubelet.data.labelmaps import write_pbtxt
from tubelet.data.tables import write_ava_csv
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError, InputError
from tubelet.labels import LabelSpace

_WRITTEN = ("labels.pbtxt", "train.csv", "val.csv", "recipe.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSet:
    """What `prepare` wrote. `videos`: the folder they came from."""

    videos: Path
    labels: Path
    train: Path
    val: Path
    space: LabelSpace
    train_videos: tuple[str, ...]
    val_videos: tuple[str, ...]


def prepare(
    source: Path,
    videos: Path,
    out: Path,
    *,
    format_name: str | None = None,
    labels: LabelSpace | None = None,
    every_ms: int | None = None,
    val_share: float = 0.2,
    seed: int = 0,
) -> PreparedSet:
    """Write `labels.pbtxt`, `train.csv` and `val.csv` (AVA's columns) from annotations of any
    format that `tubelet data convert` reads.

    Whole videos go to one side or the other, `val_share` of them (at least one) to validation, so
    that no video is in both. `every_ms`: keep one labelled frame in so many milliseconds. Raises
    InputError or DataError if the classes have no names, or fewer than two videos.
    """
    if not 0 < val_share < 1:
        raise InputError("invalid share of validation videos", expected="0…1", got=val_share)
    if source.resolve() in {(out / name).resolve() for name in _WRITTEN}:
        raise InputError(
            "this would overwrite the annotations",
            where=source,
            hint="choose another output folder",
            arguments=("out",),
        )
    options = Options(labels=labels, videos=videos, every_ms=every_ms)
    table, space = _read(source, format_name, options)
    names = _videos_with_files(table, videos, source)
    held = set(_held_out(names, val_share, seed))
    parts = {
        "train": tuple(n for n in names if n not in held),
        "val": tuple(n for n in names if n in held),
    }
    for split, members in parts.items():
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
    )


def _read(
    source: Path, format_name: str | None, options: Options
) -> tuple[Annotations, LabelSpace]:
    table, named = read(source, format_name, options)
    if not isinstance(table, Annotations):
        raise DataError("the annotations contain no people", where=source, expected="boxes")
    space = options.labels or named
    if space is None:
        raise InputError(
            "missing class names in the annotations",
            where=source,
            hint="provide a label map",
            arguments=("labels",),
        )
    return table, space


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
    if len(names) < 2:
        raise DataError(
            "a single video cannot be used for both training and testing",
            where=source,
            got=", ".join(names) or "no video",
            hint="annotate at least two, or split it into two files",
        )
    return names


def _held_out(names: list[str], share: float, seed: int) -> list[str]:
    count = min(len(names) - 1, max(1, round(share * len(names))))
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[i] for i in sorted(chosen)]
