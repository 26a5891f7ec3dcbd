"""Who is whom, as a person corrected it on the result page: tracks merged and given names.

`identities.json`, version 1, which the page saves and `tubelet correct` applies:

    {"format": "tubelet.identities", "version": 1, "video": the film's name or null,
     "people": [{"track_ids": [the one that stays, others that are the same person], "name"}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.errors import DataError, InputError
from tubelet.results import Tube
from tubelet.types import Floats, Ints

FORMAT, VERSION = "tubelet.identities", 1
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One person: the track ids that are theirs, the one that stays first, and a name or ""."""

    track_ids: tuple[int, ...]
    name: str = ""


def read_identities(path: str | Path) -> list[Identity]:
    """Read an `identities.json`. Raises InputError for a missing file; DataError for another
    format or version, a field of another type, and a track that belongs to two people."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("cannot read the identities", where=path, got=error.strerror) from error
    except ValueError as error:
        raise DataError("invalid JSON", where=path, got=error) from error
    head = (data.get("format"), data.get("version")) if isinstance(data, dict) else None
    if head != (FORMAT, VERSION):
        raise DataError(
            "not an identities.json file",
            where=path,
            expected=f"format {FORMAT!r}, version {VERSION}",
            got=head,
            hint="save it from the result page",
        )
    people: list[dict[str, Any]] = data.get("people")
    taken = set[int]()
    for number, person in enumerate(people if isinstance(people, list) else [None]):
        where = f"{path}, person {number}"
        ids: Any = person.get("track_ids") if isinstance(person, dict) else None
        name = person.get("name", "") if isinstance(person, dict) else None
        if not _are_ids(ids) or not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise DataError(
                "invalid person in identities.json",
                where=where,
                expected=f"track_ids: whole numbers from 0; name: up to {LONGEST_NAME} letters",
                got=person,
            )
        twice = taken.intersection(ids)
        if twice:
            raise DataError("a track belongs to two people", where=where, got=sorted(twice))
        taken.update(ids)
    return [Identity(track_ids=tuple(p["track_ids"]), name=p.get("name", "")) for p in people]


def _are_ids(ids: object) -> bool:
    return (
        isinstance(ids, list)
        and bool(ids)
        and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids)
        and len(set(ids)) == len(ids)
    )


def with_identities(tubes: Iterable[Tube], people: Sequence[Identity]) -> list[Tube]:
    """The tubes with their people merged and named; others stay as they are, in their order.

    Where two tracks of one person were both seen at a keyframe, the surer box and its scores stay,
    the earlier track's on a tie. Raises DataError for a track id that no tube has.
    """
    found = list(tubes)
    by_id: dict[int, list[Tube]] = {}
    for tube in found:
        by_id.setdefault(tube.track_id, []).append(tube)
    merged: dict[int, Tube | None] = {}
    for person in people:
        missing = [i for i in person.track_ids if i not in by_id]
        if missing:
            raise DataError(
                "identities of another film: no tube has this track id",
                got=missing,
                expected=f"among {sorted(by_id)[:20]}",
            )
        own = [tube for i in person.track_ids for tube in by_id[i]]
        merged |= dict.fromkeys(person.track_ids)
        merged[person.track_ids[0]] = replace(_merged(own), name=person.name)
    result = []
    for tube in found:
        if tube.track_id not in merged:
            result.append(tube)
        elif (one := merged[tube.track_id]) is not None:
            result.append(one)
            merged[tube.track_id] = None
    return result


def _merged(tubes: Sequence[Tube]) -> Tube:
    first = tubes[0]
    if len(tubes) == 1:
        return first
    times = np.concatenate([tube.times_ms for tube in tubes])
    sure = np.concatenate([tube.person_scores for tube in tubes])
    turn = np.concatenate([np.full(len(tube), i) for i, tube in enumerate(tubes)])
    order = np.lexsort((turn, -sure, times))
    kept = order[np.r_[True, np.diff(times[order]) > 0]]
    boxes = np.concatenate([tube.boxes for tube in tubes])[kept]
    path_ms, path_boxes = _path(tubes, times[kept], boxes)
    return replace(
        first,
        times_ms=times[kept],
        boxes=boxes,
        person_scores=sure[kept],
        action_scores=np.concatenate([tube.action_scores for tube in tubes])[kept],
        path_ms=path_ms,
        path_boxes=path_boxes,
    )


def _path(tubes: Sequence[Tube], times_ms: Ints, boxes: Floats) -> tuple[Ints, Floats]:
    """The points of all paths, of an earlier track where two share a moment; keyframes first."""
    if not any(len(tube.path_ms) for tube in tubes):
        return np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    points: dict[int, Floats] = {}
    for tube in reversed(tubes):
        seen = bool(len(tube.path_ms))
        own = zip(
            (tube.path_ms if seen else tube.times_ms).tolist(),
            tube.path_boxes if seen else tube.boxes,
            strict=True,
        )
        points |= dict(own)
    points |= dict(zip(times_ms.tolist(), boxes, strict=True))
    moments = sorted(points)
    return np.array(moments, np.int64), np.stack([points[t] for t in moments])
