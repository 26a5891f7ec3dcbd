"""Person proposals beside ground truth: training boxes, recall and person AP. Vectorised.

Legend: P proposals, G truth people. Proposals and truth meet where video and time_us are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tubelet.boxes import average_precision
from tubelet.data.annotations import BOX, Annotations
from tubelet.errors import InputError

_MOMENT = ["video", "time_us"]
_PERSON = [*_MOMENT, *BOX, "person"]
_PROPOSAL = [*_MOMENT, *BOX]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonQuality:
    """How well boxes find people, all at one IoU: `recall` of the G truth people and average
    precision `ap`, both NaN without truth; `moments_without`: keyframes with people and no proposal
    at all."""

    people: int
    proposals: int
    recall: float
    ap: float
    moments_without: int


def for_training(
    truth: Annotations,
    proposals: Annotations,
    *,
    iou: float = 0.9,
    min_score: float = 0.0,
    keep_truth: bool = True,
) -> Annotations:
    """Ground truth plus the proposals that overlap a truth person by more than `iou`; without
    `keep_truth`, those proposals alone, and a row without a box for each keyframe that has none.

    Such a proposal takes the labels and the person id of the person it overlaps most (the first
    in the file where two tie) and keeps its score; truth rows keep a null one. 0.9 is the papers'
    threshold, 0.75 their variant. Rows are truth first, then proposals in their own order.
    """
    _check_iou(iou)
    pairs, people, boxes = _best_pairs(truth, proposals.at_least(min_score))
    taken = pairs.filter(pl.col("iou") > iou).sort("proposal")
    labels = truth.frame.join(people, on=_PERSON, nulls_equal=True, maintain_order="left").select(
        "person_row", "label"
    )
    added = (
        taken.join(boxes, left_on="proposal", right_on="proposal_row", maintain_order="left")
        .join(
            people.select("person_row", "person"),
            left_on="truth",
            right_on="person_row",
            maintain_order="left",
        )
        .join(labels, left_on="truth", right_on="person_row", maintain_order="left_right")
        .select(*_MOMENT, *BOX, "label", "person", "score", pl.lit(None, pl.UInt32).alias("row"))
    )
    shown = truth.frame
    if not keep_truth:
        missed = shown.join(added, on=_MOMENT, how="anti", maintain_order="left")
        moments = missed.select(_MOMENT).unique(maintain_order=True)
        shown = pl.concat([shown.clear(), moments], how="diagonal")
    return Annotations(frame=pl.concat([shown, added]), source=truth.source)


def for_testing(proposals: Annotations, *, min_score: float) -> Annotations:
    """Each distinct box scored at least `min_score`, labels dropped (0.8 for AVA with Faster
    R-CNN, 0.2 for AVA-Kinetics with CenterNet); a box without a score counts as 1."""
    boxes = _boxes(proposals.at_least(min_score)).drop("proposal_row")
    return Annotations(frame=boxes, source=proposals.source)


def with_boxes(truth: Annotations, boxes: Annotations) -> Annotations:
    """The keyframes of `truth` with the people of `boxes` and no labels: one row per box, or a row
    without a box for a keyframe where `boxes` has none. Boxes at other times are left out."""
    moments = truth.frame.select(_MOMENT).unique(maintain_order=True)
    rows = moments.join(
        _boxes(boxes).drop("proposal_row"), on=_MOMENT, how="left", maintain_order="left_right"
    )
    return Annotations(frame=rows, source=boxes.source)


def quality(truth: Annotations, proposals: Annotations, *, iou: float = 0.5) -> PersonQuality:
    """Recall and AP of boxes as person detections, as the AVA script would score one class.

    Proposals are taken by falling score; each tries only the truth person that it overlaps most,
    and a person counts once. Only the truth's keyframes are scored, including those without people.
    """
    _check_iou(iou)
    moments = truth.frame.select(_MOMENT).unique()
    here = proposals.frame.join(moments, on=_MOMENT, how="semi", maintain_order="left")
    pairs, people, boxes = _best_pairs(truth, Annotations(frame=here))
    scores = boxes["score"].fill_null(1.0).to_numpy()
    best = np.full(len(boxes), -1, np.int64)
    overlap = np.zeros(len(boxes))
    at = pairs["proposal"].to_numpy()
    best[at], overlap[at] = pairs["truth"].to_numpy(), pairs["iou"].to_numpy()
    order = np.argsort(-scores, kind="stable")
    claims = np.where(overlap >= iou, best, -1)[order]
    first = np.zeros(len(order), bool)
    first[np.unique(claims, return_index=True)[1]] = True
    hits = first & (claims >= 0)
    missing = people.select(_MOMENT).unique().join(boxes, on=_MOMENT, how="anti")
    reached = _all_pairs(people, boxes).filter(pl.col("iou") >= iou)["truth"].n_unique()
    return PersonQuality(
        people=len(people),
        proposals=len(boxes),
        recall=reached / len(people) if len(people) else float("nan"),
        ap=average_precision(hits, len(people)),
        moments_without=len(missing),
    )


def _boxes(proposals: Annotations) -> pl.DataFrame:
    """Distinct boxes with their highest score, numbered in file order."""
    return (
        proposals.frame.drop_nulls("x1")
        .group_by(_PROPOSAL, maintain_order=True)
        .agg(pl.col("score").max())
        .with_row_index("proposal_row")
    )


def _best_pairs(
    truth: Annotations, proposals: Annotations
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """(`proposal, truth, iou`: each proposal's best person), the people, the boxes."""
    people = (
        truth.frame.drop_nulls("x1")
        .select(_PERSON)
        .unique(maintain_order=True)
        .with_row_index("person_row")
    )
    boxes = _boxes(proposals)
    best = (
        _all_pairs(people, boxes)
        .sort("proposal", "iou", "truth", descending=[False, True, False])
        .unique("proposal", keep="first", maintain_order=True)
    )
    return best, people, boxes


def _all_pairs(people: pl.DataFrame, boxes: pl.DataFrame) -> pl.DataFrame:
    """Every (proposal, truth) pair of one keyframe with its IoU; 0 where the union is empty."""
    left, top = pl.max_horizontal("x1", "x1_t"), pl.max_horizontal("y1", "y1_t")
    right, bottom = pl.min_horizontal("x2", "x2_t"), pl.min_horizontal("y2", "y2_t")
    common = (right - left).clip(lower_bound=0) * (bottom - top).clip(lower_bound=0)

    def area(suffix: str) -> pl.Expr:
        x1, y1, x2, y2 = (pl.col(name + suffix) for name in BOX)
        return (x2 - x1).clip(lower_bound=0) * (y2 - y1).clip(lower_bound=0)

    union = area("") + area("_t") - common
    return boxes.join(people, on=_MOMENT, suffix="_t").select(
        pl.col("proposal_row").alias("proposal"),
        pl.col("person_row").alias("truth"),
        pl.when(union > 0).then(common / union).otherwise(0.0).alias("iou"),
    )


def _check_iou(iou: float) -> None:
    if not 0 <= iou <= 1:
        raise InputError("an IoU threshold lies between 0 and 1", got=iou)
