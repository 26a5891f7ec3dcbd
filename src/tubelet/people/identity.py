"""How well people are followed: HOTA, IDF1 and switches of identity.

HOTA: Luiten et al., IJCV 2021, the mean over IoU 0.05 to 0.95. IDF1: Ristani et al., ECCV-W 2016.
Switches: Bernardin and Stiefelhagen, 2008 (CLEAR MOT). The last two match at IoU 0.5. All three as
the authors' TrackEval computes them, over several films too.

Legend: G true people of a moment, N found ones, I true and J found identities of a film.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tubelet.boxes import iou_matrix
from tubelet.types import Ints, People

Array = npt.NDArray[np.float64]
Moment = tuple[People, People]
"""The true and the found people of a moment, with track ids."""
ALPHAS = np.arange(0.05, 0.99, 0.05)
_MATCH = 0.5
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackReport:
    """`hota`, `detection` (DetA), `association` (AssA) and `idf1` in [0, 1], NaN without truth.
    `switches`: how often a person goes on under another id. `people`: true identities that were
    found at all; `ids`: found identities that were on them; `strangers`: found ones on nobody."""

    hota: float
    detection: float
    association: float
    idf1: float
    switches: int
    people: int
    ids: int
    strangers: int


@dataclass(slots=True)
class _ComparedFilm:
    """A film's people as numbers from 0 on: `true[t] (G,)`, `found[t] (N,)`, `iou[t] (G, N)`."""

    true: list[Ints]
    found: list[Ints]
    iou: list[Array]

    @classmethod
    def of(cls, moments: Sequence[Moment]) -> _ComparedFilm:
        true, found = ([moment[side].track_ids for moment in moments] for side in (0, 1))
        iou = [iou_matrix(t.boxes, f.boxes).astype(np.float64) for t, f in moments]
        return cls(true=_numbered(true), found=_numbered(found), iou=iou)

    def counts(self) -> tuple[Array, Array]:
        """At how many moments each identity is there `(I,)`, `(J,)`."""
        both = []
        for ids in (self.true, self.found):
            flat = np.concatenate([*ids, np.zeros(0, np.int64)])
            both.append(np.bincount(flat).astype(np.float64))
        return both[0], both[1]


def _numbered(ids: Sequence[Ints]) -> list[Ints]:
    """The same ids as places among all that occur."""
    known = np.unique(np.concatenate([*ids, np.zeros(0, np.int64)]))
    return [np.searchsorted(known, i).astype(np.int64) for i in ids]


def measure_tracks(films: Sequence[Sequence[Moment]]) -> TrackReport:
    """Compare found with true people, moment by moment, over several films together."""
    read = [_ComparedFilm.of(moments) for moments in films]
    hits, misses, ghosts, together = (
        np.sum(part, 0) for part in zip(*map(_hota, read), strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        detection = hits / (hits + misses + ghosts)
        association = together / np.maximum(hits, 1e-10)
    identity = np.sum([_identity(film) for film in read], 0)
    clear = np.sum([_switches(film) for film in read], 0).tolist()
    return TrackReport(
        hota=float(np.sqrt(detection * association).mean()),
        detection=float(detection.mean()),
        association=float(association.mean()),
        idf1=float(identity[0] / max(1.0, identity[1])),
        switches=clear[0],
        people=clear[1],
        ids=clear[2],
        strangers=clear[3],
    )


def _hota(film: _ComparedFilm) -> tuple[Array, Array, Array, Array]:
    """Of each alpha: true positives, misses, ghosts, and the sum of the true positives' AssA."""
    true_count, found_count = film.counts()
    likely = np.zeros((len(true_count), len(found_count)))
    for true, found, iou in zip(film.true, film.found, film.iou, strict=True):
        union = iou.sum(0)[None] + iou.sum(1)[:, None] - iou
        share = np.divide(iou, union, out=np.zeros_like(iou), where=union > _EPS)
        likely[np.ix_(true, found)] += share
    aligned = likely / np.maximum(true_count[:, None] + found_count[None] - likely, _EPS)
    matched = np.zeros((len(ALPHAS), *likely.shape))
    for true, found, iou in zip(film.true, film.found, film.iou, strict=True):
        rows, columns = linear_sum_assignment(-aligned[np.ix_(true, found)] * iou)
        for at, alpha in enumerate(ALPHAS):
            good = iou[rows, columns] >= alpha - _EPS
            matched[at, true[rows[good]], found[columns[good]]] += 1
    hits = matched.sum((1, 2))
    union = np.maximum(1, true_count[:, None] + found_count[None] - matched)
    together = (matched * matched / union).sum((1, 2))
    return hits, true_count.sum() - hits, found_count.sum() - hits, together


def _identity(film: _ComparedFilm) -> tuple[float, float]:
    """Twice the moments of the best one-to-one assignment of identities, and all moments."""
    true_count, found_count = film.counts()
    alike = np.zeros((len(true_count), len(found_count)))
    for true, found, iou in zip(film.true, film.found, film.iou, strict=True):
        rows, columns = np.nonzero(iou >= _MATCH)
        alike[true[rows], found[columns]] += 1
    rows, columns = linear_sum_assignment(alike, maximize=True)
    return 2 * float(alike[rows, columns].sum()), float(true_count.sum() + found_count.sum())


def _switches(film: _ComparedFilm) -> tuple[int, int, int, int]:
    """Switches; true people ever found; found identities ever on somebody; and never."""
    last: dict[int, int] = {}
    latest: dict[int, int] = {}
    switches, used = 0, set[int]()
    for true, found, iou in zip(film.true, film.found, film.iou, strict=True):
        goes_on = np.array([[latest.get(t) == f for f in found.tolist()] for t in true.tolist()])
        score = 1000.0 * goes_on.reshape(iou.shape) + iou
        score[iou < _MATCH - _EPS] = 0
        rows, columns = linear_sum_assignment(score, maximize=True)
        good = score[rows, columns] > _EPS
        pairs = zip(true[rows[good]].tolist(), found[columns[good]].tolist(), strict=True)
        latest = dict(pairs)
        switches += sum(last.get(t, f) != f for t, f in latest.items())
        last |= latest
        used |= set(latest.values())
    everyone = len(film.counts()[1])
    return switches, len(last), len(used), everyone - len(used)
