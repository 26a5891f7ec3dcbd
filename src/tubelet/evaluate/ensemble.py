"""One prediction out of several: the weighted mean of their scores.

Members are joined one after the other, so that only two tables are in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.errors import ConfigError, DataError
from tubelet.evaluate.clip_scores import ClipScores

_CORNERS = ("k1", "k2", "k3", "k4")
_PERSON = ["video", "time_ms", *_CORNERS, "nth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the joined predictions each member covers: people at keyframes, or videos."""

    total: int
    unit: str
    of_members: tuple[int, ...]

    def notes(self, names: Sequence[str]) -> list[str]:
        """A sentence for each member with missing predictions."""
        return [
            f"{name} is missing {self.total - count:,} of {self.total:,} {self.unit}; "
            "their scores are the mean of the other members"
            for name, count in zip(names, self.of_members, strict=True)
            if count < self.total
        ]


def normalised(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """Weights that sum to 1; none given means equal ones. Raises ConfigError unless there is one
    positive number per member."""
    given = tuple(weights) or (1.0,) * members
    if not members or len(given) != members or not all(0 < w < math.inf for w in given):
        raise ConfigError(
            "an ensemble needs members, and a positive weight for each or for none",
            expected=f"{members} weights",
            got=", ".join(f"{w:g}" for w in given) or "no member",
        )
    return tuple(w / math.fsum(given) for w in given)


def join_detections(
    members: Iterable[Annotations], weights: Sequence[float]
) -> tuple[Annotations, Coverage]:
    """Scores of the same people averaged. `weights` as `normalised` gives them.

    A person is a box (to single precision) at a time (to the millisecond) in a video; of equal
    boxes the first belongs to the first. An action that a member does not list for a person has
    the score 0; a person missing from it is averaged over the others. Raises DataError where
    a member shares no person with those before it.
    """
    rows, people = _rows(Annotations.of(video=[], time_us=[]), 0.0)
    counts = []
    for table, weight in zip(members, weights, strict=True):
        own_rows, own_people = _rows(table, weight)
        before = len(people)
        rows = (
            pl.concat([rows, own_rows])
            .group_by([*_PERSON, "label"], maintain_order=True)
            .agg(pl.col(BOX).first(), pl.col("score").sum())
            .select(own_rows.columns)
        )
        people = (
            pl.concat([people, own_people])
            .group_by(_PERSON, maintain_order=True)
            .agg(pl.col("weight").sum())
        )
        if before and len(own_people) and len(people) == before + len(own_people):
            raise DataError(
                "the members of the ensemble share no person",
                where=table.source,
                expected="the same boxes at the same times in the same videos",
                hint="predict all members on the same boxes",
            )
        counts.append(len(own_people))
    joined = rows.join(people, on=_PERSON, how="left", maintain_order="left").select(
        "video",
        (pl.col("time_ms") * 1000).alias("time_us"),
        *BOX,
        "label",
        pl.col("score") / pl.col("weight"),
    )
    coverage = Coverage(total=len(people), unit="people", of_members=tuple(counts))
    return Annotations(frame=joined), coverage


def _rows(table: Annotations, weight: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A member's rows, each score times the weight, and its people with the weight."""
    corners = [pl.col(c).cast(pl.Float32).alias(k) for c, k in zip(BOX, _CORNERS, strict=True)]
    person = ["video", "time_ms", *_CORNERS]
    rows = (
        table.frame.with_columns(table.time_ms, *corners)
        .drop_nulls("x1")
        .with_columns(
            pl.int_range(pl.len()).over([*person, "label"]).alias("nth"),
            pl.col("score").fill_null(1.0) * weight,
        )
        .select(*_PERSON, "label", *BOX, "score")
    )
    people = rows.select(_PERSON).unique(maintain_order=True)
    return rows, people.with_columns(pl.lit(weight).alias("weight"))


def join_clips(
    members: Iterable[ClipScores], weights: Sequence[float]
) -> tuple[ClipScores, Coverage]:
    """Scores of the same videos averaged, each member's own views of a video first.

    `weights` as `normalised` gives them. A video missing from a member is averaged over the
    others. Raises DataError where members score different classes or share no video.
    """
    place: dict[str, int] = {}
    ids: tuple[int, ...] = ()
    parts, counts = [], []
    for found, weight in zip(members, weights, strict=True):
        own = found.joined("mean")
        ids = ids or own.ids
        if sorted(own.ids) != sorted(ids):
            raise DataError(
                "the members of the ensemble score different classes",
                where=own.source,
                expected=f"{len(ids)} classes from {min(ids)} to {max(ids)}",
                got=f"{len(own.ids)} classes from {min(own.ids)} to {max(own.ids)}",
            )
        if place and own.videos and not place.keys() & set(own.videos):
            raise DataError("the members of the ensemble share no video", where=own.source)
        column = {label: i for i, label in enumerate(own.ids)}
        rows = np.array([place.setdefault(video, len(place)) for video in own.videos], np.int64)
        parts.append((rows, own.scores[:, [column[label] for label in ids]], weight))
        counts.append(len(own.videos))
    total, mass = np.zeros((len(place), len(ids))), np.zeros(len(place))
    for rows, scores, weight in parts:
        total[rows] += scores * weight
        mass[rows] += weight
    coverage = Coverage(total=len(place), unit="videos", of_members=tuple(counts))
    return ClipScores(videos=tuple(place), ids=ids, scores=total / mass[:, None]), coverage
