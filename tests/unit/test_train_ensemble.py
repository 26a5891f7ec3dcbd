"""Ensembles of recipes whose predictions are on disk, and `tubelet ensemble`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tubelet.cli import main
from tubelet.data.annotations import Annotations
from tubelet.data.predictions import read_predictions, write_predictions
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.evaluate.clip_scores import ClipScores, read_clip_scores, write_clip_scores
from tubelet.playground import PlaygroundConfig
from tubelet.playground.sources import PlaygroundSource
from tubelet.testing.config import Ensemble, Test
from tubelet.testing.ensembles import run_ensemble

SOURCE = PlaygroundSource(
    world=PlaygroundConfig(height=32, width=48, fps=4.0, seconds=4.0, task="event"), clips=3
)
ENSEMBLE = Ensemble(
    name="pair", summary="two", members=("good", "bad"), weights=(3, 1), tests=(Test(data=SOURCE),)
)


def predictions(quality: float) -> Annotations:
    """A row for every class of everybody: `quality` of the truth, the rest chance."""
    dataset = SOURCE.build(Path())
    rng = np.random.default_rng(0)
    truth = dataset.truth()
    assert isinstance(truth, Annotations)
    rows = []
    for key, people, labels in truth.keyframes():
        for box, own in zip(people.boxes, labels, strict=True):
            for label in dataset.labels.ids:
                score = quality * (label in own) + (1 - quality) * rng.random()
                rows.append((key, box, label, score))
    return Annotations.of(
        video=[key.video for key, *_ in rows],
        time_us=[key.time_ms * 1000 for key, *_ in rows],
        boxes=[box for _, box, *_ in rows],
        label=[label for *_, label, _ in rows],
        score=[score for *_, score in rows],
    )


def test_an_ensemble_is_scored_as_its_members_mean(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    good, bad = predictions(0.9), predictions(0.0)
    write_predictions(runs / "good" / "predictions.csv", good)
    write_predictions(runs / "bad" / "predictions.parquet", bad.of_video(*bad.videos()[1:]))
    notes: list[str] = []
    [tested] = run_ensemble(
        ENSEMBLE, runs=runs, out=tmp_path / "out", root=tmp_path, note=notes.append
    )
    assert tested.report["map"] > 0.9
    [first, second] = tested.report["members"]
    assert (first["name"], first["weight"], first["missing"]) == ("good", 0.75, 0)
    assert second["missing"] > 0
    assert len(notes) == 1
    assert notes[0].startswith("bad is missing")
    joined = read_predictions(tested.predictions).frame
    absent = joined.filter(joined["video"] == bad.videos()[0])["score"].to_numpy()
    own = good.of_video(bad.videos()[0]).frame["score"].to_numpy()
    np.testing.assert_allclose(absent, own)
    assert joined.height == good.frame.height


def test_absent_members_are_named_with_what_makes_them(tmp_path: Path) -> None:
    write_predictions(tmp_path / "good" / "predictions.csv", predictions(0.5))
    with pytest.raises(InputError, match=r"1 of 2 members[\s\S]*try: *train them first"):
        run_ensemble(ENSEMBLE, runs=tmp_path, out=tmp_path / "out", root=tmp_path)
    other = replace(ENSEMBLE, tests=(Test(data=SOURCE, name="second"),))
    with pytest.raises(InputError, match=r"second.predictions.csv"):
        run_ensemble(other, runs=tmp_path, out=tmp_path / "out", root=tmp_path)
    with pytest.raises(ConfigError, match="cannot be scored"):
        write_predictions(tmp_path / "bad" / "predictions.csv", predictions(0.5))
        wrong = replace(ENSEMBLE, tests=(Test(data=SOURCE, metric="topk"),))
        run_ensemble(wrong, runs=tmp_path, out=tmp_path / "out", root=tmp_path)


def test_the_command_joins_files_of_people_or_of_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, out = (str(tmp_path / name) for name in ("a.csv", "b.parquet", "out.csv"))
    write_predictions(a, predictions(1.0))
    write_predictions(b, predictions(0.0))
    assert main(["ensemble", a, b, "--weights", "1,3", "--out", out]) == 0
    scores = [read_predictions(path).frame["score"].to_numpy() for path in (a, b, out)]
    np.testing.assert_allclose(scores[2], scores[0] / 4 + scores[1] * 3 / 4)
    assert "people" in capsys.readouterr().out

    clips = [str(tmp_path / name) for name in ("c.csv", "d.parquet", "joined.parquet")]
    for path, score in zip(clips, (0.25, 0.75), strict=False):
        write_clip_scores(path, ClipScores(videos=("v",), ids=(0,), scores=np.array([[score]])))
    assert main(["ensemble", *clips[:2], "--out", clips[2]]) == 0
    assert read_clip_scores(clips[2]).scores.item() == pytest.approx(0.5)

    for wrong, words in (
        (["ensemble", a, clips[0], "--out", out], "whole videos"),
        (["ensemble", a, b, "--weights", "1,x", "--out", out], "--weights"),
        (["ensemble", a, b, "--weights", "1", "--out", out], "positive weight"),
        (["ensemble", a, str(tmp_path / "gone.csv"), "--out", out], "cannot read"),
    ):
        assert main(wrong) == 2
        assert words in capsys.readouterr().err


def test_people_of_other_boxes_do_not_join(tmp_path: Path) -> None:
    for member, shift in (("good", 0.0), ("bad", 0.01)):
        own = predictions(0.5)
        moved = Annotations(frame=own.frame.with_columns(own.frame["x1"] + shift))
        write_predictions(tmp_path / member / "predictions.csv", moved)
    with pytest.raises(DataError, match="same boxes"):
        run_ensemble(ENSEMBLE, runs=tmp_path, out=tmp_path / "out", root=tmp_path)
