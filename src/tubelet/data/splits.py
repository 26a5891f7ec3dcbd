"""Which videos train a model and which validate it: whole videos, each class on both sides.

Legend: V videos, K classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tubelet.data.annotations import Annotations
from tubelet.data.untrusted.reading import read_text
from tubelet.errors import DataError, InputError
from tubelet.film_ids import same_films
from tubelet.labels import LabelSpace

_TRIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """`train`, `val` and perhaps `test` videos, and `notes`: what could not be had, in
    sentences."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def given_split(names: Sequence[str], val: Iterable[str]) -> Sides:
    """`val`, as the user names them, to validation and all others to training. Raises InputError
    for a name that is none of the videos', and where nothing is left to train on."""
    asked = list(val)
    found = same_films(asked, names)
    unknown = [name for name in asked if name not in found]
    if unknown:
        raise InputError(
            f"unknown validation video {unknown[0]!r}",
            expected=f"one of {len(names)} annotated videos: {', '.join(names[:5])}",
            arguments=("val_videos",),
        )
    held = set(found.values())
    train = tuple(name for name in names if name not in held)
    if not train or not held:
        raise InputError(
            "one side of the split is empty",
            expected="at least one video to train on and one to validate on",
            got=f"{len(train)} and {len(held)}",
            arguments=("val_videos",),
        )
    return Sides(train=train, val=tuple(name for name in names if name in held))


def stratified_split(table: Annotations, share: float, seed: int) -> Sides:
    """About `share` of the videos to validation, at least one, such that as many classes as
    possible are on both sides, and of each about `share` of its boxes.

    Of some hundred random splits the best, then improved by single exchanges; the same `seed`
    gives the same split.
    """
    names = sorted(table.videos())
    counts = _counts(table, names)
    held = min(len(names) - 1, max(1, round(share * len(names))))
    rng = np.random.default_rng(seed)
    best: np.typing.NDArray[np.bool_] | None = None
    for _ in range(_TRIES):
        side = np.zeros(len(names), np.bool_)
        side[rng.permutation(len(names))[:held]] = True
        if best is None or _worth(counts, side, share) > _worth(counts, best, share):
            best = side
    assert best is not None
    best = _improved(counts, best, share)
    return Sides(
        train=tuple(n for n, val in zip(names, best, strict=True) if not val),
        val=tuple(n for n, val in zip(names, best, strict=True) if val),
    )


def one_sided(table: Annotations, split: Sides, labels: LabelSpace) -> list[str]:
    """What the split could not do: classes that one side lacks, each with the reason."""
    names = dict(zip(labels.ids, labels.names, strict=True))
    videos_of = _videos_of(table)
    sides = {"training": set(split.train), "validation": set(split.val)}
    notes = []
    for side, members in sides.items():
        lacking = [i for i, videos in videos_of.items() if i in names and not videos & members]
        rare = [names[i] for i in lacking if len(videos_of[i]) == 1]
        other = [names[i] for i in lacking if len(videos_of[i]) > 1]
        meant = "cannot be learnt" if side == "training" else "no figure can be given"
        if rare:
            notes.append(f"{_listed(rare)}: labelled in one video only, so {meant}")
        if other:
            notes.append(f"{_listed(other)}: in no {side} video, so {meant}")
    absent = [names[i] for i in labels.ids if i not in videos_of]
    if absent:
        notes.append(f"{_listed(absent)}: labelled nowhere")
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _videos_of(table: Annotations) -> Mapping[int, set[str]]:
    rows = table.frame.drop_nulls("label").group_by("label").agg(pl.col("video").unique())
    return {int(label): set(videos) for label, videos in rows.sort("label").iter_rows()}


def _counts(table: Annotations, names: Sequence[str]) -> np.typing.NDArray[np.int64]:
    """Boxes of each class in each video `(V, K)`."""
    rows = table.frame.drop_nulls("label").group_by("video", "label").len()
    labels = {label: column for column, label in enumerate(sorted(rows["label"].unique()))}
    places = {name: row for row, name in enumerate(names)}
    counts = np.zeros((len(names), len(labels)), np.int64)
    for video, label, count in rows.iter_rows():
        counts[places[video], labels[label]] = count
    return counts


def _worth(
    counts: np.typing.NDArray[np.int64], side: np.typing.NDArray[np.bool_], share: float
) -> tuple[int, int, float]:
    """How good a split is: classes that can be learnt, classes on both sides, and how near each
    class comes to `share`."""
    val, train = counts[side].sum(axis=0), counts[~side].sum(axis=0)
    both = int(((val > 0) & (train > 0)).sum())
    near = -float(np.abs(val / np.maximum(val + train, 1) - share).sum())
    return int((train > 0).sum()), both, near


def _improved(
    counts: np.typing.NDArray[np.int64], side: np.typing.NDArray[np.bool_], share: float
) -> np.typing.NDArray[np.bool_]:
    """Exchange a video of one side for one of the other for as long as it helps."""
    worth = _worth(counts, side, share)
    for _ in range(20):
        found = None
        for out in np.flatnonzero(side)[:50]:
            for into in np.flatnonzero(~side)[:50]:
                other = side.copy()
                other[out], other[into] = False, True
                value = _worth(counts, other, share)
                if value > worth:
                    worth, found = value, other
        if found is None:
            return side
        side = found
    return side


def without_column(
    sources: Sequence[Path], column: str, folder: Path
) -> tuple[list[Path], dict[str, frozenset[str]]]:
    """Copies of CSV files in `folder` without a column, and that column's values of each video.

    Raises DataError for a file without a header that names it.
    """
    copies: list[Path] = []
    values: dict[str, set[str]] = {}
    for number, source in enumerate(sources):
        text = read_text(source)
        first = text.split("\n", 1)[0]
        separator = max(",;\t", key=first.count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        header = [cell.strip().casefold() for cell in rows[0]] if rows else []
        if column.casefold() not in header:
            raise DataError(
                f"no column {column!r}",
                where=source,
                expected=f"a header that names it, with {separator!r} between columns",
                got=first[:120],
                arguments=("split",),
            )
        place = header.index(column.casefold())
        video = next((i for i, name in enumerate(header) if name.startswith("vid")), 0)
        for row in rows[1:]:
            if len(row) > max(place, video):
                values.setdefault(row[video].strip(), set()).add(row[place].strip())
        copy = folder / str(number) / source.name
        copy.parent.mkdir()
        kept = io.StringIO()
        csv.writer(kept, delimiter=separator, lineterminator="\n").writerows(
            [cell for i, cell in enumerate(row) if i != place] for row in rows
        )
        copy.write_text(kept.getvalue(), encoding="utf-8")
        copies.append(copy)
    return copies, {name: frozenset(found) for name, found in values.items()}
