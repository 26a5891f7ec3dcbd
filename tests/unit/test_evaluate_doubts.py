"""A figure that cannot be right is called so beside it; frames a little apart are joined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.labelmaps import read_label_map
from tubelet.errors import DataError
from tubelet.evaluate.boxtable import BoxTable
from tubelet.evaluate.doubts.moments import join
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.report import FrameReport
from tubelet.evaluate.scoring import evaluate_files, evaluate_tables, score_tubes, tubes_of
from tubelet.labels import LabelSpace

LABELS = LabelSpace(ids=(1, 2, 3, 4), names=("stand", "walk", "hug", "sit"))


def truth(frames: int = 12) -> BoxTable:
    """One person a frame, who moves to the right and does the four actions in turn."""
    left = np.linspace(0.1, 0.5, frames)
    return BoxTable.of(
        videos=["v"] * frames,
        time_us=np.arange(frames) * 500_000,
        boxes=np.stack([left, left * 0.3, left + 0.3, left * 0.3 + 0.6], axis=1),
        labels=np.arange(frames) % 4 + 1,
    )


def detections(frames: int = 12) -> BoxTable:
    """Of every class, the right one best, with boxes a little off."""
    known = truth(frames)
    rows = np.repeat(np.arange(frames), 4)
    labels = np.tile([1, 2, 3, 4], frames)
    scores = np.where(labels == known.labels[rows], 0.8, 0.1) + rows * 0.001
    return BoxTable.of(
        videos=["v"] * len(rows),
        time_us=known.time_us[rows],
        boxes=known.boxes[rows] + [0.01, 0.02, -0.01, 0.01],
        labels=labels,
        scores=scores,
    )


def kinds(report: FrameReport) -> set[str]:
    return {doubt.kind for doubt in report.doubts}


def test_what_can_be_right_is_not_doubted() -> None:
    report = evaluate_frames(detections(), truth(), LABELS)
    assert (report.map, report.doubts) == (1.0, ())


def _sized(table: BoxTable) -> BoxTable:
    box = table.boxes.copy()
    box[:, 2:] -= box[:, :2]
    return replace(table, boxes=box)


def _centred(table: BoxTable) -> BoxTable:
    box = _sized(table).boxes
    box[:, :2] += box[:, 2:] / 2
    return replace(table, boxes=box)


def _twice(table: BoxTable) -> BoxTable:
    return table.select(np.tile(np.arange(len(table)), 2))


def _padded(table: BoxTable) -> BoxTable:
    """The last batch of a sampler filled up with the first rows."""
    return table.select(np.append(np.arange(len(table)), [0, 1, 2]))


def _counted_from(table: BoxTable, shift: int) -> BoxTable:
    return replace(table, labels=table.labels + shift)


CASES = {
    "every row twice": (_twice(detections()), truth(), "48 of 96 rows of the detections repeat"),
    "a padded batch": (_padded(detections()), truth(), "3 of 51 rows of the detections repeat"),
    "truth twice": (detections(), _twice(truth()), "12 of 24 rows of the truth repeat"),
    "x, y, width, height": (_sized(detections()), truth(), "seem to be x, y, width, height"),
    "truth of sizes": (
        detections(),
        _sized(truth()).select(np.arange(5)),
        "of the truth seem to be x, y, width",
    ),
    "centre and size": (_centred(detections()), truth(), "seem to be centre x"),
    "y before x": (
        replace(detections(), boxes=detections().boxes[:, [1, 0, 3, 2]]),
        truth(),
        "seem to be y1, x1",
    ),
    "inverted": (
        replace(detections(), boxes=detections().boxes[:, [2, 3, 0, 1]]),
        truth(),
        "all 48 rows of the detections have boxes that are empty or inverted",
    ),
    "truth from 0": (detections(), _counted_from(truth(), -1), "counted from 0"),
    "found from 0": (_counted_from(detections(), -1), truth(), "counted from 0"),
    "a class nowhere": (
        detections(),
        truth().select(truth().labels != 3),
        "1 of 4 classes have no box in the truth, so the mean says nothing about them: hug",
    ),
    "constant": (
        replace(detections(), scores=np.full(48, 0.25)),
        truth(),
        "all scores are equal",
    ),
    "constant in each class": (
        replace(detections(), scores=detections().labels / 10),
        truth(),
        "all scores of a class are equal",
    ),
    "the truth": (truth(), truth(), "is this the truth itself"),
    "half of the truth": (
        replace(truth(), scores=np.arange(12) / 12).select(np.arange(6)),
        truth(),
        "is this the truth itself",
    ),
    "every other frame": (
        detections().select(detections().time_us % 1_000_000 == 0),
        truth(),
        "6 of 12 labelled frames (50%) have no detection at all; the nearest is 500 ms away",
    ),
    "a film without": (
        detections(),
        BoxTable.of(
            videos=["v"] * 12 + ["w"] * 12,
            time_us=np.tile(truth().time_us, 2),
            boxes=np.tile(truth().boxes, (2, 1)),
            labels=np.tile(truth().labels, 2),
        ),
        "12 of them are of videos that have none",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_doubts(name: str) -> None:
    found, known, words = CASES[name]
    report = evaluate_frames(found, known, LABELS)
    assert any(words in told for told in report.warnings), report.warnings
    doubts = report.to_json()["doubts"]
    assert json.loads(json.dumps(doubts)) == doubts
    assert [d["message"] for d in doubts] == report.to_json()["warnings"]


def test_ids_shifted_within_the_label_map() -> None:
    """No id is unknown, and yet every one is its neighbour's."""
    wide = LabelSpace(ids=tuple(range(9)), names=tuple("abcdefghi"))
    report = evaluate_frames(_counted_from(detections(), 1), truth(), wide)
    assert "shifted ids" in kinds(report)
    assert "unknown classes" not in kinds(report)
    assert "shifted ids" not in kinds(evaluate_frames(detections(), truth(), wide))


def test_one_exclusive_class_says_nothing() -> None:
    one = LabelSpace(ids=(1,), names=("walk",), exclusive=True)
    found, known = (replace(t, labels=np.ones_like(t.labels)) for t in (detections(), truth()))
    assert "one exclusive class" in kinds(evaluate_frames(found, known, one))
    many = replace(one, exclusive=False)
    assert "one exclusive class" not in kinds(evaluate_frames(found, known, many))


@pytest.mark.parametrize(
    "text", ["a.mp4\nb.mp4\n", "clips/a.avi 3\nclips/b.avi 4\n", "v,1,0,0,1,1,2\n", "# notes\nx\n"]
)
def test_what_is_no_label_map_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(DataError, match="no label found"):
        read_label_map(path)


def moved(table: BoxTable, us: int) -> BoxTable:
    return replace(table, time_us=table.time_us + us)


@pytest.mark.parametrize("apart_ms", [-40, -1, 1, 17, 40, 50])
def test_frames_join_across_half_a_frame(apart_ms: int) -> None:
    found, known, _, doubts = join(moved(detections(), apart_ms * 1000), truth())
    report = evaluate_frames(found, known, LABELS)
    assert (report.map, report.protocol.frames_scored) == (1.0, 12)
    (doubt,) = doubts
    assert doubt.count == 12
    assert "12 of 12 labelled frames have no detection at their very moment" in doubt.message
    assert f"{abs(apart_ms)} ms at most" in doubt.message


def test_what_is_farther_apart_is_not_joined_but_counted() -> None:
    joined = join(moved(detections(), 120_000), truth())
    report = evaluate_frames(joined.found, joined.known, LABELS)
    assert joined.doubts == ()
    assert "no shared frame" in kinds(report)
    assert "seem" not in " ".join(report.warnings)


def test_of_many_detected_moments_only_the_nearest_is_joined() -> None:
    """Detections on every frame of 25 a second, 10 ms late; the truth twice a second."""
    every = np.arange(0, 2_000_000, 40_000)
    found = BoxTable.of(
        videos=["v"] * len(every), time_us=every + 10_000, boxes=[(0, 0, 1, 1)] * len(every),
        labels=[1] * len(every), scores=every / 1e7,
    )  # fmt: skip
    known = BoxTable.of(
        videos=["v"] * 4, time_us=[0, 480_000, 1_000_000, 1_480_000],
        boxes=[(0, 0, 1, 1)] * 4, labels=[1] * 4,
    )  # fmt: skip
    joined = join(found, known)
    assert joined.doubts[0].count == 4
    assert len(np.unique(joined.found.time_us)) == len(every)
    assert evaluate_frames(joined.found, known, LABELS).protocol.frames_scored == 4


def test_dense_frames_are_not_joined_with_a_neighbour() -> None:
    """Both on every frame, the detections with a hole: their neighbours stay where they are."""
    every = np.arange(10) * 40_000
    found, known = (
        BoxTable.of(
            videos=["v"] * len(at), time_us=at, boxes=[(0, 0, 1, 1)] * len(at), labels=[1] * len(at)
        )
        for at in (np.delete(every, 4), every)
    )
    joined = join(found, known)
    assert joined.doubts == ()
    assert evaluate_frames(joined.found, known, LABELS).protocol.frames_scored == 9


@pytest.mark.parametrize("name", ["v.mp4", "videos/v", "videos/v.MKV"])
def test_videos_that_are_called_otherwise_are_the_same(name: str) -> None:
    found = replace(detections(), videos=(name,))
    joined = join(found, truth(), [(name, 500_000)])
    report = evaluate_frames(joined.found, joined.known, LABELS, excluded=joined.excluded)
    assert (report.map, report.protocol.frames_excluded) == (1.0, 1)
    assert [doubt.kind for doubt in joined.doubts] == ["renamed videos"]


def test_films_of_one_name_in_two_folders_do_not_merge() -> None:
    side = (np.arange(12) % 2).astype(np.int32)
    two = replace(truth(), videos=("park/v", "yard/v"), video=side)
    joined = join(detections(), two)
    assert joined.found.videos == ("v",)
    assert "no shared frame" in kinds(evaluate_frames(joined.found, joined.known, LABELS))


def test_excluded_moments_follow_their_frames() -> None:
    _, _, excluded, _ = join(moved(detections(), 3000), truth(), [("v", 503_000), ("v", 1_000_000)])
    assert excluded == [("v", 500_000), ("v", 1_000_000)]


def as_annotations(table: BoxTable, *, person: bool) -> Annotations:
    return Annotations.of(
        video=["v"] * len(table),
        time_us=table.time_us,
        boxes=table.boxes,
        label=table.labels,
        person=[0] * len(table) if person else None,
        score=None if person else table.scores,
    )


def test_tables_files_and_tubes_join_alike(tmp_path: Path) -> None:
    found = as_annotations(moved(detections(), 20_000), person=False)
    known = as_annotations(truth(), person=True)
    report = evaluate_tables(found, known, LABELS)
    assert report.map == 1.0
    assert kinds(report) == {"joined moments"}
    videos = score_tubes(tubes_of(found, LABELS), known, LABELS)
    assert videos.map[0.2] > 0
    assert any("joined with the nearest: 20 ms" in told for told in videos.warnings)
    for name, table, last in (("found", found, "score"), ("known", known, "person")):
        cells = ["video", "time_us", "x1", "y1", "x2", "y2", "label", last]
        rows = [list(row) for row in table.frame.select(cells).iter_rows()]
        lines = [",".join(map(str, [r[0], r[1] / 1e6, *r[2:]])) for r in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    read = evaluate_files(tmp_path / "found.csv", tmp_path / "known.csv")
    assert (read.map, kinds(read)) == (1.0, {"joined moments"})
