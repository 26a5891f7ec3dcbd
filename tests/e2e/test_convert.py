"""A foreign detector of six classes from its file to a page that says what was assumed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tubelet.cli import main


def test_what_was_assumed_reaches_the_reader(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, ours, out = shared / "cases" / "29-six-class-detector-plain", tmp_path / "a", tmp_path
    ours = ours.with_suffix(".safetensors")
    assumed = ["--assume", "exclusive=false", "--assume", "colour=rgb"]
    source = str(case / "with_cfg.pyth")
    assert main(["convert", source, "--to", str(ours), *assumed]) == 0

    assert main(["models", "show", str(ours)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "converted from with_cfg.pyth (PySlowFast SlowFast)" in shown
    assert "assumed: colour rgb, exclusive false" in shown
    assert "said by the config in the checkpoint: aligned false" in shown

    film, boxes = shared / "cases" / "videos" / "yard_a.mp4", case / "boxes.csv"
    arguments = ["detect", str(film), "--model", str(ours), "--people", str(boxes)]
    assert main([*arguments, "--no-overlay", "--out", str(out)]) == 0
    assert "assumed: colour rgb, exclusive false" in capsys.readouterr().err
    page = (out / "yard_a" / "report.html").read_text(encoding="utf-8")
    assert "assumed: colour rgb, exclusive false" in page
    with (out / "yard_a" / "detections.csv").open() as file:
        rows = list(csv.reader(file))
    people = {tuple(row[1:6]) for row in rows}
    assert len(rows) == 6 * len(people)  # six scores a person, each a yes or no of its own
    assert {sum(float(r[7]) for r in rows if tuple(r[1:6]) == p) > 1.5 for p in people} == {True}
