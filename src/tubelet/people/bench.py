"""How good and how quick a person detector is on labelled still pictures.

Detectors are published with the AP of 80 classes; nobody publishes that of people alone, nor says
how small a person may be. Each picture is shown once, as it is; its people count as in
`people.measure`, at IoU 0.5.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tubelet.errors import InputError
from tubelet.people.detectors.base import PersonDetector
from tubelet.people.measure import FrameMatch, match, precision_area
from tubelet.people.stills import Still
from tubelet.types import Floats

LOWEST = 0.001  # of the detections that AP ranks: below it lies next to none of its area
IOU = 0.5
HEIGHTS_PX = (0, 16, 32, 96, float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """Pictures of one source: AP, and at the threshold recall, precision and errors a picture.

    NaN where there is nothing to divide by. `ghosts` is the errors per picture in those without
    anybody, of which there are `empty`.
    """

    name: str
    pictures: int
    people: int
    ap: float
    recall: float
    precision: float
    errors: float
    empty: int
    ghosts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRow:
    """Recall of the people `low` to `high` pixels tall, at the threshold and at any score."""

    low: float
    high: float
    people: int
    recall: float
    recall_any: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonBench:
    """`rows`: all pictures, then each source. `ms`: processor time of one picture, all threads."""

    threshold: float
    rows: tuple[BenchRow, ...]
    sizes: tuple[SizeRow, ...]
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    source: str
    matches: FrameMatch
    heights_px: Floats
    empty: bool


def bench(detector: PersonDetector, stills: Iterable[Still], *, threshold: float) -> PersonBench:
    """Show every picture to `detector`, which should keep scores down to `LOWEST` for the AP.

    Raises InputError without a picture.
    """
    seen: list[_Shown] = []
    shapes: set[tuple[int, ...]] = set()
    seconds = 0.0
    for still in stills:
        image = still.image()
        if image.shape not in shapes:
            detector(image)  # the first call with a size prepares what the others find ready
            shapes.add(image.shape)
        started = time.process_time()
        found = detector(image)
        seconds += time.process_time() - started
        seen.append(
            _Shown(
                source=still.source,
                matches=match(found, still.people, still.ignored, iou=IOU),
                heights_px=(still.people[:, 3] - still.people[:, 1]) * image.shape[0],
                empty=not len(still.people) and not len(still.ignored),
            )
        )
    if not seen:
        raise InputError("no picture to measure a person detector on")
    return PersonBench(
        threshold=threshold,
        rows=tuple(_rows(seen, threshold)),
        sizes=tuple(_sizes(seen, threshold)),
        ms=1000 * seconds / len(seen),
    )


def _rows(seen: Sequence[_Shown], threshold: float) -> Iterator[BenchRow]:
    yield _row("all", seen, threshold)
    sources = sorted({one.source for one in seen})
    for name in sources if len(sources) > 1 else ():
        yield _row(name or "(no source)", [s for s in seen if s.source == name], threshold)


def _row(name: str, seen: Sequence[_Shown], threshold: float) -> BenchRow:
    matches = [one.matches for one in seen]
    sure = np.concatenate([m.scores for m in matches]) >= threshold
    hits = np.concatenate([m.hits for m in matches])
    found_at = np.concatenate([m.found_at for m in matches])
    empty = [one.matches for one in seen if one.empty]
    return BenchRow(
        name=name,
        pictures=len(seen),
        people=len(found_at),
        ap=precision_area(matches),
        recall=_share(found_at >= threshold),
        precision=_share(hits[sure]),
        errors=int((sure & ~hits).sum()) / len(seen),
        empty=len(empty),
        ghosts=sum(int((m.scores >= threshold).sum()) for m in empty) / len(empty)
        if empty
        else float("nan"),
    )


def _sizes(seen: Sequence[_Shown], threshold: float) -> Iterator[SizeRow]:
    heights = np.concatenate([one.heights_px for one in seen])
    found_at = np.concatenate([one.matches.found_at for one in seen])
    for low, high in pairwise(HEIGHTS_PX):
        scores = found_at[(heights >= low) & (heights < high)]
        yield SizeRow(
            low=low,
            high=high,
            people=len(scores),
            recall=_share(scores >= threshold),
            recall_any=_share(scores > 0),
        )


def _share(which: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return float(which.mean()) if len(which) else float("nan")
