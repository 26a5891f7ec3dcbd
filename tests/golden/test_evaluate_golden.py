"""Frame mAP against what the three public evaluators printed for the same files."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tubelet.data.annotations import Annotations
from tubelet.errors import DataError
from tubelet.evaluate.frame_map import NO_LABEL, BoxTable, evaluate_frames
from tubelet.evaluate.from_annotations import box_table
from tubelet.labels import LabelSpace

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "ava_eval"
KEY = {"ava": "official", "pyslowfast": "pyslowfast", "mmaction2": "mmaction2"}
# The 60 classes of AVA that the challenge counts.
EVALUATED = tuple(
    i
    for i in range(1, 81)
    if i not in {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
)
LABELS = LabelSpace(
    ids=tuple(range(1, 81)), names=tuple(f"class {i}" for i in range(1, 81)), evaluated=EVALUATED
)
# These originals stop at text that never reaches the evaluator here: columns and time formats
# belong to the table reader, which has its own tests.
TEXT_ERRORS = {("timestamp_formats", "pyslowfast"), ("timestamp_formats", "mmaction2")}


def read_rows(path: Path) -> list[list[str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [row for row in csv.reader(text.splitlines()) if row]


def read_table(path: Path) -> BoxTable:
    rows = read_rows(path)
    if any(len(row) not in (2, 7, 8) for row in rows):
        raise DataError("wrong number of columns", where=path)
    return BoxTable.of(
        videos=[row[0] for row in rows],
        time_us=[round(float(row[1]) * 1e6) for row in rows],
        boxes=np.array([[float(v) for v in row[2:6]] or [math.nan] * 4 for row in rows]),
        labels=[int(row[6]) if len(row) > 2 else NO_LABEL for row in rows],
        scores=[float(row[7]) if len(row) == 8 else 1.0 for row in rows],
        scored=[len(row) == 8 or len(row) == 2 for row in rows],
    )


def read_excluded(path: Path) -> list[tuple[str, int]]:
    rows = read_rows(path) if path.exists() else []
    return [(video, round(float(time) * 1e6)) for video, time in rows]


def aps(report: Any) -> dict[str, float]:
    return {str(c.id): c.ap for c in report.classes}


def check(report: Any, expected: dict[str, Any], tolerance: float = 1e-12) -> None:
    got = aps(report)
    for class_id, ap in expected["per_class_ap"].items():
        if ap is None:
            assert math.isnan(got[class_id]), class_id
        else:
            assert got[class_id] == pytest.approx(ap, abs=tolerance, rel=0), class_id
    if expected["mAP"] is None:
        assert math.isnan(report.map)
    else:
        assert report.map == pytest.approx(expected["mAP"], abs=tolerance, rel=0)


@pytest.mark.parametrize("protocol", KEY)
@pytest.mark.parametrize("name", ["unique", "mini", "edge_mix", "small"])
def test_matches_the_originals(shared: Path, name: str, protocol: str) -> None:
    folder = shared / "golden" / "ava_eval"
    expected = json.loads((folder / "expected.json").read_text())[name]
    report = evaluate_frames(
        _table(folder / f"{name}_det.csv.gz"),
        _table(folder / f"{name}_gt.csv.gz"),
        LABELS,
        protocol=protocol,
        excluded=[] if protocol == "ava" else read_excluded(folder / f"{name}_excluded.csv.gz"),
    )
    # Where scores tie, the originals are defined only with a stable sort.
    check(report, expected[KEY[protocol] + "_stable"])
    if name == "unique":
        check(report, expected[KEY[protocol]])


_tables: dict[Path, BoxTable] = {}


def _table(path: Path) -> BoxTable:
    """A large file, by way of polars and the normal form of the data room."""
    if path not in _tables:
        frame = pl.read_csv(gzip.decompress(path.read_bytes()), has_header=False)
        names = ["video", "time_us", "x1", "y1", "x2", "y2", "label", "score"]
        frame = frame.rename(dict(zip(frame.columns, names, strict=False)))
        frame = frame.with_columns(pl.col("time_us") * 1_000_000)
        _tables[path] = box_table(Annotations(frame=frame))
    return _tables[path]


def _edge_cases() -> list[str]:
    path = GOLDEN / "edge_expected.json"
    return sorted(json.loads(path.read_text())) if path.exists() else []


@pytest.mark.parametrize("protocol", KEY)
@pytest.mark.parametrize("case", _edge_cases())
def test_edge_case(shared: Path, case: str, protocol: str) -> None:
    folder = shared / "golden" / "ava_eval"
    entry = json.loads((folder / "edge_expected.json").read_text())[case]
    key = KEY[protocol]
    expected = entry.get(key + "_with_stable_argsort", entry[key])
    excluded = [] if protocol == "ava" else read_excluded(folder / "edge" / case / "excl.csv")

    def run() -> Any:
        return evaluate_frames(
            read_table(folder / "edge" / case / "det.csv"),
            read_table(folder / "edge" / case / "gt.csv"),
            LABELS,
            protocol=protocol,
            excluded=excluded,
        )

    if "error" in expected and (case, protocol) not in TEXT_ERRORS:
        with pytest.raises(DataError):
            run()
    elif "error" in expected:
        assert run().map == 1.0
    else:
        report = run()
        check(report, expected)
        counted = {i for i, ap in aps(report).items() if not math.isnan(ap)}
        assert counted == set(expected["per_class_ap"])
