"""Every file of results is what its schema says; every frame has everybody's box."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import tubelet
from tubelet.errors import InputError
from tubelet.labels import LabelSpace
from tubelet.render.actions import ACTIONS, write_actions
from tubelet.render.export import VideoMeta, write_tubes
from tubelet.render.frames import FRAMES, frame_rows, write_frames
from tubelet.render.made_by import MadeBy
from tubelet.render.timeline import Spans
from tubelet.result_files import ROWS_FORMAT, ROWS_VERSION, TableForm
from tubelet.results import Detections, Tube, save_results
from tubelet.types import Key

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (dev extra)")
SCHEMAS = Path(tubelet.__file__).parent / "schemas"
LABELS = LabelSpace(ids=(3, 12), names=("walk", 'say "hi", wave'), groups={"pose": (3,)})
META = VideoMeta(name="film.mp4", fps=29.97, width=320, height=240, start_ms=0, duration_ms=5_000)
HALF = Spans(on=0.5)


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def check(name: str, document: object) -> None:
    jsonschema.validate(document, schema(name), cls=jsonschema.Draft202012Validator)


def tubes() -> list[Tube]:
    left = np.linspace(0.1, 0.4, 4)
    boxes = np.stack([left, left * 0 + 0.2, left + 0.3, left * 0 + 0.9], 1)
    scores = np.array([[0.9, 0.1], [0.7, 0.1], [0.1, 0.8], [0.9, 0.8]], np.float32)
    return [
        Tube(
            video="film, first",
            track_id=number,
            times_ms=np.arange(4) * 1000,
            boxes=boxes.astype(np.float32),
            person_scores=np.ones(4, np.float32),
            action_scores=scores,
            labels=LABELS,
        )
        for number in (7, -1)
    ]


def moments() -> list[Detections]:
    return [
        Detections(
            key=Key(video="film", time_ms=time_ms),
            boxes=np.array([[0.1, 0.2, 0.4, 0.9], [0.5, 0.2, 0.9, 0.9]]),
            person_scores=np.array([0.9, 0.4], np.float32),
            action_scores=np.array([[0.8, 0.1], [0.2, 0.7]], np.float32),
            track_ids=np.array([4, -1]),
            labels=LABELS,
        )
        for time_ms in (0, 1000)
    ]


def test_json_is_what_its_schema_says(tmp_path: Path) -> None:
    (first, second) = tubes()
    followed = replace(first, path_ms=first.times_ms, path_boxes=first.boxes)
    people = [followed, second]
    made = MadeBy(tubelet="1", model="m", people="p", threshold=0.5, every_ms=1000, off=0.2)
    write_tubes(
        tmp_path / "tubes.json", people, video=META, labels=LABELS, every_ms=1000, made_by=made
    )
    save_results(tmp_path / "own.json", tubes())
    save_results(tmp_path / "detections.json", moments())
    for name, file in (("tubes", "tubes"), ("tubes", "own"), ("detections", "detections")):
        document = json.loads((tmp_path / f"{file}.json").read_text())
        check(name, document)
        with pytest.raises(jsonschema.ValidationError):
            check(name, document | {"version": 99})


def write(form: TableForm, path: Path) -> int:
    if form is ACTIONS:
        return write_actions(path, tubes(), spans=HALF, every_ms=1000, film_end_ms=3500)
    times = np.arange(0, 3500, 40)
    return write_frames(path, tubes(), times, spans=HALF, every_ms=1000, film_end_ms=3500)


@pytest.mark.parametrize(("name", "form"), [("actions", ACTIONS), ("frames", FRAMES)])
def test_the_three_kinds_of_a_table_are_one(name: str, form: TableForm, tmp_path: Path) -> None:
    counts = {write(form, tmp_path / f"{name}.{kind}") for kind in ("csv", "parquet", "json")}
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert counts == {len(document["rows"])} and 0 not in counts
    check(name, document)
    columns = list(schema(name)["$defs"]["row"]["properties"])
    assert columns == list(form.columns)
    frame = pl.read_parquet(tmp_path / f"{name}.parquet")
    assert frame.columns == columns and frame.to_dicts() == document["rows"]
    metadata = pl.read_parquet_metadata(tmp_path / f"{name}.parquet")
    assert metadata["tubelet.format"] == document["format"] == form.format
    assert metadata["tubelet.version"] == str(document["version"])
    with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = [{k: form.columns[k](v) for k, v in row.items()} for row in table]
        assert table.fieldnames == columns
    assert rows == document["rows"]


def test_rows_of_scores_keep_track_ids_in_parquet(tmp_path: Path) -> None:
    save_results(tmp_path / "rows.parquet", moments())
    frame = pl.read_parquet(tmp_path / "rows.parquet")
    assert frame.columns == list(schema("rows")["properties"])
    assert frame["track_id"].to_list() == [4, 4, -1, -1] * 2
    for row in frame.to_dicts():
        check("rows", row)
    metadata = pl.read_parquet_metadata(tmp_path / "rows.parquet")
    assert metadata["tubelet.format"] == ROWS_FORMAT
    assert schema("rows")["$id"] == f"{ROWS_FORMAT}/{ROWS_VERSION}"


def test_on_every_frame_people_move_in_a_straight_line() -> None:
    (tube, _), times = tubes(), np.arange(0, 3500, 40)
    rows = list(frame_rows([tube], times, spans=HALF, every_ms=1000, film_end_ms=3500))
    assert [row.frame for row in rows] == list(range(len(times)))
    assert [row.time_s for row in rows if row.seen] == [0, 1, 2, 3]
    assert rows[37].x1 == pytest.approx(0.1 + 0.3 * 1480 / 3000, abs=1e-4)
    walk, wave = LABELS.names
    by_time = {row.time_s: row.actions for row in rows}
    assert (by_time[1.48], by_time[1.52], by_time[2.52]) == (walk, wave, f"{walk} | {wave}")


def test_a_frame_is_on_show_until_the_next() -> None:
    (tube, _), times = tubes(), np.array([0, 999, 1998, 2997])
    rows = list(frame_rows([tube], times, spans=HALF, every_ms=1000))
    assert [row.seen for row in rows] == [1, 1, 1, 1]


def test_who_was_followed_between_keyframes_was_seen_there() -> None:
    (tube, _), times = tubes(), np.arange(0, 3500, 40)
    path_ms = np.unique([*tube.times_ms.tolist(), 200, 400])
    path = np.stack([np.interp(path_ms, tube.times_ms, side) for side in tube.boxes.T], axis=1)
    followed = replace(tube, path_ms=path_ms, path_boxes=path)
    rows = list(frame_rows([followed], times, spans=HALF, every_ms=1000, film_end_ms=3500))
    assert [row.time_s for row in rows if row.seen] == [0, 0.2, 0.4, 1, 2, 3]


def test_another_kind_of_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown extension"):
        write_actions(tmp_path / "actions.xlsx", tubes(), spans=HALF, every_ms=1000)
    assert not list(tmp_path.iterdir())
