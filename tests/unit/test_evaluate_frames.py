"""Reports, warnings and refusals of frame mAP; person AP; the long tail; causes of error."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tubelet.errors import ConfigError, DataError, InputError, ShapeError
from tubelet.evaluate.bootstrap import bootstrap, resampled_maps
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable
from tubelet.evaluate.errors import error_breakdown
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.from_annotations import box_table
from tubelet.evaluate.longtail import frequency_split, group_means, label_counts
from tubelet.evaluate.people import evaluate_people
from tubelet.labels import LabelSpace

LABELS = LabelSpace(
    ids=(1, 2, 3), names=("stand", "walk", "hug"), groups={"pose": (1, 2), "people": (3,)}
)
LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)


def table(*rows: tuple[Any, ...]) -> BoxTable:
    """Rows of (video, seconds, box or None, label, score)."""
    return BoxTable.of(
        videos=[r[0] for r in rows],
        time_us=[round(r[1] * 1e6) for r in rows],
        boxes=[r[2] or (math.nan,) * 4 for r in rows],
        labels=[r[3] for r in rows],
        scores=[r[4] if len(r) > 4 else 1.0 for r in rows],
    )


TRUTH = table(("v", 1, LEFT, 1), ("v", 1, RIGHT, 1), ("v", 1, RIGHT, 2), ("w", 1, LEFT, 2))
FOUND = table(
    ("v", 1, LEFT, 1, 0.9),
    ("v", 1, LEFT, 2, 0.8),
    ("v", 1, RIGHT, 1, 0.7),
    ("v", 1, RIGHT, 2, 0.6),
    ("x", 1, LEFT, 2, 0.99),
    ("v", 1, RIGHT, 9, 0.5),
)


def test_report_says_what_it_counted() -> None:
    report = evaluate_frames(FOUND, TRUTH, LABELS, curves=True)
    assert report.ap(1) == 1.0
    assert report.ap(2) == 0.25  # one of two found, at rank 2
    assert math.isnan(report.ap(3))
    assert report.map == 0.625
    assert report.groups["pose"] == 0.625
    assert math.isnan(report.groups["people"])
    assert report.protocol.classes_without_truth == (3,)
    assert report.protocol.dropped == {"action not evaluated": 1, "frame without truth": 1}
    assert report.protocol.detections_scored == 4
    assert report.protocol.frames_with_truth == 2
    assert any("9" in w and "missing from the label map" in w for w in report.warnings)
    assert report.curves is not None
    assert report.curves[2].precision.tolist() == [0.5]
    assert report.curves[2].recall.tolist() == [0.5]
    lines = " ".join(report.protocol.lines())
    assert "2 of 3 in the mean" in lines
    assert "best 50 rows" in lines


def test_report_travels_as_json_csv_and_rows() -> None:
    report = evaluate_frames(FOUND, TRUTH, LABELS, curves=True)
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["map"] == 0.625
    assert data["classes"][2]["ap"] is None
    assert [recall for recall, _ in data["classes"][0]["pr"]] == [0.5, 1.0]
    assert report.table_rows()[0] == (1, "stand", 1.0, 2, 2, 2, 1.0)
    assert report.to_csv().splitlines()[3] == "3,hug,,0,0,0,"


def test_frames_are_keyed_on_microseconds() -> None:
    truth = table(("v", 0.1 + 0.2, LEFT, 1))
    assert evaluate_frames(table(("v", 0.3, LEFT, 1)), truth, LABELS).map == 1.0
    assert evaluate_frames(table(("v", 0.300001, LEFT, 1)), truth, LABELS).map == 0.0


def test_the_order_of_video_names_is_nothing() -> None:
    """Two tables number their videos differently; names join them."""
    truth = table(("a", 1, LEFT, 1), ("b", 1, RIGHT, 1))
    found = table(("b", 1, RIGHT, 1), ("c", 1, LEFT, 1), ("a", 1, LEFT, 1))
    assert evaluate_frames(found, truth, LABELS).map == 1.0


@pytest.mark.parametrize(
    ("found", "truth", "words"),
    [
        (table(), TRUTH, "no detections"),
        (FOUND, table(), "no truth"),
        (table(("z", 1, LEFT, 1)), TRUTH, "no video name is in both"),
        (table(("v", 9, LEFT, 1)), TRUTH, "times differ"),
        (table(("v", 1, (0, 0, 120, 200), 1)), TRUTH, "pixels"),
        (table(("v", 1, LEFT, 0)), TRUTH, "counted from 0"),
        (table(("v", 1, LEFT, 1), ("v", 1, RIGHT, 1)), TRUTH, "all scores are equal"),
    ],
)
def test_warns_when_the_figure_means_little(found: BoxTable, truth: BoxTable, words: str) -> None:
    assert any(words in warning for warning in evaluate_frames(found, truth, LABELS).warnings)


def test_excluded_frames_leave_and_the_official_script_is_mentioned() -> None:
    truth = table(("v", 1, LEFT, 1), ("v", 2, LEFT, 1))
    found = table(("v", 1, LEFT, 1, 0.5), ("v", 2, RIGHT, 1, 0.9))
    assert evaluate_frames(found, truth, LABELS).map == 0.25
    report = evaluate_frames(found, truth, LABELS, excluded=[("v", 2_000_000), ("q", 0)])
    assert report.map == 1.0
    assert report.protocol.frames_excluded == 1
    assert any("official script" in warning for warning in report.warnings)


def test_refuses_the_impossible() -> None:
    with pytest.raises(ConfigError, match="coco"):
        evaluate_frames(FOUND, TRUTH, LABELS, protocol="coco")
    for bad in ({"iou": 0.0}, {"iou": 1.5}, {"cap": 0}):
        with pytest.raises(InputError):
            evaluate_frames(FOUND, TRUTH, LABELS, **bad)
    with pytest.raises(DataError, match="row 2"):
        table(("v", 1, LEFT, 1, 0.5), ("v", 1, LEFT, 1, math.nan))
    with pytest.raises(DataError, match="box"):
        table(("v", 1, (0, math.nan, 1, 1), 1))
    with pytest.raises(DataError, match="box"):
        table(("v", 1, None, 1))
    with pytest.raises(ShapeError):
        BoxTable.of(videos=["v"], time_us=[1, 2], boxes=[LEFT])


def test_an_unscored_row_counts_as_one_except_for_pyslowfast() -> None:
    found = BoxTable.of(
        videos=["v", "v"],
        time_us=[1_000_000] * 2,
        boxes=[LEFT, RIGHT],
        labels=[1, 1],
        scores=[1.0, 0.5],
        scored=[False, True],
    )
    assert evaluate_frames(found, TRUTH, LABELS).ap(1) == 1.0
    with pytest.raises(DataError, match="score"):
        evaluate_frames(found, TRUTH, LABELS, protocol="pyslowfast")


def test_people_count_once_whatever_they_do() -> None:
    found = table(
        ("v", 1, LEFT, 1, 0.2),
        ("v", 1, RIGHT, 2, 0.3),
        ("v", 1, LEFT, 2, 0.9),
        ("v", 1, (0.4, 0, 0.6, 1), 1, 0.5),
    )
    report = evaluate_people(found, TRUTH)
    assert (report.people, report.boxes, report.frames) == (3, 3, 2)
    assert report.recall == pytest.approx(2 / 3)
    assert report.precision == pytest.approx(2 / 3)
    assert report.ap == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    bare = BoxTable.of(videos=["v"], time_us=[1_000_000], boxes=[LEFT], scores=[0.4])
    assert bare.labels.tolist() == [NO_LABEL]
    assert evaluate_people(bare, TRUTH).recall == pytest.approx(1 / 3)


# Training labels of each class of AVA v2.2, from Table 9 of the co-finetuning paper.
HEAD = (168148, 166357, 110267, 106816, 100323, 80451, 40771, 17133)
MID = (
    *(8349, 5356, 4808, 3337, 3279, 3267, 3025, 2991, 2695, 2335, 2321, 2146),
    *(2117, 2003, 1993, 1643, 1297, 1251, 1188, 1187, 1124, 1103, 1073),
)
TAIL = (
    *(786, 777, 719, 714, 668, 619, 608, 533, 519, 415, 400, 387, 355, 351, 344),
    *(342, 291, 268, 249, 245, 225, 222, 184, 181, 177, 176, 137, 111, 97),
)


def test_the_long_tail_of_ava_is_the_papers() -> None:
    counts = (*HEAD, *MID, *TAIL)
    order = np.random.default_rng(0).permutation(len(counts))
    split = frequency_split({int(i): counts[i] for i in order})
    assert (len(split.head), len(split.mid), len(split.tail)) == (8, 23, 29)
    assert tuple(counts[i] for i in split.head) == HEAD
    assert tuple(counts[i] for i in split.mid) == MID
    assert tuple(counts[i] for i in split.tail) == TAIL


def test_the_limits_belong_to_the_middle() -> None:
    split = frequency_split({1: 10_001, 2: 10_000, 3: 1_000, 4: 999})
    assert (split.head, split.mid, split.tail) == ((1,), (2, 3), (4,))
    with pytest.raises(ConfigError):
        frequency_split({1: 1}, head_above=5, tail_below=9)


def test_counts_and_means_of_groups() -> None:
    counts = label_counts(TRUTH, LABELS.ids)
    assert counts == {1: 2, 2: 2, 3: 0}
    report = evaluate_frames(FOUND, TRUTH, LABELS)
    means = group_means(report, frequency_split(counts, head_above=1, tail_below=1).groups())
    assert means["head"] == 0.625
    assert math.isnan(means["mid"])
    assert math.isnan(means["tail"])


def test_errors_are_sorted_by_cause() -> None:
    truth = table(("v", 1, LEFT, 1), ("v", 1, RIGHT, 2), ("v", 2, LEFT, 1), ("v", 3, LEFT, 1))
    found = table(
        ("v", 1, LEFT, 1, 0.9),  # hit
        ("v", 1, (0.0, 0.0, 0.39, 1.0), 1, 0.8),  # duplicate
        ("v", 1, RIGHT, 1, 0.7),  # a person who does something else
        ("v", 2, (0.2, 0.0, 0.6, 1.0), 1, 0.6),  # off the mark
        ("v", 1, (0.8, 0.0, 1.2, 1.0), 1, 0.5),  # off the mark and another action
        ("v", 2, RIGHT, 1, 0.4),  # nobody there
    )
    report = evaluate_frames(found, truth, LABELS)
    errors = error_breakdown(report)
    assert errors.all_counts == {
        **dict.fromkeys(("duplicate", "classification", "localisation", "both"), 1),
        "background": 1,
        "hit": 1,
    }
    assert errors.counts["hit"] == 1
    assert errors.counts["duplicate"] == 1
    assert errors.counts["classification"] == 1
    assert errors.counts["localisation"] == 0  # fourth of class 1, which has three instances
    assert errors.missed == 2  # class 2 on frame 1, class 1 on frame 3
    # Class 1: one of three found at rank 1; mended, a second hit at rank 4.
    assert errors.cost["localisation"] == pytest.approx((1 / 3 * 2 / 4) / 2)
    # Without the misses: class 1 has 2 instances, class 2 has none left and leaves the mean.
    assert errors.cost["missed"] == pytest.approx(1 / 2 - 1 / 6)
    assert errors.cost["background"] == 0.0
    with pytest.raises(InputError):
        error_breakdown(report, background_iou=0.5)


def many_videos(seed: int) -> tuple[BoxTable, BoxTable]:
    rng = np.random.default_rng(seed)
    rows, found = [], []
    for video in range(6):
        for second in range(5):
            box = LEFT if rng.random() < 0.5 else RIGHT
            rows.append((f"v{video}", second, box, int(rng.integers(1, 4))))
            for label in (1, 2, 3):
                found.append((f"v{video}", second, LEFT, label, float(rng.random())))
    return table(*found), table(*rows)


def test_resampling_equals_evaluating_repeated_videos() -> None:
    found, truth = many_videos(1)
    report = evaluate_frames(found, truth, LABELS)
    draws = np.array([[1] * 6, [0, 2, 1, 1, 2, 0], [6, 0, 0, 0, 0, 0]])
    maps = resampled_maps(report.matches, np.arange(6), draws, np.ones(3, np.bool_))
    assert maps[0] == pytest.approx(report.map, abs=1e-12)
    names = report.matches.frames.videos
    for row, value in zip(draws[1:], maps[1:], strict=True):
        copies = [(names[v], c) for v, times in enumerate(row) for c in range(times)]
        again = evaluate_frames(repeated(found, copies), repeated(truth, copies), LABELS)
        assert value == pytest.approx(again.map, abs=1e-12)


def repeated(rows: BoxTable, copies: list[tuple[str, int]]) -> BoxTable:
    name = np.array(rows.videos)[rows.video]
    parts = [np.flatnonzero(name == video) for video, _ in copies]
    index = np.concatenate(parts)
    suffix = np.repeat([c for _, c in copies], [len(p) for p in parts])
    return BoxTable.of(
        videos=[f"{name[i]}#{s}" for i, s in zip(index, suffix, strict=True)],
        time_us=rows.time_us[index],
        boxes=rows.boxes[index],
        labels=rows.labels[index],
        scores=rows.scores[index],
    )


def test_an_interval_is_seeded_and_encloses_the_map() -> None:
    report = evaluate_frames(*many_videos(2), LABELS)
    one, two = bootstrap(report, seed=3), bootstrap(report, seed=3)
    assert one == two
    assert one != bootstrap(report, seed=4)
    assert one.low <= one.map <= one.high
    assert one.low < one.high
    assert one.videos == 6
    wide = bootstrap(report, seed=3, level=0.99)
    assert wide.low <= one.low
    assert wide.high >= one.high
    with pytest.raises(InputError, match="two"):
        bootstrap(evaluate_frames(table(("v", 1, LEFT, 1)), table(("v", 1, LEFT, 1)), LABELS))


def test_annotations_become_a_table() -> None:
    from tubelet.data.annotations import Annotations

    rows = Annotations.of(
        video=["b", "a", "b"],
        time_us=[1, 2, 3],
        boxes=[LEFT, (math.nan,) * 4, RIGHT],
        label=[1, None, None],
        score=[0.5, None, None],
    )
    made = box_table(rows)
    assert [made.videos[i] for i in made.video] == ["b", "a", "b"]
    assert made.labels.tolist() == [1, NO_LABEL, NO_LABEL]
    assert made.scores.tolist() == [0.5, 1.0, 1.0]
    assert made.scored is not None
    assert made.scored.tolist() == [True, False, False]
    assert np.isnan(made.boxes[1]).all()
    assert len(box_table(Annotations.of(video=[], time_us=[]))) == 0


def test_evaluating_never_imports_torch() -> None:
    names = "frame_map bootstrap errors people longtail video_map topk from_annotations"
    lines = [f"import tubelet.evaluate.{name}" for name in names.split()]
    code = "; ".join([*lines, "import sys", "sys.exit('torch' in sys.modules)"])
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
