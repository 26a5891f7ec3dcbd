"""Predictions on disk: the same rows whatever the form, and what is no prediction is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.predictions import (
    read_parquet,
    read_predictions,
    write_parquet,
    write_predictions,
)
from tubelet.errors import DataError, InputError
from tubelet.evaluate.clip_scores import ClipScores, read_clip_scores, write_clip_scores
from tubelet.evaluate.detection_files import read_detections

TABLE = Annotations.of(
    video=["a,b", "a,b", "c"],
    time_us=[902_000_000, 902_000_000, 1_367_000],
    boxes=np.array([[0.1, 0.2, 0.3, 0.4]] * 2 + [[0, 0, 1, 1]], np.float32),
    label=[1, 7, 1],
    score=[0.25, 1 / 3, 1e-7],
)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_predictions_come_back_and_the_evaluator_reads_them(tmp_path: Path, name: str) -> None:
    write_predictions(tmp_path / name, TABLE)
    assert read_predictions(tmp_path / name).same_content(TABLE)
    found = read_detections(tmp_path / name)
    np.testing.assert_array_equal(found.scores, TABLE.frame["score"].to_numpy())
    np.testing.assert_array_equal(found.time_us, TABLE.frame["time_us"].to_numpy())


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_nothing_predicted_is_a_file_too(tmp_path: Path, name: str) -> None:
    write_predictions(tmp_path / name, Annotations.of(video=[], time_us=[]))
    assert len(read_predictions(tmp_path / name)) == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [("score", None), ("score", float("nan")), ("x1", 320.0), ("video", None), ("class_id", None)],
)
def test_a_row_that_is_no_detection_is_named(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, TABLE)
    frame = read_parquet(path)
    last = pl.Series([False, False, True])
    kind = frame.schema[column]
    broken = pl.when(last).then(pl.lit(value, kind)).otherwise(pl.col(column)).alias(column)
    write_parquet(path, frame.with_columns(broken))
    with pytest.raises(DataError, match="row 3"):
        read_predictions(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(InputError, match="cannot read"):
        read_predictions(path)
    path.write_text("video,0902\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_predictions(path)
    write_parquet(path, pl.DataFrame({"video": ["a"], "score": [1.0]}))
    for read in (read_predictions, read_clip_scores):
        with pytest.raises(DataError):
            read(path)


@pytest.mark.parametrize("name", ["s.csv", "s.parquet"])
def test_clip_scores_come_back(tmp_path: Path, name: str) -> None:
    scores = np.array([[0.5, 0.25], [1e-6, 1.0]])
    write_clip_scores(tmp_path / name, ClipScores(videos=("v", "w"), ids=(3, 1), scores=scores))
    found = read_clip_scores(tmp_path / name)
    assert (found.videos, found.ids) == (("v", "w"), (3, 1))
    np.testing.assert_array_equal(found.scores, scores)
