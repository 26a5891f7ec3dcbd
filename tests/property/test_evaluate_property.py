"""Properties of frame mAP, and a slow evaluator written from the definition to compare with."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.boxes import iou_matrix, nms
from tubelet.data.annotations import Annotations
from tubelet.evaluate.boxtable import BoxTable
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.from_annotations import moments_by_video
from tubelet.labels import LabelSpace

LABELS = LabelSpace.of(["stand", "walk", "talk", "hug"])
EVALUATED = LabelSpace(ids=(1, 2, 3, 4), names=LABELS.names, evaluated=(1, 2, 4))
Row = tuple[str, int, tuple[float, float, float, float], int, float]

# A coarse grid makes equal overlaps, duplicates and empty boxes common.
grid = st.integers(0, 4).map(lambda i: i / 4)


@st.composite
def upright(draw: Any, empty: bool = False) -> tuple[float, float, float, float]:
    x1, x2 = sorted((draw(grid), draw(grid)))
    y1, y2 = sorted((draw(grid), draw(grid)))
    if not empty:
        x2, y2 = (x2 + 0.25 if x1 == x2 else x2), (y2 + 0.25 if y1 == y2 else y2)
    return x1, y1, x2, y2


def rows(empty: bool, scores: Any, max_size: int) -> Any:
    row = st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(900, 903),
        upright(empty),
        st.integers(1, 5),
        scores,
    )
    return st.lists(row, max_size=max_size)


def table(listed: list[Row]) -> BoxTable:
    return BoxTable.of(
        videos=[r[0] for r in listed],
        time_us=[r[1] * 1_000_000 for r in listed],
        boxes=[r[2] for r in listed],
        labels=[r[3] for r in listed],
        scores=[r[4] for r in listed],
    )


def slow_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    union = (a[3] - a[1]) * (a[2] - a[0]) + (b[3] - b[1]) * (b[2] - b[0]) - h * w
    return h * w / union if union else 0.0


def slow_evaluate(
    detections: list[Row], truth: list[Row], ids: tuple[int, ...], protocol: str, cap: int
) -> dict[int, float]:
    """The three evaluators in loops, straight from their description."""
    true_rows = by_frame(truth, ids)
    known = {row[:2] for row in truth}
    found = by_frame(detections, ids)
    if protocol == "mmaction2":
        order = [key for key in true_rows if key in found]
    else:
        order = [key for key in found if key in known or protocol == "pyslowfast"]
    scored: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for key in order:
        listed, true = found[key], true_rows.get(key, [])
        if protocol == "ava":
            listed, true = heap_order(listed, cap), heap_order([(*r[:4], 1.0) for r in true], 0)
        elif protocol == "mmaction2":
            listed = sorted(listed, key=lambda r: -r[4])
        if protocol != "mmaction2":
            listed = [r for r in listed if r[2][0] < r[2][2] and r[2][1] < r[2][3]]
        for row, hit in zip(listed, slow_hits(listed, true), strict=True):
            scored[row[3]].append((row[4], hit))
    result = {}
    for i in ids:
        count = sum(1 for r in truth if r[3] == i)
        left_out = not count or (protocol == "mmaction2" and not scored[i])
        result[i] = math.nan if left_out else slow_ap(scored[i], count)
    return result


def by_frame(listed: list[Row], ids: tuple[int, ...]) -> dict[tuple[str, int], list[Row]]:
    frames: dict[tuple[str, int], list[Row]] = {}
    for row in listed:
        if row[3] in ids:
            frames.setdefault(row[:2], []).append(row)
    return frames


def slow_hits(listed: list[Row], true: list[Row]) -> list[bool]:
    taken: set[int] = set()
    hits = []
    for row in listed:
        overlaps = [slow_iou(row[2], t[2]) if t[3] == row[3] else -1.0 for t in true]
        best = max(range(len(true)), key=lambda i: overlaps[i], default=-1)
        hits.append(best >= 0 and overlaps[best] >= 0.5 and best not in taken)
        taken |= {best} if hits[-1] else set()
    return hits


def slow_ap(scored: list[tuple[float, bool]], count: int) -> float:
    points = []
    hits = 0
    for rank, (_, hit) in enumerate(sorted(scored, key=lambda pair: pair[0])[::-1], 1):
        hits += hit
        points.append((hits / count, hits / rank))
    recall = area = 0.0
    for index, (reached, _) in enumerate(points):
        area += (reached - recall) * max(p for _, p in points[index:])
        recall = reached
    return area


def heap_order(listed: list[Row], cap: int) -> list[Row]:
    heap: list[Any] = []
    for video, time, (x1, y1, x2, y2), label, score in listed:
        entry = (score, label, y1, x1, y2, x2, video, time)
        if not cap or len(heap) < cap:
            heapq.heappush(heap, entry)
        elif score > heap[0][0]:
            heapq.heapreplace(heap, entry)
    heap = sorted(heap, key=lambda e: -e[0])
    return [(e[6], e[7], (e[3], e[2], e[5], e[4]), e[1], e[0]) for e in heap]


@pytest.mark.parametrize("protocol", ["ava", "pyslowfast", "mmaction2"])
@settings(max_examples=150, deadline=None)
@given(
    detections=rows(True, st.sampled_from([0.1, 0.25, 0.5, 0.75]), 40),
    truth=rows(True, st.just(1.0), 20),
    cap=st.integers(1, 8),
)
def test_equals_a_slow_evaluator(
    protocol: str, detections: list[Row], truth: list[Row], cap: int
) -> None:
    ids = EVALUATED.evaluated
    report = evaluate_frames(
        table(detections),
        table(truth),
        EVALUATED,
        protocol=protocol,
        cap=cap if protocol == "ava" else None,
    )
    expected = slow_evaluate(detections, truth, ids, protocol, cap)
    for result in report.classes:
        assert result.ap == pytest.approx(expected[result.id], abs=1e-12, nan_ok=True)
    known = [v for v in expected.values() if not math.isnan(v)]
    assert report.map == pytest.approx(
        sum(known) / len(known) if known else math.nan, abs=1e-12, nan_ok=True
    )


@settings(max_examples=60, deadline=None)
@given(
    detections=rows(False, st.just(0.0), 40),
    truth=rows(False, st.just(1.0), 20),
    seed=st.integers(0, 999),
)
def test_the_order_of_rows_is_nothing_without_ties(
    detections: list[Row], truth: list[Row], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    distinct = rng.permutation(len(detections)) / 100
    scored = [(*row[:4], float(s)) for row, s in zip(detections, distinct, strict=True)]
    # One instance a class and frame: which of two equal overlaps comes first is order too.
    single = list({(row[0], row[1], row[3]): row for row in truth}.values())
    shuffled = [scored[i] for i in rng.permutation(len(scored))]
    mixed = [single[i] for i in rng.permutation(len(single))]
    first = evaluate_frames(table(scored), table(single), LABELS)
    second = evaluate_frames(table(shuffled), table(mixed), LABELS)
    assert second.map == pytest.approx(first.map, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("protocol", ["ava", "pyslowfast", "mmaction2"])
@settings(max_examples=60, deadline=None)
@given(truth=rows(False, st.floats(0.01, 1), 30))
def test_perfect_detections_give_one(protocol: str, truth: list[Row]) -> None:
    distinct = list({row[:4]: row for row in truth if row[3] <= 4}.values())
    if not distinct:
        return
    same = table(distinct)
    assert evaluate_frames(same, same, LABELS, protocol=protocol).map == 1.0


@pytest.mark.parametrize("protocol", ["ava", "pyslowfast", "mmaction2"])
@settings(max_examples=60, deadline=None)
@given(
    detections=rows(False, st.floats(0.2, 1), 30),
    truth=rows(False, st.just(1.0), 15),
    label=st.integers(1, 4),
)
def test_a_worse_false_alarm_never_raises_ap(
    protocol: str, detections: list[Row], truth: list[Row], label: int
) -> None:
    # On a corner where no box of the grid lies, below every other score.
    alarm = ("a", 900, (1.5, 1.5, 1.75, 1.75), label, 0.1)
    before = evaluate_frames(table(detections), table(truth), LABELS, protocol=protocol)
    after = evaluate_frames(table([*detections, alarm]), table(truth), LABELS, protocol=protocol)
    for old, new in zip(before.classes, after.classes, strict=True):
        if not math.isnan(old.ap):
            assert new.ap <= old.ap + 1e-15


@given(st.integers(0, 90), st.integers(0, 3), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_nms_keeps_what_the_definition_keeps(count: int, seed: int, iou: float) -> None:
    rng = np.random.default_rng([count, seed])
    corner = rng.random((count, 2))
    boxes = np.concatenate([corner, corner + rng.random((count, 2)) * 0.5], 1).astype(np.float32)
    scores = rng.integers(0, 8, count).astype(np.float32)  # with ties
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if all(iou_matrix(boxes[[index]], boxes[[other]])[0, 0] <= iou for other in kept):
            kept.append(index)
    assert nms(boxes, scores, iou).tolist() == kept


@given(st.integers(0, 2**32 - 1))
def test_records_of_a_table_hold_each_row_once(seed: int) -> None:
    """Videos, moments, people and classes in any order; a class id outside the map, a box missing
    and a repeated row among them."""
    rng = np.random.default_rng(seed)
    labels = LabelSpace(ids=(7, 2, 5), names=("seven", "two", "five"))
    rows = 40
    corners = np.array([0.1, 0.2, 0.3])[rng.integers(0, 3, (rows, 2))]
    boxes = np.concatenate([corners, corners + 0.5], axis=1)
    boxes[rng.random(rows) < 0.1] = np.nan
    video = np.array(["b", "a"])[rng.integers(0, 2, rows)]
    time_ms, label = rng.integers(0, 4, rows), rng.choice([2, 5, 7, 9], rows)
    score = rng.random(rows)
    table = Annotations.of(
        video=video.tolist(), time_us=time_ms * 1000, boxes=boxes, label=label, score=score
    )
    expected: dict[tuple[object, ...], float] = {}
    for i in range(rows):
        if label[i] != 9 and not np.isnan(boxes[i, 0]):
            expected[(video[i], time_ms[i], *boxes[i].astype(np.float32), label[i])] = score[i]
    seen: dict[tuple[object, ...], float] = {}
    keys = []
    for name, moments in moments_by_video(table, labels):
        keys += [moment.key for moment in moments]
        for moment in moments:
            assert moment.key.video == name
            assert (moment.person_scores == moment.action_scores.max(axis=1)).all()
            for box, actions in zip(moment.boxes, moment.action_scores, strict=True):
                for column in np.flatnonzero(actions):
                    where = (name, moment.key.time_ms, *box, labels.ids[column])
                    assert where not in seen
                    seen[where] = actions[column]
    assert seen.keys() == expected.keys()
    assert all(seen[row] == np.float32(expected[row]) for row in seen)
    assert keys == sorted(keys)
