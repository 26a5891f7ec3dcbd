"""Every source of training data keeps the same promises, whatever files it is made of."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.config import decode, encode
from tubelet.data.annotations import BOX, Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import ClipDataset
from tubelet.data.films import Footage, find_footage
from tubelet.data.sources import SOURCES as FAMILIES
from tubelet.data.sources import (
    CharadesSource,
    ClipSource,
    JoinedSource,
    SourceConfig,
    TubeSource,
    UnlabelledClipSource,
    UnlabelledSource,
    VideoSource,
)
from tubelet.data.tables import read_ava_csv, write_ava_csv
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError, DataError, InputError
from tubelet.media.transforms import Augment
from tubelet.media.writer import VideoWriter
from tubelet.playground import PlaygroundConfig, write_dataset
from tubelet.playground.sources import (
    PlaygroundClipSource,
    PlaygroundSource,
    UnlabelledPlaygroundSource,
)
from tubelet.plugins import families
from tubelet.types import InputSpec, Key

WORLD = PlaygroundConfig(height=48, width=64, seconds=2.0, people=(1, 2))
SPEC = InputSpec(frames=4, stride=2, short_side=32)
AUGMENT = Augment(scale=(1.0, 1.4), crop=24, flip=0.5, speed=0.2, box_jitter=0.05)
FILMS = ("one", "two")


def _shifted(table: Annotations, seconds: int, names: dict[str, str]) -> Annotations:
    frame = table.frame.with_columns(
        table.frame["time_us"] + seconds * 1_000_000, table.frame["video"].replace(names)
    )
    return Annotations(frame=frame)


def _write_lists(root: Path) -> None:
    ids = {"one": ("abcdefghijk", 10), "two": ("lmnopqrstuv", 20)}
    rows = ["label,youtube_id,time_start,time_end,split"]
    for film, (youtube, start) in ids.items():
        cut = f"{youtube}_{start:06d}_{start + 10:06d}.mp4"
        for folder in ("cuts", f"by_class/{film} class"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(root / f"videos/{film}.mp4", root / folder / cut)
        rows.append(f"{film} class,{youtube},{start},{start + 10},train")
    rows.append("one class,gonegonegon,5,15,train")
    listed = [f"{youtube},{start},{start + 10},test" for youtube, start in ids.values()]
    (root / "test.csv").write_text("\n".join(["youtube_id,time_start,time_end,split", *listed]))
    (root / "ids.txt").write_text("one\ntwo.mp4\n")
    (root / "seconds.txt").write_text("0000.5\n0001\n")
    (root / "kinetics.csv").write_text("\n".join(rows) + "\n")
    (root / "paths.txt").write_text("one.mp4 1\ntwo.mp4 0\n")
    (root / "names.txt").write_text("zero\nfirst\n")
    (root / "ssv2.json").write_text('[{"id": "one", "template": "Put [a]"}, {"id": "two"}]')
    (root / "charades.csv").write_text(
        "id,actions,length\none,c000 0.00 0.50;c001 1.20 1.90,2\ntwo,,2\n"
    )
    (root / "charades.txt").write_text("c000 sit\nc001 stand\nc002 run\n")


def _write_pickles(root: Path) -> None:
    boxes = np.array([[8, 6, 30, 40]] * 20, np.int32)
    tubes = {
        name: {"numf": 50, "annotations": [{"label": i, "sf": 10, "ef": 30, "boxes": boxes}]}
        for i, name in enumerate(("Run/one", "Sit/two"))
    }
    (root / "pyannot.pkl").write_bytes(pickle.dumps(tubes, protocol=2))
    (root / "testlist.txt").write_text("Sit/two.avi 1\n")
    for folder, film in (("Run", "one"), ("Sit", "two")):
        (root / "ucf" / folder).mkdir(parents=True)
        shutil.copy(root / f"videos/{film}.mp4", root / "ucf" / folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, extract_frames: Callable[..., None]) -> Path:
    root = tmp_path_factory.mktemp("data")
    files = write_dataset(root, clips=2, config=WORLD, split="val", every_ms=500)
    names = {path.stem: film for path, film in zip(files.videos, FILMS, strict=True)}
    for path in files.videos:
        path.rename(path.with_name(f"{names[path.stem]}.mp4"))
    table = _shifted(read_ava_csv(files.annotations), 0, names)
    empty = Annotations.of(video=["one"], time_us=[1_900_000])
    write_ava_csv(root / "ava.csv", Annotations.concat([table, empty]))
    write_ava_csv(root / "cut.csv", _shifted(table, 900, {}))
    youtube = {"one": "abcdefghijk", "two": "lmnopqrstuv"}
    tables = [_shifted(table.of_video("one"), 10, youtube)]
    tables.append(_shifted(table.of_video("two"), 20, youtube))
    write_ava_csv(root / "kinetics_part.csv", Annotations.concat(tables))
    (root / "excluded.csv").write_text("one,1.900\n")
    near = table.frame.with_columns(table.frame["x1"] + 0.001, score=0.95, label=None, person=None)
    far = near.with_columns(x1=0.0, y1=0.0, x2=0.05, y2=0.05, score=0.99)
    weak = near.with_columns(x1=near["x1"] + 0.001, score=0.1)
    proposals = [
        Annotations(frame=frame.unique(maintain_order=True)) for frame in (near, far, weak)
    ]
    write_ava_csv(root / "boxes.csv", Annotations.concat(proposals), kind="proposals")
    _write_lists(root)
    _write_pickles(root)
    for film in FILMS:
        video, folder = root / f"videos/{film}.mp4", root / "frames" / film
        extract_frames(video, folder, f"{film}_%06d.jpg", every=2)
    return root


def _ava(**more: object) -> VideoSource:
    given = {"name": "ava", "videos": "videos", "annotations": "ava.csv", "labels": "labels.pbtxt"}
    return VideoSource(**given | more)  # type: ignore[arg-type]


AVA_KINETICS = JoinedSource(
    name="ava_kinetics",
    parts=(
        _ava(annotations="cut.csv", begin_s=900.0),
        _ava(name="kinetics", annotations="kinetics_part.csv", videos="cuts"),
    ),
)
TRAINING = _ava(
    proposals="boxes.csv", boxes="truth+proposals", score_threshold=0.5, proposal_iou=0.9
)
MATCHED = replace(TRAINING, boxes="matched")
TESTING = _ava(proposals="boxes.csv", boxes="proposals", score_threshold=0.5)


def drawn() -> dict[str, SourceConfig]:
    """The sources that plugins add, as far as they need no files."""
    added = [one for one in families(SourceConfig) if one not in FAMILIES]
    tiny = {one.title(): one(name=one.title()).tiny(clips=2, seconds=2.0) for one in added}
    return {name: source for name, source in tiny.items() if source is not None}


SOURCES: dict[str, SourceConfig] = {
    "ava": _ava(),
    "excluded": _ava(excluded="excluded.csv"),
    "cut": _ava(annotations="cut.csv", begin_s=900.0),
    "cached": _ava(cache_short_side=40),
    "frames": _ava(videos="frames", frame_rate=WORLD.fps / 2),
    "ava_kinetics": AVA_KINETICS,
    "training boxes": TRAINING,
    "training boxes alone": MATCHED,
    "testing boxes": TESTING,
    "hidden": UnlabelledSource(
        name="hidden", videos="videos", keyframes="ids.txt", included="seconds.txt",
        proposals="boxes.csv", labels="labels.pbtxt",
    ),
    "hidden clips": UnlabelledClipSource(
        name="k400_test", videos="cuts", annotations="test.csv", classes="kinetics.csv"
    ),
    "ucf24": TubeSource(name="ucf", videos="ucf", annotations="pyannot.pkl", fps=25, every_ms=200),
    "kinetics": ClipSource(
        name="k400", videos="by_class", annotations="kinetics.csv", by_class=True,
        allow_missing=True,
    ),
    "paths": ClipSource(
        name="paths", videos="videos", annotations="paths.txt", labels="names.txt", first_id=0
    ),
    "ssv2": ClipSource(name="ssv2", videos="videos", annotations="ssv2.json"),
    "charades": CharadesSource(
        name="charades", videos="videos", annotations="charades.csv", labels="charades.txt"
    ),
    "charades frames": CharadesSource(
        name="charades", videos="frames", annotations="charades.csv", labels="charades.txt",
        frame_rate=WORLD.fps / 2, targets_of="window",
    ),
    "playground": PlaygroundSource(world=WORLD, clips=2),
    "playground hidden": UnlabelledPlaygroundSource(world=WORLD, clips=2),
    "playground detected": PlaygroundSource(world=WORLD, clips=2, boxes="detected"),
    "playground clips": PlaygroundClipSource(world=replace(WORLD, task="scene"), clips=2),
    **drawn(),
}  # fmt: skip
NEED_FILES = [name for name, one in SOURCES.items() if one.tiny(clips=2, seconds=2.0) is None]


@pytest.fixture(scope="module")
def built(root: Path) -> dict[str, ClipDataset]:
    return {name: source.build(root) for name, source in SOURCES.items()}


every_source = pytest.mark.parametrize("name", SOURCES)


def test_every_listed_source_is_tested_and_says_what_it_is() -> None:
    assert {type(one) for one in SOURCES.values()} >= set(FAMILIES)
    assert all(0 < len(one.summary) <= 72 and one.summary[-1] != "." for one in FAMILIES)


@every_source
def test_samples_fit_their_record(name: str, built: dict[str, ClipDataset]) -> None:
    dataset = built[name]
    assert len(dataset) >= 2
    known = set(dataset.labels.ids)
    for index in range(len(dataset)):
        sample = dataset.sample(index, spec=SPEC)
        assert sample.frames.shape[:3] == (3, 4, 32)
        assert sample.key.video == dataset.key(index).video
        assert sample.known.all() and len(sample.known) == len(dataset.labels)
        ids = dataset.label_ids(index)
        assert set(ids) <= known and len(set(ids)) == len(ids)
        if sample.targets is not None and SOURCES[name] is not SOURCES["charades frames"]:
            columns = sample.targets.any(dim=0).nonzero()[:, 0].tolist()
            assert {dataset.labels.ids[c] for c in columns} == set(ids)


@every_source
def test_the_same_seed_gives_the_same_sample(name: str, built: dict[str, ClipDataset]) -> None:
    dataset = built[name]
    one, two, other = (
        dataset.sample(1, spec=SPEC, augment=AUGMENT, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert one.key == two.key
    assert torch.equal(one.frames, two.frames) and torch.equal(one.boxes_px, two.boxes_px)
    assert not torch.equal(one.frames, other.frames)
    assert one.frames.shape == (3, 4, 24, 24)


@every_source
def test_the_truth_names_what_the_samples_show(name: str, built: dict[str, ClipDataset]) -> None:
    dataset = built[name]
    if SOURCES[name].hidden:
        with pytest.raises(ConfigError, match="are not public"):
            dataset.truth()
        assert not any(dataset.label_ids(i) for i in range(len(dataset)))
        assert all(dataset.sample(i, spec=SPEC).targets is None for i in range(len(dataset)))
        return
    truth = dataset.truth()
    assert set(truth.videos()) == {dataset.key(i).video for i in range(len(dataset))}
    if isinstance(truth, ClipLabels):
        of_video = truth.labels_of_videos()
        for index in range(len(dataset)):
            assert of_video[dataset.key(index).video] == dataset.label_ids(index)
    else:
        assert truth.keys() == sorted(dataset.key(i) for i in range(len(dataset)))


@pytest.mark.parametrize("name", NEED_FILES)
def test_absent_files_are_named(name: str, tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match="missing video folder"):
        SOURCES[name].build(tmp_path)
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for film in (*tmp_path.rglob("*.mp4"), *tmp_path.rglob("*.jpg")):
        film.unlink()
    for folder in (tmp_path / "frames").iterdir():
        folder.rmdir()
    source = SOURCES[name]
    if isinstance(source, ClipSource) and source.allow_missing:
        assert not len(source.build(tmp_path))
        return
    with pytest.raises(DataError, match="no file for .* annotated videos"):
        source.build(tmp_path)


@every_source
def test_a_source_is_data(name: str) -> None:
    source = SOURCES[name]
    assert decode(type(source), encode(source)) == source


def test_every_timeline_shows_the_same_pictures(built: dict[str, ClipDataset]) -> None:
    plain, excluded, cut, joined = (built[n] for n in ("ava", "excluded", "cut", "ava_kinetics"))
    assert len(plain) == len(excluded) + 1 == len(cut) + 1
    for index in range(len(cut)):
        sample = excluded.sample(index, spec=SPEC)
        others = [cut.sample(index, spec=SPEC)]
        others += [joined.sample(index + offset, spec=SPEC) for offset in (0, len(cut))]
        for other in others:
            assert torch.equal(sample.frames, other.frames)
            assert torch.equal(sample.boxes_px, other.boxes_px)
        assert others[0].key.time_ms == sample.key.time_ms + 900_000


def test_a_keyframe_without_people_is_a_sample_without_people(
    built: dict[str, ClipDataset],
) -> None:
    dataset = built["ava"]
    index = next(i for i in range(len(dataset)) if dataset.key(i).time_ms == 1900)
    sample = dataset.sample(index, spec=SPEC)
    assert len(sample.people) == 0
    assert sample.targets is not None and sample.targets.shape == (0, len(dataset.labels))


def test_training_boxes_are_the_truth_and_what_lies_on_it(built: dict[str, ClipDataset]) -> None:
    truth, joined = built["ava"], built["training boxes"]
    assert isinstance(joined.truth(), Annotations) and len(joined.truth()) == len(truth.truth())
    for index in range(len(truth)):
        one, two = (d.sample(index, spec=SPEC) for d in (truth, joined))
        assert one.targets is not None and two.targets is not None
        assert len(two.people) == 2 * len(one.people)
        assert torch.equal(two.targets, torch.cat([one.targets, one.targets]))


def test_testing_boxes_have_no_targets(built: dict[str, ClipDataset], root: Path) -> None:
    dataset = built["testing boxes"]
    boxes = read_ava_csv(root / "boxes.csv", kind="proposals").at_least(0.5).frame
    for index in range(len(dataset)):
        sample, key = dataset.sample(index, spec=SPEC), dataset.key(index)
        own = boxes.filter((boxes["video"] == key.video) & (boxes["time_us"] == key.time_ms * 1000))
        assert sample.targets is None
        assert np.allclose(sample.people.boxes, own.select(BOX).unique(maintain_order=True))
        assert len(sample.people) or key.time_ms == 1900


def test_some_classes_count_in_the_mean(root: Path) -> None:
    (root / "counted.pbtxt").write_text('item { name: "x" id: 3 } item { name: "y" id: 1 }')
    labels = _ava(evaluated="counted.pbtxt").build(root).labels
    assert labels.evaluated == (3, 1) and len(labels) > 2
    (root / "counted.pbtxt").write_text('item { name: "x" id: 99 }')
    with pytest.raises(DataError, match="class id 99 is evaluated"):
        _ava(evaluated="counted.pbtxt").build(root)


def test_proposals_without_a_use_are_refused() -> None:
    for more in ({"proposals": "boxes.csv"}, {"boxes": "proposals"}):
        with pytest.raises(ConfigError, match="proposals and a use for them"):
            _ava(**more)


def test_parts_of_other_classes_are_not_joined(root: Path) -> None:
    (root / "others.pbtxt").write_text((root / "labels.pbtxt").read_text().replace("stand", "lie"))
    source = JoinedSource(name="both", parts=(_ava(), _ava(name="b", labels="others.pbtxt")))
    with pytest.raises(ConfigError, match="have different classes"):
        source.build(root)


def test_a_cut_is_chosen_by_its_seconds(root: Path, tmp_path: Path) -> None:
    for start in (0, 10, 30):
        (tmp_path / f"abc_d_{start:06d}_{start + 10:06d}.mp4").touch()
    keys = [Key(video="abc_d", time_ms=15_000), Key(video="abc_d", time_ms=16_000)]
    found = find_footage(tmp_path, keys)
    assert found["abc_d"] == Footage(tmp_path / "abc_d_000010_000020.mp4", 10_000)
    assert not find_footage(tmp_path, [Key(video="abc_d", time_ms=25_000)])
    with pytest.raises(DataError, match="not a name inside the video folder"):
        find_footage(tmp_path, [Key(video="../abc", time_ms=0)])


def test_ucf24_keeps_the_listed_split(root: Path) -> None:
    source = TubeSource(
        name="ucf", videos="ucf", annotations="pyannot.pkl", fps=25, listed="testlist.txt"
    )
    dataset = source.build(root)
    assert dataset.truth().videos() == ["Sit/two"]
    assert dataset.labels.names == ("Run", "Sit") and dataset.labels.exclusive
    assert [k.time_ms for k in map(dataset.key, range(3))] == [400, 440, 480]
    sample = dataset.sample(0, spec=SPEC)
    assert np.allclose(sample.people.boxes[0] * [320, 240, 320, 240], [8, 6, 38, 46])


def test_what_kinetics_lacks_is_told_or_refused(root: Path) -> None:
    source = ClipSource(name="k", videos="by_class", annotations="kinetics.csv", by_class=True)
    with pytest.raises(DataError, match=r"no file for 1 annotated videos[^$]*gonegonegon"):
        source.build(root)
    dataset = SOURCES["kinetics"].build(root)
    assert isinstance(dataset, WholeVideoDataset)
    assert dataset.missing == ("gonegonegon_000005_000015",)
    assert dataset.labels.names == ("one class", "two class")


def test_clips_lie_where_the_moment_says(root: Path, tmp_path: Path) -> None:
    """Each frame of this film is as grey as its number says."""
    with VideoWriter(tmp_path / "ramp.mp4", 25, (32, 32), quality=1) as writer:
        for number in range(50):
            writer.write(np.full((32, 32, 3), 4 * number, np.uint8))
    (tmp_path / "list.txt").write_text("ramp.mp4 0\n")
    (tmp_path / "names.txt").write_text("grey\n")
    source = ClipSource(
        name="ramp", videos=".", annotations="list.txt", labels="names.txt", first_id=0
    )
    dataset = source.build(tmp_path)

    def shown(spec: InputSpec, **how: object) -> list[int]:
        frames = dataset.sample(0, spec=spec, **how).frames  # type: ignore[arg-type]
        return [round(float(f.float().mean()) / 4) for f in frames.unbind(1)]

    spec = InputSpec(frames=4, stride=5, short_side=32)
    assert shown(spec, moment=0.0) == [0, 5, 10, 15]
    assert shown(spec, moment=1.0) == [34, 39, 44, 49]
    assert shown(spec, moment=0.5) == shown(spec) == [17, 22, 27, 32]
    long = InputSpec(frames=4, stride=30, short_side=32)
    assert shown(long) == [0, 0, 24, 49], "too short a film: its middle, its ends repeated"
    rng = np.random.default_rng(0)
    starts = {shown(spec, rng=rng)[0] for _ in range(40)}
    assert min(starts) < 6 and max(starts) > 28 and len(starts) > 12
    with pytest.raises(InputError, match="invalid position"):
        dataset.sample(0, spec=spec, moment=1.5)


def test_charades_clips_have_the_classes_of_their_window(root: Path) -> None:
    source = CharadesSource(
        name="c", videos="videos", annotations="charades.csv", labels="charades.txt",
        targets_of="window",
    )  # fmt: skip
    dataset = source.build(root)
    found = [dataset.sample(0, spec=SPEC, moment=m).targets for m in (0.0, 0.5, 1.0)]
    assert [t.tolist() for t in found if t is not None] == [[[1, 0, 0]], [[0, 0, 0]], [[0, 1, 0]]]
    nothing = dataset.sample(1, spec=SPEC).targets
    assert nothing is not None and not nothing.any()


def test_a_video_without_its_class_is_unlabelled(built: dict[str, ClipDataset]) -> None:
    dataset = built["ssv2"]
    assert dataset.sample(0, spec=SPEC).targets is not None
    assert dataset.sample(1, spec=SPEC).targets is None
