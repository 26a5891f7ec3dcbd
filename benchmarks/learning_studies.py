"""Strategies of training for `benchmarks.learning`: data, recipes, and what is compared."""

from __future__ import annotations

import csv
import itertools
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tubelet.boxes import short_side_hw
from tubelet.data.sources import ClipSource, VideoSource
from tubelet.evaluate.longtail import frequency_split, group_means
from tubelet.evaluate.report import FrameReport
from tubelet.evaluate.scoring import evaluate_files
from tubelet.files import write_text
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.media.video import Video
from tubelet.media.writer import VideoWriter
from tubelet.models.backbones.resnet3d import FAST, ResNet3dConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.playground.actions import LABELS, POSES
from tubelet.playground.make import clip_seed, label_map_text, make_clip, world_of
from tubelet.playground.world import PlaygroundConfig
from tubelet.recipes.jhmdb import LABELS as JHMDB
from tubelet.testing.config import Test
from tubelet.train.data.mixture import Mixture, Part
from tubelet.train.data.samplers import ClassBalancedSampler
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage, Start
from tubelet.train.reporters import Silent
from tubelet.train.run import run
from tubelet.types import InputSpec

SIDE = 96  # short side of the small copies
BATCH = 16
BACKBONE = ResNet3dConfig(blocks=(1, 1, 1, 1), width=8, temporal=FAST, stem_temporal=3)
Scores = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Optimiser steps. `clips`, `boxes`: of the classification and of the detection stage; what
    learns from both takes their sum. `first`, `second`: before and after decoupling."""

    clips: int = 240
    boxes: int = 120
    first: int = 250
    second: int = 100


QUICK = Work(clips=2, boxes=2, first=2, second=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one run works. `root`: the small films and lists; `out`: its own folder."""

    data: Path
    root: Path
    out: Path
    seed: int
    tune: bool
    work: Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """`variants`: name → what trains and tests it; the first is what the others are held against.
    `against`: other comparisons worth a line. `trains`: whether seeds make a difference."""

    prepare: Callable[[Place], None]
    variants: Mapping[str, Callable[[Place], Scores]]
    against: tuple[tuple[str, str], ...] = ()
    trains: bool = True


def trained(recipe: Recipe, place: Place) -> Path:
    """Train and test `recipe` in a folder of its own; its path."""
    shutil.rmtree(place.out, ignore_errors=True)
    run(
        replace(recipe, seed=place.seed),
        out=place.out,
        root=place.root,
        device=torch.device("cpu"),
        resume=False,
        reporter=Silent(),
    )
    return place.out


def report_of(out: Path, labels: LabelSpace) -> FrameReport:
    return evaluate_files(out / "predictions.csv", out / "truth.csv", labels=labels)


# Co-finetuning on JHMDB: `joint`

JOINT_INPUT = InputSpec(frames=4, stride=5, fps=30.0, short_side=48)
JOINT_AUGMENT = Augment(
    scale=(1.0, 1.25), crop=48, flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2, speed=0.2,
)  # fmt: skip
BOXES = ActionModelConfig(
    backbone=BACKBONE, head=LinearHeadConfig(dropout=0.3), input=JOINT_INPUT, labels=JHMDB
)
CLIPS = replace(BOXES, head=ClipHeadConfig(dropout=0.3))
_MAP = "jhmdb/labels.pbtxt"


def prepare_joint(place: Place) -> None:
    """Small copies of JHMDB's films, and the lists of this seed."""
    source, folder = place.data / "jhmdb21", place.root / "jhmdb"
    lists = {s: lines_of(source / f"annotations/{s}_split1_videos.txt") for s in ("train", "val")}
    for name in itertools.chain(*lists.values()):
        _shrink(source / "videos" / f"{name}.mp4", folder / "videos" / f"{name}.mp4")
    write_text(place.root / _MAP, label_map_text(JHMDB))
    turn = _turns(source / "annotations/videos.csv")
    train, test = lists["train"], lists["val"]
    if place.tune:
        train, test = [v for v in train if turn[v] % 5], [v for v in train if not turn[v] % 5]
    boxed = [v for v in train if turn[v] % 3 == place.seed % 3]
    rows: dict[str, list[list[str]]] = {}
    for split in lists:
        path = source / f"annotations/jhmdb21_keyframes_{split}_split1.csv"
        for cells in csv.reader(lines_of(path)):
            rows.setdefault(cells[0], []).append(cells)
    middle = [rows[v][len(rows[v]) // 2] for v in boxed]
    _write_rows(folder / f"boxes_{place.seed}.csv", middle)
    tested = [r for v in test for r in rows[v]]
    _write_rows(folder / f"test_{place.seed}.csv", tested)
    rest = [[v, rows[v][0][6]] for v in train if v not in set(boxed)]
    _write_rows(folder / f"clips_{place.seed}.txt", rest)


def _turns(path: Path) -> dict[str, int]:
    """Video → the number of the film that it was cut from, among those of its class: clips of one
    film resemble each other, so they stay together."""
    seen: dict[str, dict[str, int]] = {}
    found = {}
    for row in csv.DictReader(lines_of(path)):
        films = seen.setdefault(row["class"], {})
        found[row["video_id"]] = films.setdefault(row["source"], len(films))
    return found


def boxes_source(place: Place, split: str = "boxes") -> VideoSource:
    return VideoSource(
        name=f"jhmdb_{split}",
        videos="jhmdb/videos",
        annotations=f"jhmdb/{split}_{place.seed}.csv",
        labels=_MAP,
        exclusive=True,
        cache_short_side=60,
    )


def _clips(place: Place) -> ClipSource:
    return ClipSource(
        name="jhmdb_clips",
        videos="jhmdb/videos",
        annotations=f"jhmdb/clips_{place.seed}.txt",
        labels=_MAP,
        cache_short_side=60,
    )


def _joint_stage(name: str, data: VideoSource | ClipSource | Mixture, steps: int) -> Stage:
    return Stage(
        name=name,
        data=data,
        steps=steps,
        batch=BATCH,
        optimizer=Optimizer(rate=4e-3, weight_decay=0.05),
        schedule=CosineSchedule(warmup=0.1),
        augment=JOINT_AUGMENT,
        ema=0.98,
        save_every=10_000,
    )


def _joint(place: Place, *stages: Stage) -> Recipe:
    return Recipe(
        name="joint",
        summary="detection with a third of the boxes",
        model=BOXES,
        stages=stages,
        tests=(Test(data=boxes_source(place, "test")),),
    )


def _mixed(place: Place, sampling: str) -> Recipe:
    parts = (Part(data=boxes_source(place)), Part(data=_clips(place), model=CLIPS))
    data = Mixture(parts=parts, sampling=sampling)  # type: ignore[arg-type]
    return _joint(place, _joint_stage("both", data, place.work.clips + place.work.boxes))


def _sequential(place: Place) -> Recipe:
    first = replace(_joint_stage("clips", _clips(place), place.work.clips), model=CLIPS)
    second = replace(
        _joint_stage("boxes", boxes_source(place), place.work.boxes),
        model=BOXES,
        start=Start(parts=("backbone.*",), required=("backbone.*",)),
    )
    return _joint(place, first, second)


def joint_scores(recipe: Recipe, place: Place) -> Scores:
    return {"mAP": report_of(trained(recipe, place), JHMDB).map}


def _boxes_only(place: Place, steps: int) -> Recipe:
    return _joint(place, _joint_stage("boxes", boxes_source(place), steps))


MEMBERS = ("clips, then boxes", "co-finetuned, weighted", "co-finetuned, alternating")


def joint() -> dict[str, Callable[[Place], Scores]]:
    return {
        "boxes only": lambda p: joint_scores(_boxes_only(p, p.work.boxes), p),
        "boxes only, as many steps as both": lambda p: joint_scores(
            _boxes_only(p, p.work.clips + p.work.boxes), p
        ),
        MEMBERS[0]: lambda p: joint_scores(_sequential(p), p),
        MEMBERS[1]: lambda p: joint_scores(_mixed(p, "weighted"), p),
        MEMBERS[2]: lambda p: joint_scores(_mixed(p, "alternating"), p),
    }


# A long-tailed playground: `decoupled`

TAIL_COUNTS = (150, 97, 63, 41, 26, 17, 11, 7, 5, 3)
HEAD_ABOVE, TAIL_BELOW = 50, 15
TEST_EACH = 40
TAIL_INPUT = InputSpec(frames=4, stride=1, fps=5.0, short_side=48)
TAIL_WORLD = PlaygroundConfig(
    height=48, width=48, fps=5.0, seconds=2.0, people=(1, 1), person_height=(0.6, 0.74),
    clutter=0.5, occluders=0.0, camera=0.5, lighting=0.5, noise=0.5,
)  # fmt: skip
_KEY_MS = 1000
_POSE_IDS = LABELS.ids[: len(POSES)]
TAIL_LABELS = LabelSpace(ids=_POSE_IDS, names=POSES)
TAIL = ActionModelConfig(
    backbone=BACKBONE, head=LinearHeadConfig(dropout=0.3), input=TAIL_INPUT, labels=TAIL_LABELS
)


def counts_of(seed: int) -> dict[int, int]:
    """Class id → training clips: which class is frequent differs from seed to seed."""
    order = np.random.default_rng([seed, 7]).permutation(len(_POSE_IDS))
    return {_POSE_IDS[c]: n for c, n in zip(order.tolist(), TAIL_COUNTS, strict=True)}


def prepare_tail(place: Place) -> None:
    """Films and lists of this seed's training clips, and of the test clips of all seeds."""
    folder = place.root / "playground"
    write_text(folder / "labels.pbtxt", label_map_text(TAIL_LABELS))
    _render(folder, f"train_{place.seed}", clip_seed("train", place.seed, 0), counts_of(place.seed))
    split = "val" if place.tune else "test"
    even = dict.fromkeys(_POSE_IDS, TEST_EACH)
    _render(folder, split, clip_seed(split, 1, 0), even)  # type: ignore[arg-type]


def _render(folder: Path, name: str, first: int, wanted: Mapping[int, int]) -> None:
    """Clips `first`… that show what is still wanted, as films with a list of boxes."""
    if (folder / f"{name}.csv").is_file():
        return
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    left, rows = Counter(wanted), []
    for seed in itertools.count(first):
        if not left.total():
            break
        boxes, _, targets = world_of(seed, TAIL_WORLD).annotate(np.array([_KEY_MS / 1000]))
        shown = np.flatnonzero(targets[0].sum(0)).tolist()
        label = LABELS.ids[shown[0]] if len(boxes[0]) == 1 and len(shown) == 1 else None
        if label is None or not left[label]:
            continue
        left[label] -= 1
        video, clip = f"{name}_{seed - first:06d}", make_clip(seed, TAIL_WORLD)
        path = folder / "videos" / f"{video}.mp4"
        with VideoWriter(path, TAIL_WORLD.fps, clip.frames.shape[1:3], quality=12) as writer:
            for frame in clip.frames:
                writer.write(frame)
        rows.append([video, f"{_KEY_MS / 1000}", *map("{:.4f}".format, boxes[0][0]), str(label)])
    _write_rows(folder / f"{name}.csv", rows)


def _tail_source(name: str) -> VideoSource:
    return VideoSource(
        name=f"playground_{name}",
        videos="playground/videos",
        annotations=f"playground/{name}.csv",
        labels="playground/labels.pbtxt",
        cache_short_side=48,
    )


def _tail(place: Place, *stages: Stage) -> Recipe:
    return Recipe(
        name="decoupled",
        summary="ten poses, from frequent to rare",
        model=TAIL,
        stages=stages,
        tests=(Test(data=_tail_source("val" if place.tune else "test")),),
    )


def _tail_stage(place: Place, name: str, steps: int) -> Stage:
    return Stage(
        name=name,
        data=_tail_source(f"train_{place.seed}"),
        steps=steps,
        batch=BATCH,
        optimizer=Optimizer(rate=4e-3, weight_decay=0.05),
        schedule=CosineSchedule(warmup=0.1),
        augment=Augment(flip=0.5, scale=(0.9, 1.1), brightness=0.2, contrast=0.2, box_jitter=0.05),
        ema=0.98,
        save_every=10_000,
    )


def tail_scores(recipe: Recipe, place: Place) -> Scores:
    """mAP over all classes and over those that are frequent, in between and rare."""
    report = report_of(trained(recipe, place), TAIL_LABELS)
    split = frequency_split(counts_of(place.seed), head_above=HEAD_ABOVE, tail_below=TAIL_BELOW)
    return {"mAP": report.map, **group_means(report, split.groups())}


def _again(place: Place, **changes: object) -> Recipe:
    """A second stage upon the run `random` of the same seed."""
    before = place.out.parent / "random" / "model.safetensors"
    stage = _tail_stage(place, "again", place.work.second)
    start = Start(weights=str(before.resolve()), required=("*",))
    return _tail(place, replace(stage, start=start, **changes))  # type: ignore[arg-type]


def decoupled() -> dict[str, Callable[[Place], Scores]]:
    balanced = ClassBalancedSampler()
    classifier = ("head.classifier.*",)
    return {
        "random": lambda p: tail_scores(_tail(p, _tail_stage(p, "first", p.work.first)), p),
        "then classifier, balanced": lambda p: tail_scores(
            _again(p, sampler=balanced, trainable=classifier), p
        ),
        "then classifier, random": lambda p: tail_scores(_again(p, trainable=classifier), p),
        "then all, random": lambda p: tail_scores(_again(p), p),
        "balanced, as long as both": lambda p: tail_scores(
            _tail(p, replace(_tail_stage(p, "f", p.work.first + p.work.second), sampler=balanced)),
            p,
        ),
    }


# Files


def slug(name: str) -> str:
    """A variant's name as a folder's."""
    return re.sub(r"\W+", "_", name)


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line]


def _write_rows(path: Path, rows: Iterable[list[str]]) -> None:
    separator = "," if path.suffix == ".csv" else "\t"
    write_text(path, "".join(separator.join(row) + "\n" for row in rows))


def _shrink(source: Path, small: Path) -> None:
    """A copy of a film with short side `SIDE`, unless it is there."""
    if small.is_file():
        return
    small.parent.mkdir(parents=True, exist_ok=True)
    with Video(source, threads=1) as film:
        hw = short_side_hw(film.info.hw, SIDE, None)
        with VideoWriter(small, film.info.fps, hw, quality=12) as writer:
            for frame in film.frames(hw):
                writer.write(frame.image, frame.time_ms)
