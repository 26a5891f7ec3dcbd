"""Real annotation files: what they hold, what the doctor truly finds, and that they round-trip."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tubelet.data import importers
from tubelet.data.annotations import CONTENT, Annotations
from tubelet.data.doctor import SetFiles, examine_files
from tubelet.data.importers import Options, convert, read, sniff
from tubelet.data.labelmaps import read_label_map, write_pbtxt
from tubelet.data.tables import KINDS, read_ava_csv, read_excluded, read_included, write_ava_csv
from tubelet.errors import TubeletError

pytestmark = pytest.mark.shared
BOX = ("x1", "y1", "x2", "y2")


def _table(path: Path, options: Options | None = None) -> Annotations:
    table = read(path, None, options).table
    assert isinstance(table, Annotations)
    return table


def _same(one: Annotations, two: Annotations) -> bool:
    """Equal in content, boxes to the rounding of a multiplication."""
    a, b = one.frame, two.frame
    names = [name for name in CONTENT if name not in BOX]
    return a.select(names).equals(b.select(names)) and np.allclose(
        one.boxes, two.boxes, rtol=0, atol=1e-12, equal_nan=True
    )


def test_every_label_map_reads_and_round_trips(shared: Path, tmp_path: Path) -> None:
    sizes = {
        "ava/v2.2_meta/ava_action_list_v2.2.pbtxt": 80,
        "ava/v2.2_meta/ava_action_list_v2.2_for_activitynet_2019.pbtxt": 60,
        "ava/v1.0_test_full/ava_action_list_v1.0.pbtxt": 80,
        "ava/mmaction2_samples/ava_label_map.txt": 60,
        "ava/mmaction2_samples/multisports_label_map.txt": 66,
        "ava/mmaction2_samples/action_list.txt": 4,
        "ava/custom/escape_room/actions_list.txt": 33,
        "ava/custom/kakapo_nest/annotations/labelmap.txt": 8,
        "ava/custom/kakapo_nest/annotations/ava_action_list_v2.2.pbtxt": 8,
        "clips/ucf24/label_map.pbtxt": 24,
        "jhmdb21/annotations/label_map_multilabel.pbtxt": 29,
    }
    for name, size in sizes.items():
        labels = read_label_map(shared / "data" / name)
        assert len(labels) == size, name
        write_pbtxt(tmp_path / "map", labels)
        assert read_label_map(tmp_path / "map") == labels, name


def test_avas_groups_and_gaps(shared: Path) -> None:
    meta = shared / "data/ava/v2.2_meta"
    full = read_label_map(meta / "ava_action_list_v2.2.pbtxt")
    assert {g: len(m) for g, m in full.groups.items()} == {
        "pose": 14,
        "person_object": 49,
        "person_person": 17,
    }
    evaluated = read_label_map(meta / "ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    assert evaluated.ids[:3] == (1, 3, 4)
    assert set(evaluated.ids) < set(full.ids)


@pytest.mark.parametrize(
    ("name", "rows", "moments"),
    [
        ("v1.0_test_full/ava_test_v1.0_avaformat.csv", 41_425, 10_140),
        ("v1.0_test_full/ava_test_v1.0.tsv", 41_425, 10_140),
        ("v2.1_pose_only/ava_val_v2.1_pose_only_derenlei.csv", 93_400, 50_029),
    ],
)
def test_ava_csv(name: str, rows: int, moments: int, shared: Path, tmp_path: Path) -> None:
    table = read_ava_csv(shared / "data/ava" / name)
    assert (len(table), len(table.keys())) == (rows, moments)
    write_ava_csv(tmp_path / "out.csv", table)
    assert read_ava_csv(tmp_path / "out.csv").same_content(table)


def test_the_two_forms_of_ava_1_0_say_the_same(shared: Path) -> None:
    folder = shared / "data/ava/v1.0_test_full"
    tabs = read_ava_csv(folder / "ava_test_v1.0.tsv").frame
    commas = read_ava_csv(folder / "ava_test_v1.0_avaformat.csv").frame
    names = ["video", "time_us", *BOX, "label"]
    assert tabs.select(names).equals(commas.select(names))


def test_ava_timestamps(shared: Path) -> None:
    meta = shared / "data/ava/v2.2_meta"
    assert len(read_excluded(meta / "ava_train_excluded_timestamps_v2.2.csv")) == 161
    included = read_included(meta / "ava_included_timestamps_v2.2.txt")
    assert included[0] == 902_000_000
    assert included[-1] == 1_798_000_000


def test_evaluation_cases_read_leniently(shared: Path) -> None:
    """All but the one whose rows have six columns, which the original refuses too."""
    assert len(read_ava_csv(shared / "golden/ava_eval/unique_gt.csv.gz", strict=False)) > 1000
    refused = []
    for path in sorted((shared / "golden/ava_eval/edge").rglob("*.csv")):
        try:
            read_ava_csv(path, kind="detections" if "det" in path.name else "truth", strict=False)
        except TubeletError:
            refused.append(path.parent.name)
    assert refused == ["wrong_columns"]


def test_jhmdb_pickle_equals_its_csv(shared: Path) -> None:
    folder = shared / "data/jhmdb21/annotations"
    frames = pl.col("time_us").cast(pl.Float64).mul(30 / 1e6).round().cast(pl.Int64).alias("frame")
    names = pl.read_csv(folder / "videos.csv").select("video_id", "original_name")
    pickled = (
        _table(folder / "JHMDB-GT.pkl", Options(fps=30))
        .frame.join(names, left_on="video", right_on="original_name")
        .with_columns(frames, video="video_id")
    )
    written = pl.concat(
        [read_ava_csv(folder / f"jhmdb21_{part}_split1.csv").frame for part in ("train", "val")]
    ).with_columns(frames)
    both = written.join(pickled, on=["video", "frame"], suffix="_pickled")
    assert len(both) == len(written) == 31_838
    assert (both["label"] == both["label_pickled"]).all()
    for name in BOX:
        assert ((both[name] - both[f"{name}_pickled"]).abs() < 6e-5).all(), "four decimals"


def test_ucf_pickle_equals_its_csv(shared: Path) -> None:
    pickled = read(shared / "data/ava/ucf24/pyannot.pkl", None, Options(fps=25))
    assert isinstance(pickled.table, Annotations)
    assert pickled.labels is not None
    assert len(pickled.labels) == 24
    assert len(pickled.table.videos()) == 3194
    ours = pickled.table.frame.with_columns(pl.col("video").str.split("/").list.last())
    written = read_ava_csv(shared / "data/clips/ucf24/gt_all_frames.csv").frame
    near = (pl.col(name) - pl.col(f"{name}_pickled") for name in BOX)
    both = (
        written.join(ours, on=["video", "time_us", "label"], suffix="_pickled")
        .with_columns(pl.max_horizontal(d.abs() for d in near).alias("off"))
        .group_by("row")
        .agg(pl.col("off").min())
    )
    assert len(both) == len(written)
    assert float(str(both["off"].max())) < 6e-5


def test_escape_room_cvat(shared: Path, tmp_path: Path) -> None:
    """The users' own CSVs came from this file, and say the same but for two mistakes of theirs:
    they count the poses from 0, and the second video's frames from the start of the first."""
    folder = shared / "data/ava/custom/escape_room"
    labels = read_label_map(folder / "actions_list.txt")
    source = folder / "escape_room_small_annotations.xml"
    assert sniff(source) == "cvat"
    table = _table(source, Options(fps=30, labels=labels))
    assert table.videos() == ["G1_hazard_segment1", "G1_hazard_segment2"]
    assert len(table.frame.unique(["video", "time_us", "person"])) == 2346 - 6
    frame = pl.col("time_us").cast(pl.Float64).mul(30 / 1e6).round().cast(pl.Int64).alias("frame")
    for part, video, offset in (("val", 1, 0), ("train", 2, 4902)):
        theirs = read_ava_csv(folder / f"ava_{part}_v2.2.csv").frame.with_columns(frame - offset)
        ours = table.of_video(f"G1_hazard_segment{video}").frame.with_columns(frame)
        both = theirs.join(ours, on=["frame", "person"], suffix="_ours")
        assert both["row"].n_unique() == len(theirs)
        for name in BOX:
            assert ((both[name] - both[f"{name}_ours"]).abs() <= 5.1e-4).all(), "three decimals"
        used = sorted(theirs["label"].unique())
        expected = [i + 1 if i < 3 else i for i in used]
        assert set(expected) <= set(ours["label"].to_list())

    options = Options(fps=30, labels=labels, size=(640, 360))
    for name in ("cvat", "via3", "coco", "ava-csv"):
        writer = next(f.write for f in importers.FORMATS if f.name == name)
        assert writer is not None
        writer(tmp_path / name, table, options)
        assert sniff(tmp_path / name) == name
        again = _table(tmp_path / name, options)
        order = ["video", "time_us", "person", "label"]
        assert _same(
            Annotations(frame=again.frame.sort(order)), Annotations(frame=table.frame.sort(order))
        ), name


def test_escape_room_doctor(shared: Path) -> None:
    folder = shared / "data/ava/custom/escape_room"
    files = [
        SetFiles(
            name=part,
            truth=folder / f"ava_{part}_v2.2.csv",
            proposals=folder / f"ava_{part}_predicted_boxes.csv",
        )
        for part in ("train", "val")
    ]
    found = examine_files(files, label_map=folder / "actions_list.txt")
    counts = {(f.code, f.subject): f.count for f in found}
    assert counts["ids-off-by-one", "train truth"] == 6
    assert counts["row-twice", "train proposals"] == 35
    assert counts["row-twice", "val proposals"] == 58
    assert counts["proposals-are-truth", "train proposals"] == 52
    assert counts["name-twice", "label map"] == 1
    assert counts["class-without-training-row", "train truth"] == 23
    off = next(f for f in found if f.code == "ids-off-by-one")
    assert "ava_train_v2.2.csv, row 15: 756027 at 268.000 s" in off.examples[0]


def test_kakapo_nest(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/ava/custom/kakapo_nest/annotations"
    for part, rows, boxes in (("train", 176, 99), ("val", 44, 11)):
        truth = _table(folder / f"ava_{part}_v2.2.csv")
        write_ava_csv(tmp_path / "truth.csv", truth)
        assert _table(tmp_path / "truth.csv").same_content(truth)
        source = folder / f"ava_dense_proposals_{part}.FAIR.recall_93.9.pkl"
        proposals = _table(source)
        assert (len(truth), len(proposals)) == (rows, boxes)
        convert(source, tmp_path / "p.pkl", to="mmaction2-proposals")
        assert _table(tmp_path / "p.pkl").same_content(proposals)
    for path, name in zip(
        sorted((folder / "person_box_67091280_iou90").iterdir()),
        ("proposals-csv", "detections-csv"),
        strict=True,
    ):
        assert sniff(path) == name


def test_kakapo_doctor(shared: Path) -> None:
    """Eleven of the validation bird's proposals stand in the training pickle."""
    folder = shared / "data/ava/custom/kakapo_nest/annotations"
    files = [
        SetFiles(
            name=part,
            truth=folder / f"ava_{part}_v2.2.csv",
            proposals=folder / f"ava_dense_proposals_{part}.FAIR.recall_93.9.pkl",
            excluded=folder / f"ava_{part}_excluded_timestamps_v2.2.csv",
        )
        for part in ("train", "val")
    ]
    found = examine_files(files, label_map=folder / "ava_action_list_v2.2.pbtxt")
    by_code = {(f.code, f.subject): f for f in found}
    assert by_code["moment-without-proposal", "val truth"].count == 11
    extra = by_code["proposal-without-moment", "train proposals"]
    assert (extra.count, extra.examples) == (11, ("IMG_0177 at 1.000 s",))
    assert "50.0%" in by_code["proposal-quality", "val proposals"].message
    assert by_code["box-outside-frame", "train truth"].count == 2
    assert by_code["class-without-training-row", "train truth"].count == 4
    assert ("proposals-are-truth", "train proposals") in by_code


def test_mmaction2_samples(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data/ava/mmaction2_samples"
    proposals = _table(folder / "ava_proposals_sample.pkl")
    assert proposals.frame["score"].max() == 0.998163
    many = _table(folder / "multisports_proposals_sample.pkl")
    assert len(many) == 33
    for table, name in ((proposals, "a"), (many, "b")):
        for form in ("mmaction2-proposals", "proposals-csv"):
            writer = next(f.write for f in importers.FORMATS if f.name == form)
            assert writer is not None
            writer(tmp_path / f"{name}-{form}", table, None)
            assert _table(tmp_path / f"{name}-{form}").same_content(table)
    predictions = read(folder / "data_samples.pkl")
    assert sniff(folder / "data_samples.pkl") == "mmaction2-predictions"
    assert len(predictions.table) == 12_870
    tubes = read(folder / "gt.pkl", None, Options(fps=25))
    assert tubes.labels is not None
    assert len(tubes.labels) == 66
    found = examine_files(
        [
            SetFiles(
                name="val",
                truth=folder / "ava_sample.csv",
                proposals=folder / "ava_proposals_sample.pkl",
                excluded=folder / "ava_excluded_timestamps_sample.csv",
            )
        ],
        label_map=folder / "ava_label_map.txt",
    )
    assert {f.code: f.count for f in found} == {"class-without-row": 55, "proposal-quality": 0}


def test_mutated_real_files_never_escape_the_error_tree(shared: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    folder = shared / "data"
    paths = [p for p in (folder / "ava").rglob("*") if p.is_file() and p.stat().st_size < 30_000]
    options = Options(fps=30, size=(640, 360))
    path = tmp_path / "mutated"
    for source in sorted(paths):
        original = source.read_bytes()
        for _ in range(15):
            data = bytearray(original)
            for _ in range(rng.randint(1, 4)):
                at = rng.randint(0, len(data))
                data[at : at + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
            path.write_bytes(data)
            readers: list[Callable[[], object]] = [
                lambda: read(path, None, options),
                lambda: read_label_map(path),
                *(partial(read_ava_csv, path, kind=kind) for kind in KINDS),
            ]
            for reader in readers:
                try:
                    reader()
                except TubeletError as error:
                    assert str(path) in str(error)
