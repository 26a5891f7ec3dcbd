"""Where a stage's data comes from, as configuration: each source builds a dataset.

Paths are relative to the data folder. Wherever a video is expected, a folder of extracted frames
does as well, if the source states their `frame_rate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import ClipDataset, PlaygroundDataset, VideoDataset
from tubelet.data.films import Footage, find_footage
from tubelet.data.importers import Imported, Options, read_clips
from tubelet.data.importers import read as read_any
from tubelet.data.joined import JoinedDataset
from tubelet.data.labelmaps import read_label_map
from tubelet.data.playground_clips import playground_clips
from tubelet.data.proposals import for_testing, for_training
from tubelet.data.tables import read_ava_csv, read_excluded
from tubelet.data.untrusted.reading import find_video, read_text
from tubelet.data.whole import WholeVideoDataset
from tubelet.labels import LabelSpace
from tubelet.media.video import EXTENSIONS
from tubelet.playground.make import clip_seed
from tubelet.playground.world import PlaygroundConfig
from tubelet.types import ConfigError, DataError, InputError

Boxes = Literal["truth", "truth+proposals", "proposals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSource:
    """Films with labels in AVA's CSV: AVA, either part of AVA-Kinetics, JHMDB, a set of one's own.

    `begin_s`: the labels' time at which the files begin (900 for the quarter hours that AVA's
    scripts cut; Kinetics' `id_000010_000020.mp4` says it itself). `excluded`: CSV of timestamps
    to leave out. `evaluated`: label map of the classes that count in the mean (AVA: 60 of 80).

    `boxes`: whose boxes a sample has. "truth": the annotated ones. "truth+proposals", for training:
    those, and the proposals scored `score_threshold` or higher that overlap one by more than
    `proposal_iou` and take its labels. "proposals", for testing: proposals of at least that score
    on the annotated keyframes, without targets.
    """

    name: str
    videos: str
    annotations: str
    labels: str
    evaluated: str | None = None
    exclusive: bool = False
    cache_short_side: int | None = None
    frame_rate: float | None = None
    begin_s: float = 0.0
    excluded: str | None = None
    proposals: str | None = None
    boxes: Boxes = "truth"
    proposal_iou: float = 0.9
    score_threshold: float = 0.0

    def __post_init__(self) -> None:
        if (self.boxes == "truth") != (self.proposals is None):
            raise ConfigError(
                f"{self.name!r} needs proposals and a use for them, or neither",
                expected='proposals with boxes "truth+proposals" or "proposals"',
                got=f"proposals {self.proposals}, boxes {self.boxes!r}",
            )

    def build(self, root: Path) -> VideoDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = _folder(root, self.videos, self.name)
        counted = read_label_map(root / self.evaluated).ids if self.evaluated else ()
        labels = replace(
            read_label_map(root / self.labels), exclusive=self.exclusive, evaluated=counted
        )
        truth = read_ava_csv(root / self.annotations, kind="truth", labels=labels)
        if self.excluded is not None:
            truth = truth.without(read_excluded(root / self.excluded))
        shown, boxes = truth, None
        if self.proposals is not None:
            proposals = _boxes_of(read_any(root / self.proposals), root / self.proposals)
            if self.boxes == "proposals":
                boxes = for_testing(proposals, min_score=self.score_threshold)
            else:
                shown = for_training(
                    truth, proposals, iou=self.proposal_iou, min_score=self.score_threshold
                )
        begin_ms = round(self.begin_s * 1000)
        return VideoDataset(
            name=self.name,
            annotations=shown,
            truth=truth,
            boxes=boxes,
            labels=labels,
            videos=find_footage(folder, truth.keys(), begin_ms=begin_ms, fps=self.frame_rate),
            cache_short_side=self.cache_short_side,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeSource:
    """Films with labels that count frames: UCF101-24's `pyannot.pkl`, `JHMDB-GT.pkl`,
    `UCF101v2-GT.pkl`, MultiSports, or any other format that `tubelet data convert` reads.

    `fps`: the rate of the films that the frame numbers count (25 for UCF101, 30 for JHMDB).
    `listed`: text file with the ids of this split's videos, one a line (an extension and what
    follows it are ignored). `labels`: label map, where the file's own names are not to be used.
    `every_ms`: keep the frame nearest to each multiple; None keeps all.
    """

    name: str
    videos: str
    annotations: str
    fps: float
    listed: str | None = None
    labels: str | None = None
    exclusive: bool = True
    every_ms: int | None = None
    cache_short_side: int | None = None
    frame_rate: float | None = None

    def build(self, root: Path) -> VideoDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = _folder(root, self.videos, self.name)
        path = root / self.annotations
        given = None if self.labels is None else read_label_map(root / self.labels)
        options = Options(fps=self.fps, every_ms=self.every_ms, videos=folder, labels=given)
        imported = read_any(path, None, options)
        labels = _classes(given or imported.labels, path, self.exclusive)
        truth = _boxes_of(imported, path)
        if self.listed is not None:
            truth = truth.of_video(*_listed(root / self.listed))
        return VideoDataset(
            name=self.name,
            annotations=truth,
            labels=labels,
            videos=find_footage(folder, truth.keys(), fps=self.frame_rate),
            cache_short_side=self.cache_short_side,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedSource:
    """Sets with the same classes as one, such as the two parts of AVA-Kinetics."""

    name: str
    parts: tuple[VideoSource | TubeSource | PlaygroundSource, ...]

    def build(self, root: Path) -> ClipDataset:
        return JoinedDataset(name=self.name, parts=[part.build(root) for part in self.parts])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSource:
    """Videos of one class each: Kinetics, Moments in Time, Something-Something, `path label` lists.

    `labels`: label map; without one, the classes are the names in the list. `first_id`: the number
    of the label map's first class, where a list of plain names belongs to labels that count from
    0. `by_class`: the files lie in folders called by their class, as Kinetics' do. `allow_missing`:
    videos without a file (Kinetics always lacks some) are left out and listed in the dataset's
    `missing`; otherwise they are an error.
    """

    name: str
    videos: str
    annotations: str
    labels: str | None = None
    first_id: int | None = None
    exclusive: bool = True
    by_class: bool = False
    allow_missing: bool = False
    cache_short_side: int | None = None
    frame_rate: float | None = None

    def build(self, root: Path) -> WholeVideoDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = _folder(root, self.videos, self.name)
        given = None if self.labels is None else read_label_map(root / self.labels)
        if given is not None and self.first_id is not None:
            given = LabelSpace.of(given.names, first_id=self.first_id)
        path = root / self.annotations
        clips, named = read_clips(path, Options(labels=given))
        labels = _classes(given or named, path, self.exclusive)
        found = _whole_films(folder, clips, labels if self.by_class else None, self.frame_rate)
        missing = tuple(v for v in clips.videos() if v not in found)
        return WholeVideoDataset(
            name=self.name,
            clips=clips,
            labels=labels,
            videos=found,
            missing=missing if self.allow_missing else (),
            cache_short_side=self.cache_short_side,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CharadesSource:
    """Charades: videos in which several actions happen, each from–to.

    `targets_of`: the classes of a training clip: "window", those that happen within it, or
    "video", all of its video. Testing takes the maximum over many clips of a video, against all
    of its classes, whatever is set here.
    """

    name: str
    videos: str
    annotations: str
    labels: str
    targets_of: Literal["video", "window"] = "video"
    cache_short_side: int | None = None
    frame_rate: float | None = None

    def build(self, root: Path) -> WholeVideoDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = _folder(root, self.videos, self.name)
        path, labels = root / self.annotations, read_label_map(root / self.labels)
        clips, _ = read_clips(path, Options(labels=labels))
        return WholeVideoDataset(
            name=self.name,
            clips=clips,
            labels=labels,
            videos=_whole_films(folder, clips, None, self.frame_rate),
            targets_of=self.targets_of,
            cache_short_side=self.cache_short_side,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundSource:
    """Clips of the rendered world. `split` keeps seeds apart; `vary` draws new clips for ever, and
    `seek` prefers those in which somebody does one of these actions. `hold` as in the dataset."""

    name: str = "playground"
    world: PlaygroundConfig = field(default_factory=PlaygroundConfig)
    clips: int = 100
    split: str = "train"
    vary: bool = False
    seek: tuple[str, ...] = ()
    hold: bool = False

    def build(self, root: Path) -> PlaygroundDataset:
        first = clip_seed(self.split, 0, 0)  # type: ignore[arg-type]
        return PlaygroundDataset(
            name=self.name,
            world=self.world,
            clips=self.clips,
            first_seed=first,
            vary=self.vary,
            seek=self.seek,
            hold=self.hold,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundClipSource:
    """Whole clips of the rendered world: `exclusive` with one class each, as Kinetics has them,
    else with every class that happens in them, as Charades has. Those drawn last stay in memory."""

    name: str = "playground_clips"
    world: PlaygroundConfig = field(default_factory=lambda: PlaygroundConfig(task="scene"))
    clips: int = 100
    split: str = "train"
    exclusive: bool = True

    def build(self, root: Path) -> WholeVideoDataset:
        return playground_clips(
            name=self.name,
            world=self.world,
            clips=self.clips,
            first_seed=clip_seed(self.split, 0, 0),  # type: ignore[arg-type]
            exclusive=self.exclusive,
        )


SourceConfig = (
    VideoSource
    | TubeSource
    | JoinedSource
    | ClipSource
    | CharadesSource
    | PlaygroundSource
    | PlaygroundClipSource
)


def _folder(root: Path, videos: str, name: str) -> Path:
    folder = root / videos
    if not folder.is_dir():
        raise InputError(
            f"the videos of {name!r} are not there",
            where=folder,
            hint="name the folder that holds the data",
            arguments=("root",),
        )
    return folder


def _boxes_of(imported: Imported, path: Path) -> Annotations:
    if not isinstance(imported.table, Annotations):
        raise DataError("the file lists whole clips", where=path, expected="boxes of people")
    return imported.table


def _classes(labels: LabelSpace | None, path: Path, exclusive: bool) -> LabelSpace:
    if labels is None:
        raise InputError("the file does not name its classes", where=path, hint="give a label map")
    return replace(labels, exclusive=exclusive)


def _listed(path: Path) -> list[str]:
    """Video ids of a split's list: `Basketball/v_Basketball_g01_c01.avi 1` names its video."""
    found = []
    for line in read_text(path).splitlines():
        name = re.sub(r"\s+\d+$", "", line.strip())
        stem, dot, kind = name.rpartition(".")
        found += [stem if f"{dot}{kind}".lower() in EXTENSIONS else name] if name else []
    if not found:
        raise DataError("the list of videos is empty", where=path)
    return found


def _whole_films(
    folder: Path, clips: ClipLabels, classes: LabelSpace | None, fps: float | None
) -> dict[str, Footage]:
    """The footage of each video that is there, under its class's folder if `classes` is given."""
    found = {}
    for video, labels in clips.labels_of_videos().items():
        ids = [video]
        if classes is not None and "/" not in video:
            # First, because an absent file is looked for under every extension.
            ids = [*(f"{classes.names[classes.column(i)]}/{video}" for i in labels), video]
        path = next((p for p in (find_video(folder, name) for name in ids) if p), None)
        if path is not None:
            found[video] = Footage(path, fps=fps)
    return found
