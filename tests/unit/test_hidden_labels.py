"""Test sets whose labels only a server has: their keyframes, and the file that is sent there."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tubelet.cli import main
from tubelet.data.annotations import Annotations
from tubelet.data.keyframe_lists import read_keyframes
from tubelet.data.labelmaps import read_label_map
from tubelet.data.predictions import read_predictions, write_predictions
from tubelet.data.sources import (
    ClipSource,
    JoinedSource,
    UnlabelledClipSource,
    UnlabelledSource,
    VideoSource,
)
from tubelet.data.tables import read_ava_csv, write_ava_csv
from tubelet.data.unlabelled import keyframes_of
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.evaluate.clip_scores import ClipScores
from tubelet.evaluate.protocols import AVA as AVA_PROTOCOL
from tubelet.evaluate.scoring import evaluate_tables
from tubelet.labels import LabelSpace
from tubelet.labelsets import label_set
from tubelet.playground import PlaygroundConfig, write_dataset
from tubelet.playground.sources import PlaygroundSource, UnlabelledPlaygroundSource
from tubelet.recipes import experiments, recipe_named
from tubelet.recipes.smoke import run_smoke, shrink_recipe
from tubelet.testing.config import Ensemble
from tubelet.testing.submission import (
    MOST_ROWS,
    check_submission,
    write_kinetics_submission,
    write_submission,
)
from tubelet.train.recipe import Recipe
from tubelet.train.reporters import Silent
from tubelet.train.run import run

AVA = label_set("ava")
WORLD = PlaygroundConfig(height=48, width=64, seconds=3.0, people=(1, 2), task="scene")
SEVEN = "ava22_slowfast_ensemble7"


def recipe_of(name: str) -> Recipe:
    found = recipe_named(name)
    assert isinstance(found, Recipe)
    return found


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def assert_valid(path: Path, keyframes: set[tuple[str, int]], ids: Sequence[int]) -> None:
    """The server's rules once more, by hand."""
    rows = rows_of(path)
    assert rows and all(len(row) == 8 for row in rows)
    moments = Counter((video, round(float(seconds) * 1e6)) for video, seconds, *_ in rows)
    assert set(moments) <= keyframes
    assert max(moments.values()) <= 50
    for row in rows:
        x1, y1, x2, y2, label, score = map(float, row[2:])
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        assert int(label) == label and int(label) in ids
        assert np.isfinite(score)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AVA's test set in the small, as files: films, their list, seconds, boxes, and no labels."""
    root = tmp_path_factory.mktemp("ava")
    files = write_dataset(root, clips=2, config=WORLD, split="test", every_ms=500)
    truth = read_ava_csv(files.annotations)
    names = truth.videos()
    (root / "test.txt").write_text("".join(f"{name}.mkv\n" for name in names))
    (root / "included.txt").write_text("0000.5\n0001\n0002\n")
    (root / "excluded.csv").write_text(f"{names[0]},0001\n")
    boxes = truth.frame.with_columns(label=None, person=None, score=pl.lit(0.9)).unique(
        ["video", "time_us", "x1"], maintain_order=True
    )
    write_ava_csv(root / "boxes.csv", Annotations(frame=boxes), kind="proposals")
    files.annotations.unlink()
    return root


SOURCE = UnlabelledSource(
    name="ava_test",
    videos="videos",
    keyframes="test.txt",
    included="included.txt",
    excluded="excluded.csv",
    proposals="boxes.csv",
    labels="labels.pbtxt",
    score_threshold=0.5,
)


def test_keyframes_are_the_listed_videos_at_the_included_seconds(films: Path) -> None:
    dataset = SOURCE.build(films)
    one, two = keyframes_of(dataset).videos()
    expected = [(one, 500), (one, 2000), (two, 500), (two, 1000), (two, 2000)]
    assert [(k.video, k.time_ms) for k in map(dataset.key, range(len(dataset)))] == expected
    assert len(keyframes_of(dataset)) == 5
    assert SOURCE.hidden and SOURCE.folders() == ("videos",)
    people = dataset.people().frame
    assert people["label"].null_count() == len(people) and people["x1"].null_count() == 0


def test_a_list_with_times_needs_no_included_seconds(tmp_path: Path) -> None:
    """The Kinetics part of AVA-Kinetics: each clip has a moment of its own."""
    path = tmp_path / "kinetics_test_v1.0.csv"
    path.write_text("abc,4.0847\ndef,0015\nabc,4.0847\n")
    table = read_keyframes(path).frame
    assert table["time_us"].to_list() == [4_084_700, 15_000_000]
    (tmp_path / "seconds.txt").write_text("0902\n")
    with pytest.raises(InputError, match="its own times"):
        read_keyframes(path, included=tmp_path / "seconds.txt")
    (tmp_path / "ids.txt").write_text("abc\n")
    with pytest.raises(InputError, match="not which of their seconds"):
        read_keyframes(tmp_path / "ids.txt")


def test_avas_own_lists_give_its_test_keyframes(shared: Path) -> None:
    folder = shared / "data" / "ava" / "v2.2_meta"
    table = read_keyframes(
        folder / "ava_test_v2.2.txt",
        included=folder / "ava_included_timestamps_v2.2.txt",
        excluded=folder / "ava_test_excluded_timestamps_v2.2.csv",
    )
    assert len(table) == 131 * 897 - 66
    assert len(table.videos()) == 131
    with_ends = read_keyframes(  # the same films by their file names
        folder / "ava_file_names_test_v2.1.txt",
        included=folder / "ava_included_timestamps_v2.2.txt",
    )
    assert with_ends.videos() == table.videos()


def test_nobody_is_told_a_truth_that_nobody_has(films: Path, tmp_path: Path) -> None:
    hidden = UnlabelledPlaygroundSource(world=WORLD, clips=1)
    for source in (SOURCE, hidden):
        dataset = source.build(films)
        with pytest.raises(ConfigError, match="are not public"):
            dataset.truth()
        assert dataset.label_ids(0) == ()
    both = JoinedSource(name="both", parts=(SOURCE, replace(SOURCE, name="again")))
    assert both.hidden and len(keyframes_of(both.build(films))) == 10
    with pytest.raises(ConfigError, match="are not public"):
        both.build(films).truth()
    with pytest.raises(ConfigError, match="labels of all parts, or of none"):
        JoinedSource(name="mixed", parts=(SOURCE, PlaygroundSource(world=WORLD)))
    with pytest.raises(ConfigError, match="scored, not submitted"):
        keyframes_of(PlaygroundSource(world=WORLD, clips=1).build(films))
    small = shrink_recipe(recipe_of("ava22_trainval_slowfast_r101_nl_8x8"))
    stage = replace(small.stages[-1], data=hidden)
    learning = replace(small, stages=(*small.stages[:-1], stage))
    with pytest.raises(ConfigError, match="nothing can be learnt from them"):
        train(learning, tmp_path)


def train(recipe: Recipe, out: Path, root: Path | None = None) -> None:
    run(
        recipe,
        out=out,
        root=root or out,
        device=torch.device("cpu"),
        resume=False,
        reporter=Silent(),
    )


def test_the_row_of_seven_models_ends_with_a_submission(tmp_path: Path) -> None:
    """001's 34.3: shrunk, from training to the file, and no figure anywhere."""
    [tested] = run_smoke(experiments()[SEVEN], out=tmp_path)
    assert tested.truth is None and tested.submission is not None
    assert tested.figures == {} and "map" not in tested.report and "mAP" in tested.line
    folder = tested.submission.parent
    assert {path.name for path in folder.iterdir()} == {
        "predictions.csv", "keyframes.csv", "submission.csv", "report.json",
    }  # fmt: skip
    keyframes = read_keyframes(folder / "keyframes.csv")
    moments = set(keyframes.frame.select("video", "time_us").iter_rows())
    assert_valid(tested.submission, moments, (1, 2))
    assert tested.report["keyframes"] == len(moments)
    assert json.loads((folder.parent / "figures.json").read_text(encoding="utf-8")) == {}


def test_every_member_of_the_hidden_rows_can_run() -> None:
    """None asks for labels of a test set: those are lists, boxes, and a server."""
    for name in (SEVEN, "relation_ensemble15", "k700_slowfast_ensemble3"):
        ensemble = experiments()[name]
        assert isinstance(ensemble, Ensemble)
        hidden = [test for test in ensemble.tests if test.data.hidden]
        assert len(hidden) == 1
        for member in ensemble.members:
            [own] = [test for test in recipe_of(member).tests if test.data.hidden]
            assert (own.name, own.data) == (hidden[0].name, hidden[0].data)
    sources = [
        part
        for one in experiments().values()
        for test in one.tests
        for part in (test.data.joins() or (test.data,))
    ]
    labelled = [s for s in sources if isinstance(s, (VideoSource, ClipSource))]
    assert labelled and not [s for s in labelled if "_test" in s.annotations]


def test_a_recipe_runs_on_films_whose_labels_are_hidden(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shrunk member, tested on files as AVA's test set has them; the command says no mAP."""
    recipe = shrink_recipe(recipe_of("ava22_trainval_slowfast_r101_nl_8x8"))
    recipe = replace(recipe, tests=(replace(recipe.tests[0], data=SOURCE),))
    train(recipe, tmp_path / "run", films)
    folder = tmp_path / "run" / "ava_test"
    moments = set(keyframes_of(SOURCE.build(films)).frame.select("video", "time_us").iter_rows())
    labels = read_label_map(films / "labels.pbtxt")
    assert_valid(folder / "submission.csv", moments, labels.ids)

    again = tmp_path / "again.csv"
    keys = [str(films / "test.txt"), "--included", str(films / "included.txt")]
    keys += ["--exclude", str(films / "excluded.csv"), "--labels", str(films / "labels.pbtxt")]
    command = ["evaluate", str(folder / "predictions.csv")]
    assert main([*command, *keys, "--submission", str(again)]) == 0
    shown = capsys.readouterr().out
    assert "5 of 5 keyframes" in shown and "the labels of this set are not public" in shown
    assert rows_of(again) == rows_of(folder / "submission.csv")
    beside = [str(folder / "keyframes.csv"), "--labels", str(films / "labels.pbtxt")]
    assert main([*command, *beside, "--submission", str(again), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keyframes"] == 5


def some_predictions(people: int = 3) -> tuple[Annotations, Annotations]:
    """Scores of AVA's 80 classes at two keyframes, and the truth of the same people."""
    rng = np.random.default_rng(0)
    keys = [("v", 902_000_000), ("v", 903_000_000)]
    corners = [(key, rng.random(2) * 0.5) for key in keys for _ in range(people)]
    rows = [(key, corner, i) for key, corner in corners for i in AVA.ids]
    found = Annotations.of(
        video=[video for (video, _), *_ in rows],
        time_us=[time_us for (_, time_us), *_ in rows],
        boxes=[[*corner, *(corner + 0.3)] for _, corner, _ in rows],
        label=[i for *_, i in rows],
        score=rng.random(len(rows)).tolist(),
    )
    true = found.frame.filter(pl.Series(rng.random(len(found)) < 0.2))
    return found, Annotations(frame=true.with_columns(score=None))


KEYFRAMES = Annotations.of(video=["v", "v", "w"], time_us=[902_000_000, 903_000_000, 902_000_000])


def test_what_is_left_out_changes_no_score(tmp_path: Path) -> None:
    """The server's own script scores the best 50 rows of the 60 classes: as the whole file."""
    assert AVA_PROTOCOL.cap == MOST_ROWS
    found, truth = some_predictions()
    written = write_submission(tmp_path / "s.csv", found, KEYFRAMES, AVA)
    assert len(found) == 480 and written.rows == 100
    assert written.left_out == {
        "their class is not evaluated": 120, "beyond the best 50 of their keyframe": 260,
    }  # fmt: skip
    assert (written.keyframes, written.empty, written.classes) == (3, 1, 60)
    whole = evaluate_tables(found, truth, AVA)
    sent = evaluate_tables(read_predictions(tmp_path / "s.csv"), truth, AVA)
    assert 0 < whole.map == sent.map
    assert check_submission(tmp_path / "s.csv", KEYFRAMES, AVA) == 100
    moments = set(KEYFRAMES.frame.select("video", "time_us").iter_rows())
    assert_valid(tmp_path / "s.csv", moments, AVA.evaluated)
    every = replace(AVA, evaluated=())
    assert "their class" not in str(write_submission(tmp_path / "t.csv", found, KEYFRAMES, every))


def test_times_are_those_of_the_list_and_boxes_end_at_the_frame(tmp_path: Path) -> None:
    keyframes = Annotations.of(video=["k"], time_us=[4_084_701])
    rows = Annotations.of(
        video=["k"] * 3,
        time_us=[4_085_000] * 3,
        boxes=[[-0.02, 0.1, 0.5, 1.01], [0.1, 0.1, 0.2, 0.2], [1.01, 0.1, 1.2, 0.2]],
        label=[1, 3, 4],
        score=[0.5, 0.25, 0.1],
    )
    written = write_submission(tmp_path / "s.csv", rows, keyframes, AVA)
    assert rows_of(tmp_path / "s.csv") == [
        ["k", "4.084701", "0.0", "0.1", "0.5", "1.0", "1", "0.5"],
        ["k", "4.084701", "0.1", "0.1", "0.2", "0.2", "3", "0.25"],
    ]
    assert written.clipped == 2 and written.left_out == {"their box has no area": 1}
    assert any("cut to the frame" in line for line in written.lines())


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("v,0904,0.1,0.1,0.2,0.2,1,0.5", r"no keyframe[\s\S]*row 2[\s\S]*902 to 903[\s\S]*v,904"),
        ("x,0902,0.1,0.1,0.2,0.2,1,0.5", r"no keyframe[\s\S]*row 2[\s\S]*one of 2 videos"),
        ("v,0902,0.1,0.1,0.2,0.2,81,0.5", r"unknown action id 81[\s\S]*row 2"),
        ("v,0902,0.1,0.1,0.2,0.2,1", r"missing score[\s\S]*row 2[\s\S]*column 8"),
        ("v,0902,10,10,20,20,1,0.5", r"far outside the frame[\s\S]*row 2"),
    ],
)
def test_what_the_set_does_not_have_is_refused(row: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"v,0902,0.1,0.1,0.2,0.2,1,0.5\n{row}\n")
    with pytest.raises(DataError, match=match):
        write_submission(tmp_path / "s.csv", read_predictions(path), KEYFRAMES, AVA)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("v,0902.5,0.1,0.1,0.2,0.2,1,0.5", "no keyframe of the test set"),
        ("v,0902.0002,0.1,0.1,0.2,0.2,1,0.5", "to the microsecond"),
        ("v,0902,-0.1,0.1,0.2,0.2,1,0.5", "leaves the frame"),
        ("v,0902,0.2,0.1,0.2,0.2,1,0.5", "has no area"),
        ("v,0902,0.1,0.1,0.2,0.2,2,0.5", "class is not evaluated"),
        ("v,0902,0.1,0.1,0.2,0.2,1", "missing score"),
        ("v,0902", "leaves the frame"),
        ("\n".join(["v,0902,0.1,0.1,0.2,0.2,1,0.5"] * 50), "at most 50"),
    ],
)
def test_a_file_that_the_server_would_misread_is_not_valid(
    row: str, match: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.csv"
    path.write_text(f"v,0902,0.1,0.1,0.2,0.2,1,0.5\n{row}\n")
    with pytest.raises(DataError, match=match):
        check_submission(path, KEYFRAMES, AVA)


def test_the_command_says_what_does_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = some_predictions()
    write_predictions(tmp_path / "p.parquet", found)
    write_ava_csv(tmp_path / "k.csv", KEYFRAMES)
    (tmp_path / "two.txt").write_text("1: bend/bow (at the waist)\n3: crouch/kneel\n")
    (tmp_path / "own.txt").write_text("1: jump\n2: run\n")
    files = [str(tmp_path / name) for name in ("p.parquet", "k.csv")]
    to = ["--submission", str(tmp_path / "s.csv")]
    assert main(["evaluate", *files, *to]) == 0
    assert "of 60 classes" in capsys.readouterr().out
    assert main(["evaluate", *files, *to, "--labels", str(tmp_path / "two.txt")]) == 0
    assert "12 rows of 2 classes" in capsys.readouterr().out
    for options, words in (
        ([*to, "--metric", "topk"], "boxes of people"),
        ([*to, "--details", "--iou", "0.6"], "--details, --iou"),
        (["--included", "x.txt"], "only valid with --submission"),
        ([*to, "--labels", str(tmp_path / "own.txt")], "unknown action id 3"),
    ):
        assert main(["evaluate", *files, *options]) == 2
        assert words in capsys.readouterr().err


def test_kinetics_server_gets_five_classes_of_each_clip(tmp_path: Path) -> None:
    labels = LabelSpace.of([f"class {i}" for i in range(7)], first_id=0, exclusive=True)
    scores = np.arange(14.0).reshape(2, 7)
    found = ClipScores(
        videos=("abc_000010_000020", "d_e_000000_000010"), ids=labels.ids, scores=scores
    )
    written = write_kinetics_submission(tmp_path / "s.json", found, labels)
    data = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert set(data) == {"version", "results", "external_data"}
    assert list(data["results"]) == ["abc", "d_e"]
    assert data["results"]["abc"][0] == {"label": "class 6", "score": 6.0}
    assert [len(rows) for rows in data["results"].values()] == [5, 5]
    assert written.videos == 2 and any("external_data" in line for line in written.lines())
    twice = replace(found, videos=("abc_000010_000020", "abc_000020_000030"))
    with pytest.raises(DataError, match="two clips of one video"):
        write_kinetics_submission(tmp_path / "s.json", twice, labels)


def test_kinetics_test_list_has_no_classes_and_takes_those_of_validation(
    films: Path, tmp_path: Path
) -> None:
    clips = sorted((films / "videos").iterdir())
    folder = tmp_path / "test"
    folder.mkdir()
    for number, clip in enumerate(clips):
        (folder / f"id{number}_000000_000010.mp4").symlink_to(clip)
    rows = "".join(f"id{i},0,10,test\n" for i in range(len(clips) + 1))
    (tmp_path / "test.csv").write_text(f"youtube_id,time_start,time_end,split\n{rows}")
    head = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "val.csv").write_text(f"{head}jump,x,0,10,validate\nbow,y,0,10,validate\n")
    source = UnlabelledClipSource(
        name="k_test", videos="test", annotations="test.csv", classes="val.csv", allow_missing=True
    )
    dataset = source.build(tmp_path)
    assert dataset.labels.names == ("bow", "jump")
    assert len(dataset) == 2 and dataset.missing == ("id2_000000_000010",)
    assert source.hidden and source.labelled == "video"
    with pytest.raises(ConfigError, match="are not public"):
        dataset.truth()
    with pytest.raises(DataError, match=r"row 2[\s\S]*without classes"):
        replace(source, annotations="val.csv", allow_missing=True).build(tmp_path)
