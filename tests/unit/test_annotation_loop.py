"""Pre-annotations of a detection: written, opened by the tools' own readers, and read back."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.importers import Options, read, sniff
from tubelet.data.labelmaps import read_label_map
from tubelet.data.prepare import prepare
from tubelet.labels import LabelSpace
from tubelet.media.writer import VideoWriter
from tubelet.render.extras import Found, write_extras
from tubelet.render.timeline import Spans
from tubelet.results import Tube

LABELS = LabelSpace(ids=(3, 5, 12), names=("walk", "wave", "sit"))
SIZE = (64, 48)
FILES = {
    "cvat": "cvat.xml",
    "via": "via.json",
    "label-studio": "label-studio.json",
    "coco": "coco.json",
    "fiftyone": "fiftyone",
}
Rows = list[tuple[str, int, int, str | None, tuple[float, ...]]]


def tubes(video: str) -> list[Tube]:
    """Person 7 walks, then walks and waves, then does nothing known; 9 comes late, leaves, and is
    back; nobody sits."""

    def one(track_id: int, seconds: list[int], scores: list[list[float]]) -> Tube:
        left = 0.1 + 0.05 * np.array(seconds)
        boxes = np.stack([left, left * 0 + 0.25, left + 0.25, left * 0 + 0.75], 1)
        return Tube(
            video=video,
            track_id=track_id,
            times_ms=np.array(seconds) * 1000,
            boxes=boxes.astype(np.float32),
            person_scores=np.ones(len(seconds), np.float32),
            action_scores=np.array(scores, np.float32),
            labels=LABELS,
        )

    walk, both, none = [0.9, 0.1, 0.1], [0.8, 0.8, 0.0], [0.1, 0.1, 0.1]
    return [one(7, [0, 1, 2, 3], [walk, both, both, none]), one(9, [1, 4], [walk, walk])]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of five seconds."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("hall", "yard"):
        with VideoWriter(folder / f"{name}.mp4", 25, SIZE[::-1]) as writer:
            for number in range(125):
                writer.write(np.full((48, 64, 3), number, np.uint8))
    return folder


def written(kind: str, films: Path, out: Path) -> list[Path]:
    """The kind's file of each film."""
    files = []
    for video in ("hall", "yard"):
        found = Found(
            video=films / f"{video}.mp4",
            moments=[],
            tubes=tubes(video),
            spans=Spans(on=0.5),
            every_ms=1000,
            film_end_ms=5000,
            labels=LABELS,
        )
        (out / video).mkdir(exist_ok=True)
        write_extras(out / video, found, to=[kind], every_frame=False)
        files.append(out / video / FILES[kind])
    return files


def rows(table: Annotations, labels: LabelSpace) -> Rows:
    columns = table.frame.select("video", "time_us", "person", "label", "x1", "y1", "x2", "y2")
    found = [
        (video, time_us, person, None if label is None else labels.names[labels.column(label)],
         tuple(round(side, 5) for side in box))
        for video, time_us, person, label, *box in columns.iter_rows()
    ]  # fmt: skip
    return sorted(found, key=str)


def expected() -> Rows:
    said: dict[tuple[int, int], list[str | None]]
    said = {(7, 0): ["walk"], (7, 1): ["walk", "wave"], (7, 2): ["walk", "wave"], (7, 3): [None],
            (9, 1): ["walk"], (9, 4): ["walk"]}  # fmt: skip
    found: Rows = []
    for video in ("hall", "yard"):
        for tube in tubes(video):
            for time_ms, box in zip(tube.times_ms.tolist(), tube.boxes.tolist(), strict=True):
                for name in said[tube.track_id, time_ms // 1000]:
                    sides = tuple(round(side, 5) for side in box)
                    found.append((video, time_ms * 1000, tube.track_id, name, sides))
    return sorted(found, key=str)


@pytest.mark.parametrize("kind", FILES)
def test_prepare_takes_the_very_file_back(kind: str, films: Path, tmp_path: Path) -> None:
    files = written(kind, films, tmp_path)
    labels = read_label_map(files[0].with_name("labels.pbtxt"))
    assert (labels.ids, labels.names) == (LABELS.ids, LABELS.names)
    # Label Studio shows what lies between its key frames, so that a period has to be stated.
    every_ms = 1000 if kind == "label-studio" else None
    out = tmp_path / "mine"
    options = Options(labels=labels, every_ms=every_ms)
    prepared = prepare(files, films, out, options=options)
    parts = [read(path, "ava-csv").table for path in (prepared.train, prepared.val)]
    table = Annotations.concat([part for part in parts if isinstance(part, Annotations)])
    assert rows(table, prepared.space) == expected()
    assert prepared.space.ids == LABELS.ids
    assert not prepared.single_choice


@pytest.mark.parametrize("kind", ["cvat", "via", "coco"])
def test_classes_that_nobody_does_are_kept(kind: str, films: Path, tmp_path: Path) -> None:
    imported = read(written(kind, films, tmp_path)[0], None, Options(videos=films))
    assert imported.labels is not None and imported.labels.names == LABELS.names


def test_one_edit_changes_one_row(films: Path, tmp_path: Path) -> None:
    path = written("cvat", films, tmp_path)[0]
    options = Options(videos=films, labels=LABELS)
    before = read(path, None, options).table
    text = path.read_text()
    assert text.count(">wave</attribute>") == 2
    path.write_text(text.replace(">wave</attribute>", ">sit</attribute>", 1))
    after = read(path, None, options).table
    assert isinstance(before, Annotations) and isinstance(after, Annotations)
    was, now = set(rows(before, LABELS)), set(rows(after, LABELS))
    assert [row[1:4] for row in was - now] == [(1_000_000, 7, "wave")]
    assert [row[1:4] for row in now - was] == [(1_000_000, 7, "sit")]


def test_who_leaves_is_switched_off(films: Path, tmp_path: Path) -> None:
    path = written("cvat", films, tmp_path)[0]
    filled = read(path, None, Options(videos=films, labels=LABELS, every_ms=40)).table
    assert isinstance(filled, Annotations)
    seconds = filled.frame.filter(filled.frame["person"] == 9)["time_us"].unique().sort() / 1e6
    assert seconds.to_list() == [1.0, 4.0], "not between, and not to the film's end"
    text = path.read_text()
    assert 'source="auto"' in text and "<source>hall.mp4</source>" in text
    assert text.count("<name>action 3</name>") == 1, "room for one action more"


def test_pycocotools_opens_coco(films: Path, tmp_path: Path) -> None:
    module = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    with contextlib.redirect_stdout(io.StringIO()):
        found = module.COCO(str(written("coco", films, tmp_path)[0]))
    assert [c["name"] for c in found.loadCats(found.getCatIds())] == [*LABELS.names, "person"]
    walking = found.loadAnns(found.getAnnIds(catIds=[3]))
    assert {(one["track_id"]) for one in walking} == {7, 9} and len(walking) == 5
    assert walking[0]["bbox"] == pytest.approx([6.4, 12, 16, 24], abs=1e-4)


@pytest.mark.parametrize(("kind", "form"), [("cvat", "cvat"), ("coco", "coco_instances")])
def test_datumaro_opens_cvat_and_coco(kind: str, form: str, films: Path, tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro", reason="needs Datumaro")
    path = written(kind, films, tmp_path)[0]
    folder = tmp_path / "set"
    home = folder / "annotations" if kind == "coco" else folder
    home.mkdir(parents=True)
    name = "instances_default.json" if kind == "coco" else "annotations.xml"
    (home / name).write_text(path.read_text())
    (folder / "images").mkdir()
    dataset = datumaro.components.dataset.Dataset.import_from(str(folder), form)
    boxes = [a for item in dataset for a in item.annotations if not a.attributes.get("outside")]
    assert {a.attributes.get("track_id") for a in boxes} == {7, 9}
    assert len(boxes) == (6 if kind == "cvat" else 8)
    if kind == "cvat":
        assert {a.attributes["action 1"] for a in boxes} == {"walk", "None"}


def test_fiftyone_opens_its_labels_and_cvat(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("fiftyone", reason="needs FiftyOne")
    import fiftyone.utils.cvat as foc  # type: ignore[import-not-found,unused-ignore]
    import fiftyone.utils.data as foud  # type: ignore[import-not-found,unused-ignore]

    folder = written("fiftyone", films, tmp_path)[0]
    importer = foud.FiftyOneVideoLabelsDatasetImporter(dataset_dir=str(folder))
    with importer:
        ((film, _, _, frames),) = list(importer)
    assert Path(film).resolve() == (films / "hall.mp4").resolve()
    assert sorted(frames) == [1, 26, 51, 76, 101]
    (seven,) = [d for d in frames[26]["people"].detections if d.index == 7]
    assert (seven.label, seven["action"], seven["action 2"]) == ("person", "walk", "wave")
    xml = written("cvat", films, tmp_path)[0]
    tracks = foc.load_cvat_video_annotations(str(xml))[2]
    assert len(tracks) == 2


def test_label_studio_s_sdk_accepts_the_predictions(films: Path, tmp_path: Path) -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    path = written("label-studio", films, tmp_path)[0]
    interface = sdk.LabelInterface(path.with_suffix(".xml").read_text())
    (task,) = json.loads(path.read_text())
    assert task["data"] == {"video": "hall.mp4"}
    interface.validate()
    assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []
    regions = [r for r in task["predictions"][0]["result"] if r["type"] == "videorectangle"]
    last = [r["value"]["sequence"][-1] for r in regions]
    assert [(one["frame"], one["enabled"]) for one in last] == [
        (26, False), (76, False), (77, False), (27, False), (102, False)
    ]  # fmt: skip


def test_a_coco_of_a_film_is_known_as_coco(films: Path, tmp_path: Path) -> None:
    found = {kind: sniff(path) for kind in ("cvat", "via", "coco", "label-studio")
             for path in written(kind, films, tmp_path)[:1]}  # fmt: skip
    assert found == {"cvat": "cvat", "via": "via3", "coco": "coco", "label-studio": "label-studio"}
    assert sniff(written("fiftyone", films, tmp_path)[0] / "labels" / "hall.json") == "fiftyone"


def test_a_film_without_people_has_no_annotations_and_says_so(films: Path, tmp_path: Path) -> None:
    found = Found(
        video=films / "hall.mp4",
        moments=[],
        tubes=[],
        spans=Spans(on=0.5),
        every_ms=1000,
        film_end_ms=5000,
        labels=LABELS,
    )
    without = write_extras(tmp_path, found, to=["json", *FILES], every_frame=False)
    assert without == tuple(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["actions.json"]
