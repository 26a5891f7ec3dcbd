"""Whether the proposals fit the truth: keyframes, people, and whether they are detections."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from tubelet.data.annotations import BOX, Annotations
from tubelet.data.doctor.findings import Case, DataSet, Finding, about_rows
from tubelet.data.proposals import quality

_MOMENT = ["video", "time_us"]
# Below these shares of people found, the boxes and not the actions decide the mAP.
_POOR, _FAIR = 0.5, 0.8


def check_people(case: Case) -> Iterator[Finding]:
    """Keyframes that do not match, recall and AP of the boxes, truth passed off as proposals."""
    for part in case.sets:
        if part.proposals is None or not len(part.truth) or not len(part.proposals):
            continue
        truth = part.truth if part.excluded is None else part.truth.without(part.excluded)
        met = truth.frame.join(part.proposals.frame, on=_MOMENT, how="semi")
        if not len(met):
            yield _nothing_meets(part, truth)
            continue
        yield from _unmet(part, truth, part.proposals)
        yield from _quality(part, truth, part.proposals)


def _nothing_meets(part: DataSet, truth: Annotations) -> Finding:
    proposals = part.proposals or truth
    videos = set(truth.videos()) & set(proposals.videos())
    rounded = (pl.col("time_us") / 1e6).round().alias("second")
    seconds = truth.frame.select("video", rounded).join(
        proposals.frame.select("video", rounded), on=["video", "second"], how="semi"
    )
    if not videos:
        fix = "the video ids differ: does one file include a folder or an extension?"
    elif len(seconds):
        fix = "the times agree only when rounded to seconds: write both with the same decimals"
    else:
        fix = "the times differ: frame numbers in one file and seconds in the other?"
    return Finding(
        severity="error",
        code="no-moment-in-common",
        subject=f"{part.name} proposals",
        message="no proposal is on a labelled keyframe: mAP will be 0",
        count=len(proposals),
        examples=(
            f"truth: {', '.join(map(str, truth.keys()[:2]))}",
            f"proposals: {', '.join(map(str, proposals.keys()[:2]))}",
        ),
        fix=fix,
    )


def _unmet(part: DataSet, truth: Annotations, proposals: Annotations) -> Iterator[Finding]:
    offered = proposals.frame.drop_nulls("x1").select(_MOMENT).unique()
    first = truth.frame.select(pl.struct(_MOMENT).is_first_distinct()).to_series()
    lonely = (
        truth.frame.select(_MOMENT)
        .with_row_index("at")
        .filter(first & truth.frame["x1"].is_not_null())
        .join(offered, on=_MOMENT, how="anti", maintain_order="left")["at"]
    )
    moments = truth.frame.drop_nulls("x1").select(_MOMENT).n_unique()
    yield from about_rows(
        truth,
        pl.int_range(pl.len()).is_in(lonely.implode()),
        severity="error" if len(lonely) * 2 > moments else "warning",
        code="moment-without-proposal",
        subject=f"{part.name} truth",
        message=f"of {moments} labelled keyframes, some have no proposal: their people are missed",
        fix="run the person detector on these keyframes too",
    )
    labelled = part.truth.frame.select(_MOMENT).unique()
    extra = offered.join(labelled, on=_MOMENT, how="anti")
    if len(extra):
        video, time_us = extra.sort(_MOMENT).row(0)
        yield Finding(
            severity="note",
            code="proposal-without-moment",
            subject=f"{part.name} proposals",
            message="proposals are on unlabelled frames",
            count=len(extra),
            examples=(f"{video} at {time_us / 1e6:.3f} s",),
            fix="training ignores them; evaluation ignores or counts them, by its protocol",
        )


def _quality(part: DataSet, truth: Annotations, proposals: Annotations) -> Iterator[Finding]:
    found = quality(truth, proposals)
    if not found.people:
        return
    grave = found.recall < _POOR
    yield Finding(
        severity="error" if grave else "warning" if found.recall < _FAIR else "note",
        code="proposal-quality",
        subject=f"{part.name} proposals",
        message=f"the proposals find {found.recall:.1%} of {found.people} people at IoU 0.5 "
        f"(person AP {found.ap:.1%}); the others cannot be scored",
        count=found.people - round(found.recall * found.people),
        fix="use a better person detector, or a lower score threshold"
        if found.recall < _FAIR
        else "",
    )
    place = [*_MOMENT, *(pl.col(name).round(3) for name in BOX)]
    real = truth.frame.select(place).unique()
    boxes = proposals.frame.drop_nulls("x1").select(place).unique()
    boxes = boxes.join(real, on=_MOMENT, how="semi")
    if not len(boxes.join(real, on=[*_MOMENT, *BOX], how="anti")):
        yield Finding(
            severity="warning",
            code="proposals-are-truth",
            subject=f"{part.name} proposals",
            message="every proposal is a ground-truth box: the mAP will be that of given boxes",
            count=len(boxes),
            fix="report it as such, or run a person detector for a figure that users will reach",
        )
