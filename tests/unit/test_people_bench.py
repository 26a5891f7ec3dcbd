"""Labelled stills, the bench of person detectors on them, and looking at a frame in pieces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame
from av import open as av_open

from tubelet.checkpoints import save_checkpoint
from tubelet.cli import main
from tubelet.errors import DataError, InputError
from tubelet.people.bench import bench
from tubelet.people.detectors.base import Image
from tubelet.people.detectors.efficient import EfficientPersonConfig
from tubelet.people.detectors.small import header_of
from tubelet.people.named import person_detector
from tubelet.people.sliced import SlicedDetector
from tubelet.people.stills import read_stills
from tubelet.people.training.person_small import is_held_out, still_picture
from tubelet.types import People

BOXES = """image,x1,y1,x2,y2,crowd
a.jpg,0.1,0.1,0.5,0.9,0
a.jpg,0.6,0.1,0.7,0.3,0
b.jpg,0.0,0.0,0.5,1.0,1
"""
IMAGES = """image,source,labels,aspect
a.jpg,street,gt,true
b.jpg,street,pseudo,guess
c.jpg,rooms,none,true
"""


def picture(path: Path, height: int = 100, width: int = 120) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with av_open(str(path), "w", format="image2") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj444p"
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    (tmp_path / "boxes.csv").write_text(BOXES)
    (tmp_path / "images.csv").write_text(IMAGES)
    return tmp_path


class Says:
    """Finds the same people everywhere."""

    name, threshold = "says", 0.3

    def __init__(self, people: People) -> None:
        self.people = people

    def __call__(self, image: Image) -> People:
        return self.people


def test_stills_are_read_with_people_crowds_and_sources(folder: Path) -> None:
    a, b, c = read_stills(folder)
    assert (len(a.people), len(a.ignored), a.source) == (2, 0, "street")
    assert (len(b.people), len(b.ignored), b.pseudo, b.guessed_aspect) == (0, 1, True, True)
    assert (len(c.people), len(c.ignored), c.source, c.pseudo) == (0, 0, "rooms", False)
    assert a.image().shape == (100, 120, 3)
    taught = still_picture(b)
    np.testing.assert_allclose(taught.ignored_px, [[0, 0, 60, 100]])
    assert not taught.complete and taught.stretch > still_picture(a).stretch


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a.jpg,0.1,0.1,0.5,wide,0", "row 2"),
        ("a.jpg,10,10,50,90,0", "shares"),
        ("a.jpg,0.5,0.1,0.1,0.9,0", "x1 < x2"),
        ("a.jpg,nan,0.1,0.1,0.9,0", "not a box"),
        ("a.jpg,0.1,0.1", "differs in length"),
        ("z.jpg,0.1,0.1,0.5,0.9,0", "z.jpg"),
    ],
)
def test_a_wrong_row_is_named(folder: Path, row: str, says: str) -> None:
    wrong = folder / "wrong.csv"
    wrong.write_text(f"image,x1,y1,x2,y2,crowd\n{row}\n")
    with pytest.raises(DataError) as error:
        read_stills(folder, wrong)
    assert says in str(error.value)


def test_a_missing_column_is_named(folder: Path) -> None:
    (folder / "boxes.csv").write_text("image,x1,y1,x2\n")
    with pytest.raises(DataError, match="'y2'"):
        read_stills(folder)


def test_the_bench_counts_by_source_by_size_and_in_empty_pictures(folder: Path) -> None:
    # Everywhere: the large person of a.jpg, surely, and nothing of the small one.
    report = bench(
        Says(People.of([[0.1, 0.1, 0.5, 0.9]], [0.8])), read_stills(folder), threshold=0.3
    )
    everything, rooms, street = report.rows
    assert (everything.name, everything.pictures, everything.people) == ("all", 3, 2)
    # In b it lies in the crowd and does not count; in c nobody is there.
    assert everything.recall == 0.5
    assert everything.precision == 0.5
    assert (street.precision, street.errors, street.empty) == (1.0, 0.0, 0)
    assert (rooms.empty, rooms.ghosts) == (1, 1.0)
    assert np.isnan(rooms.ap)
    assert street.ap == pytest.approx(0.5)
    tall = {row.low: (row.people, row.recall) for row in report.sizes}
    assert tall[16] == (1, 0.0)  # 20 px
    assert tall[32] == (1, 1.0)  # 80 px
    unsure = bench(
        Says(People.of([[0.1, 0.1, 0.5, 0.9]], [0.2])), read_stills(folder), threshold=0.3
    )
    assert unsure.rows[0].recall == 0
    assert unsure.rows[0].ap == everything.ap
    assert {row.low: row.recall_any for row in unsure.sizes}[32] == 1
    with pytest.raises(InputError, match="no picture"):
        bench(Says(People.of([])), [], threshold=0.3)


def test_the_command_prints_a_table_or_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = EfficientPersonConfig(stem=8, widths=(8,) * 7, depths=(1,) * 7, neck=8)
    weights = folder / "tiny.safetensors"
    save_checkpoint(weights, tiny.build().state_dict(), header_of(tiny))
    command = ["people", "bench", "--images", str(folder), "--detector", str(weights)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "rooms" in shown and "96 px up" in shown and "ms of processor time" in shown
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["detector"], report["threshold"]) == (str(weights), 0.3)
    assert [row["name"] for row in report["rows"]] == ["all", "rooms", "street"]
    assert report["sizes"][-1]["high"] is None
    other = folder / "other.safetensors"
    other.write_bytes(weights.read_bytes())
    both = [*command, "--detector", str(other)]
    assert main(both) == 0
    beside = capsys.readouterr().out.split("side by side")[1]
    assert beside.count(" ms\n") == 2 and "rooms" in beside and "96 px up" in beside
    assert main([*both, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["detector"] for one in found] == [str(weights), str(other)]
    assert found[0]["rows"] == found[1]["rows"]


def test_only_pictures_held_out_from_training_are_measured_on_demand(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not any(is_held_out(f"{name}.jpg") for name in "abc")
    assert main(["people", "bench", "--images", str(folder), "--held-out"]) == 2
    assert "--held-out" in capsys.readouterr().err
    assert 0.05 < np.mean([is_held_out(f"{n}.jpg") for n in range(1000)]) < 0.15


class InPieces(Says):
    """Sees one small person, 12 × 20 px at (70, 60) of a 100 × 120 picture of noise, only when
    shown less than the whole picture."""

    def __init__(self, image: Image) -> None:
        super().__init__(People.of([]))
        self.image = image

    def __call__(self, image: Image) -> People:
        height, width = image.shape[:2]
        if image.shape == self.image.shape:
            return People.of([[0.0, 0.0, 0.3, 0.3]], [0.9])
        places = [
            (y, x)
            for y in range(self.image.shape[0] - height + 1)
            for x in range(self.image.shape[1] - width + 1)
            if np.array_equal(self.image[y : y + height, x : x + width], image)
        ]
        ((top, left),) = places
        box = np.array([70 - left, 60 - top, 82 - left, 80 - top]) / ([width, height] * 2)
        box = box.clip(0, 1)
        return People.of([box], [0.6]) if (box[2:] > box[:2]).all() else People.of([])


def test_pieces_find_whom_the_whole_frame_is_too_coarse_for() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    people = SlicedDetector(detector=InPieces(image))(image)
    assert people.scores.tolist() == pytest.approx([0.9, 0.6])
    np.testing.assert_allclose(people.boxes[1] * [120, 100, 120, 100], [70, 60, 82, 80], atol=0.01)


def test_sliced_is_a_prefix_of_any_detectors_name() -> None:
    detector = person_detector("sliced:person_small", threshold=0.4)
    assert isinstance(detector, SlicedDetector)
    assert detector.threshold == 0.4
    with pytest.raises(InputError, match="unknown person detector"):
        person_detector("sliced:nothing")
