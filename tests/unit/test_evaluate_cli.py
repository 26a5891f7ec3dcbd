"""`tubelet evaluate --metric video|topk|charades`: files in, figures out, mistakes named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tubelet.cli import main
from tubelet.data.clips import ClipLabels, write_clip_list
from tubelet.data.importers import read_clips
from tubelet.errors import DataError
from tubelet.evaluate.clip_scores import ClipScores, read_clip_scores, write_clip_scores
from tubelet.labels import LabelSpace
from tubelet.render.export import VideoMeta, write_tubes
from tubelet.results import Tube

BOX = (0.2, 0.2, 0.6, 0.8)
Capture = pytest.CaptureFixture[str]


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def scored(*arguments: object, capfd: Capture) -> dict:  # type: ignore[type-arg]
    code = evaluate(*arguments, "--json")
    told = capfd.readouterr()
    assert code == 0, told.err
    return dict(json.loads(told.out))


def score_file(path: Path, rows: dict[str, list[float]], ids: tuple[int, ...]) -> Path:
    scores = np.array(list(rows.values()), np.float64)
    write_clip_scores(path, ClipScores(videos=tuple(rows), ids=ids, scores=scores))
    return path


def truth_file(path: Path, seconds: range, moved: float = 0.0) -> Path:
    """Person 1 runs (class 1) and person 2 sits (class 2) at each of `seconds`."""
    rows = []
    for second in seconds:
        for person, shift in ((1, 0.0), (2, 0.3)):
            x1, y1, x2, y2 = BOX[0] + shift + moved, BOX[1], BOX[2] + shift + moved, BOX[3]
            rows.append(f"film,{second:04d},{x1},{y1},{x2},{y2},{person},{person}")
    path.write_text("\n".join(rows) + "\n")
    return path


def detection_file(path: Path, seconds: range) -> Path:
    """The truth's own boxes, class 1 sure, class 2 only half."""
    rows = []
    for second in seconds:
        for person, shift in ((1, 0.0), (2, 0.3)):
            box = f"{BOX[0] + shift},{BOX[1]},{BOX[2] + shift},{BOX[3]}"
            for label in (1, 2):
                score = (0.9 if label == 1 else 0.5) if label == person else 0.1
                rows.append(f"film,{second:04d},{box},{label},{score}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_linked_detections_are_scored_as_tubes(tmp_path: Path, capfd: Capture) -> None:
    truth = truth_file(tmp_path / "truth.csv", range(12))
    found = detection_file(tmp_path / "det.csv", range(7))
    report = scored(found, truth, "--metric", "video", capfd=capfd)
    # Each tube is right in space and 7/12 as long as the truth.
    assert report["map"] == report["map_by_iou"]["0.55"] == 1.0
    assert report["map_by_iou"]["0.6"] == 0.0
    assert report["map_50_95"] == pytest.approx(0.2)
    assert [c["instances"] for c in report["classes"]] == [1, 1]
    assert report["tubes"] == {"truth": 2, "detected": 4}


def test_tubes_json_gives_the_same_figures(tmp_path: Path, capfd: Capture) -> None:
    truth = truth_file(tmp_path / "truth.csv", range(10))
    labels = LabelSpace.of(["1", "2"])
    tubes = [
        Tube(
            video="film",
            track_id=person,
            times_ms=np.arange(5) * 1000,
            boxes=np.tile(np.add(BOX, [shift, 0, shift, 0]), (5, 1)).astype(np.float32),
            person_scores=np.ones(5, np.float32),
            action_scores=np.tile(np.array(scores, np.float32), (5, 1)),
            labels=labels,
        )
        for person, shift, scores in ((1, 0.0, (0.9, 0.1)), (2, 0.3, (0.1, 0.5)))
    ]
    (tmp_path / "runs" / "film").mkdir(parents=True)
    meta = VideoMeta(name="film.mp4", fps=25, width=64, height=48, start_ms=0, duration_ms=9000)
    path = tmp_path / "runs" / "film" / "tubes.json"
    write_tubes(path, tubes, video=meta, labels=labels, every_ms=1000)
    linked = detection_file(tmp_path / "det.csv", range(5))
    wanted = scored(linked, truth, "--metric", "video", capfd=capfd)
    for where in (path, tmp_path / "runs"):
        assert scored(where, truth, "--metric", "video", capfd=capfd) == wanted
    assert evaluate(tmp_path / "runs" / "film", truth, "--metric", "video") == 0
    (tmp_path / "empty").mkdir()
    assert evaluate(tmp_path / "empty", truth, "--metric", "video") == 2
    assert "no tubes.json" in capfd.readouterr().err


def test_tubes_at_other_moments_are_warned_of(tmp_path: Path, capfd: Capture) -> None:
    truth = truth_file(tmp_path / "truth.csv", range(10))
    found = detection_file(tmp_path / "det.csv", range(2))
    assert evaluate(found, truth, "--metric", "video", "--out", tmp_path / "report") == 0
    assert "8 of 10 labelled frames (80%) have no detection" in capfd.readouterr().err
    assert {p.suffix for p in (tmp_path / "report").iterdir()} == {".json", ".csv", ".html"}
    assert "labelled tubes" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("film,0001,0.1,0.1,0.5,0.5,1", "missing person id"),
        ("film,0001,0.3,0.1,0.5,0.5,1,1", "two boxes of one person"),
    ],
)
def test_truth_without_identities_is_refused(
    row: str, says: str, tmp_path: Path, capfd: Capture
) -> None:
    truth = truth_file(tmp_path / "truth.csv", range(3))
    truth.write_text(truth.read_text() + row + "\n")
    found = detection_file(tmp_path / "det.csv", range(3))
    assert evaluate(found, truth, "--metric", "video") == 2
    told = capfd.readouterr().err
    assert says in told and "row 7" in told


def test_topk_joins_views_and_keeps_to_the_list(tmp_path: Path, capfd: Capture) -> None:
    rows = ["video,0,1,2", "a.mp4,0.6,0.4,0", "a.mp4,0.1,0.9,0", "b.mp4,0.5,0.3,0.2", "c,0,0,1"]
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "truth.txt").write_text("a.mp4 1\nb.mp4 2\n")
    report = scored(
        tmp_path / "scores.csv", tmp_path / "truth.txt", "--metric", "topk", capfd=capfd
    )
    assert report == {"metric": "topk", "top1": 0.5, "top5": 1.0, "mean_error": 0.25, "videos": 2}
    assert evaluate(tmp_path / "scores.csv", tmp_path / "truth.txt", "--metric", "topk") == 0
    assert "top-1 0.5000, top-5 1.0000, mean error 0.2500 (2 videos)" in capfd.readouterr().out


def test_charades_from_its_own_files(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "truth.csv").write_text(
        "id,actions,length\nA,c000 0 3;c001 1 2,9\nB,c001 0 1,9\nC,,9\n"
    )
    (tmp_path / "labels.txt").write_text("c000 sit\nc001 stand\nc002 run\n")
    submission = "A  0.9 0.2 0.1 \nB 0.95 0.8 0.1\nC 0.99 0.9 0.1\n"
    (tmp_path / "submission.txt").write_text(submission)
    files = (tmp_path / "submission.txt", tmp_path / "truth.csv")
    options = ("--metric", "charades", "--labels", tmp_path / "labels.txt")
    report = scored(*files, *options, capfd=capfd)
    # sit: A behind B; stand: B, then A; C has no label and ranks last; run: nobody.
    assert [c["ap"] for c in report["classes"]] == [0.5, 1.0, None]
    assert [c["name"] for c in report["classes"]] == ["sit", "stand", "run"]
    assert report["map"] == 0.75 and report["unlabelled"] == 1
    views = "video,0,1,2\nA,0,0,0\nA,0.9,0.2,0.1\nB,0.95,0.8,0.1\nC,0.99,0.9,0.1\nB,0,0,0\n"
    (tmp_path / "views.csv").write_text(views)
    again = scored(tmp_path / "views.csv", files[1], *options, capfd=capfd)
    assert again == report, "the maximum over views"


def test_scores_and_lists_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = ClipScores(videos=("x", "y/z", "x"), ids=(3, 1, 7), scores=rng.random((3, 3)))
    write_clip_scores(tmp_path / "scores.csv", scores)
    again = read_clip_scores(tmp_path / "scores.csv")
    assert (again.videos, again.ids) == (scores.videos, scores.ids)
    assert np.allclose(again.scores, scores.scores, rtol=1e-6)
    clips = ClipLabels.of([("x", 1, None, None, 1), ("x", 2, None, None, 2), ("y/z", 1, 0, 5, 3)])
    write_clip_list(tmp_path / "list.txt", clips)
    listed, _ = read_clips(tmp_path / "list.txt")
    assert listed.labels_of_videos() == clips.labels_of_videos()


WRONG = {
    "no class ids": ("a,0.5,0.5\n", "missing class ids"),
    "a class twice": ("video,1,1\na,0.5,0.5\n", "duplicate class id"),
    "a word": ("video,0,1\na,0.5,0.5\nb,0.5,x\n", "expected a video and 2 scores"),
    "too few": ("video,0,1\na,0.5,0.5\nb,0.5\n", "row 3"),
    "too many": ("video,0,1\na,0.5,0.5,0.5\n", "expected a video and 2 scores"),
    "a NaN": ("video,0,1\na,0.5,0.5\nb,nan,0.5\n", "row 3"),
    "nothing": ("", "missing class ids"),
    "another video": ("video,0,1\nz,0.5,0.5\n", "1 of 1 labelled videos have no scores"),
    "another class": ("video,4,5\na,0.5,0.5\n", "class 1 of video 'a' has no score"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_score_files_are_explained(case: str, tmp_path: Path, capfd: Capture) -> None:
    content, says = WRONG[case]
    (tmp_path / "scores.csv").write_text(content)
    (tmp_path / "truth.txt").write_text("a 1\n")
    assert evaluate(tmp_path / "scores.csv", tmp_path / "truth.txt", "--metric", "topk") == 2
    assert says in capfd.readouterr().err


def test_what_a_metric_cannot_do_is_said(tmp_path: Path, capfd: Capture) -> None:
    truth = truth_file(tmp_path / "truth.csv", range(2))
    found = detection_file(tmp_path / "det.csv", range(2))
    scores = score_file(tmp_path / "scores.csv", {"a": [1.0, 0.0]}, (0, 1))
    (tmp_path / "two.txt").write_text("a 0\na 1\n")
    for arguments, says in (
        ((found, truth, "--metric", "videos"), "frame, video, topk, charades"),
        (
            (found, truth, "--metric", "video", "--iou", "0.7"),
            "--iou is only valid for the frame metric",
        ),
        ((scores, tmp_path / "two.txt", "--metric", "topk"), "has several classes"),
        ((scores, truth, "--metric", "topk"), "expected a path and a class"),
    ):
        assert evaluate(*arguments) == 2
        assert says in capfd.readouterr().err
    with pytest.raises(DataError, match="tab"):
        write_clip_list(tmp_path / "x", ClipLabels.of([("a\tb", 1, None, None, 1)]))
