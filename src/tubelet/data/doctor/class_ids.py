"""Whether ids, label map and sets agree."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from tubelet.data.doctor.findings import EXAMPLES, Case, Finding, about_rows
from tubelet.labels import LabelSpace


def check_labels(case: Case) -> Iterator[Finding]:
    """Ids outside the map, classes without rows, duplicate names, videos in two sets."""
    if case.labels is not None:
        yield from _repeated_names(case.labels)
        for part in case.sets:
            yield from _unknown_ids(part.truth.frame["label"], case.labels, part.name, case)
        yield from _absent_classes(case, case.labels)
    for part in case.sets:
        if len(part.truth) and part.truth.frame["label"].null_count() == len(part.truth):
            yield from about_rows(
                part.truth,
                pl.col("x1").is_not_null(),
                severity="error",
                code="no-actions",
                subject=f"{part.name} truth",
                message="no box has an action",
                fix="is this a proposals file? the action id is column 7",
            )
    yield from _only_class(case)
    yield from _shared_videos(case)


def _only_class(case: Case) -> Iterator[Finding]:
    """A single class that everybody does: there is nothing to tell it from."""
    labels = pl.concat([part.truth.frame.drop_nulls("x1")["label"] for part in case.sets])
    classes = labels.drop_nulls().unique().to_list()
    known = case.labels is None or len(case.labels) == 1
    if len(classes) != 1 or labels.null_count() or not known:
        return
    yield Finding(
        severity="warning",
        code="only-class",
        subject="classes",
        message=f"id {classes[0]} is the only class and everybody labelled does it: a model learns "
        "to say yes to everybody, and its figure says nothing",
        count=len(labels),
        examples=(),
        fix="label people who do not do it too, as boxes without an action; with one class that "
        "excludes others the score is always 1",
    )


def _unknown_ids(used: pl.Series, labels: LabelSpace, name: str, case: Case) -> Iterator[Finding]:
    ids = set(used.drop_nulls().unique().to_list())
    strangers = ids - set(labels.ids)
    if not strangers:
        return
    low, high = min(labels.ids), max(labels.ids)
    below = min(ids) == low - 1 and max(ids) <= high
    above = max(ids) == high + 1 and min(ids) >= low
    part = case.named(name)
    if part is None:
        return
    shift = "+1" if below else "−1"
    yield from about_rows(
        part.truth,
        pl.col("label").is_in(list(strangers)),
        severity="error",
        code="ids-off-by-one" if below or above else "unknown-action-id",
        subject=f"{name} truth",
        message=f"action ids {_some(sorted(strangers))} are not in the label map "
        f"({len(labels)} ids from {low} to {high})",
        fix=f"the ids seem to start from another number: try every id {shift}, or only those "
        "of the attribute that starts there"
        if below or above
        else "use the label map that belongs to this file",
    )


def _repeated_names(labels: LabelSpace) -> Iterator[Finding]:
    # The reader tells equal names apart by appending the id.
    twice = [
        (label_id, name.removesuffix(f" ({label_id})"))
        for label_id, name in zip(labels.ids, labels.names, strict=True)
        if name.endswith(f" ({label_id})") and name.removesuffix(f" ({label_id})") in labels.names
    ]
    if twice:
        yield Finding(
            severity="warning",
            code="name-twice",
            subject="label map",
            message="duplicate class name: two ids share it",
            count=len(twice),
            examples=tuple(f"id {i}: {name}" for i, name in twice[:EXAMPLES]),
            fix="rename one of them: is it a typo?",
        )


def _absent_classes(case: Case, labels: LabelSpace) -> Iterator[Finding]:
    for part in case.sets:
        used = set(part.truth.frame["label"].drop_nulls().unique().to_list())
        counted = labels.evaluated or labels.ids
        absent = [i for i in counted if i not in used]
        if not absent or not used:
            continue
        training = part.name == "train"
        yield Finding(
            severity="warning" if training else "note",
            code="class-without-training-row" if training else "class-without-row",
            subject=f"{part.name} truth",
            message=f"{len(absent)} of {len(counted)} classes have no row in {part.name}"
            + (": they cannot be learned" if training else ": their AP is not defined"),
            count=len(absent),
            examples=tuple(f"{i}: {labels.names[labels.column(i)]}" for i in absent[:EXAMPLES]),
            fix="label examples of them, or take them out of the label map"
            if training
            else "the mean leaves them out",
        )


def _shared_videos(case: Case) -> Iterator[Finding]:
    train = case.named("train")
    if train is None:
        return
    for part in case.sets:
        if part is train:
            continue
        shared = sorted(set(train.truth.videos()) & set(part.truth.videos()))
        if shared:
            yield Finding(
                severity="error",
                code="video-shared",
                subject=f"train and {part.name}",
                message=f"videos are in train and in {part.name}: the score will be too good",
                count=len(shared),
                examples=tuple(shared[:EXAMPLES]),
                fix="split by video, not by row",
            )


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:6])) + ("…" if len(ids) > 6 else "")
