"""`UnlabelledSource` and `UnlabelledClipSource`: sets whose labels only a test server has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from tubelet.data.films import find_footage
from tubelet.data.importers import Options, read_clips
from tubelet.data.importers import read as read_any
from tubelet.data.keyframe_lists import read_keyframes
from tubelet.data.labelmaps import read_label_map
from tubelet.data.proposals import for_testing
from tubelet.data.sources.base import Labelled, SourceConfig
from tubelet.data.sources.steps import boxes_of, classes_of, folder_of, whole_films
from tubelet.data.unlabelled import UnlabelledDataset, UnlabelledVideos


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledSource(SourceConfig):
    """Films to be tested whose labels are not public: the test sets of AVA and AVA-Kinetics.

    `keyframes`: list of videos, each with the seconds in `included`; or rows of `video,seconds`,
    without `included`. `excluded`: CSV of moments to leave out. `proposals`: a detector's people,
    of whom those scored `score_threshold` or higher are tested. `labels`, `evaluated`, `begin_s`
    and the rest are as in `VideoSource`.
    """

    summary: ClassVar[str] = "people in films whose labels are not public: AVA's test set"

    videos: str
    keyframes: str
    proposals: str
    labels: str
    included: str | None = None
    excluded: str | None = None
    evaluated: str | None = None
    score_threshold: float = 0.0
    begin_s: float = 0.0
    cache_short_side: int | None = None
    frame_rate: float | None = None

    def build(self, root: Path) -> UnlabelledDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = folder_of(root, self.videos, self.name)
        counted = read_label_map(root / self.evaluated).ids if self.evaluated else ()
        keyframes = read_keyframes(
            root / self.keyframes,
            included=None if self.included is None else root / self.included,
            excluded=None if self.excluded is None else root / self.excluded,
        )
        people = boxes_of(read_any(root / self.proposals), root / self.proposals)
        begin_ms = round(self.begin_s * 1000)
        return UnlabelledDataset(
            name=self.name,
            keyframes=keyframes,
            labels=replace(read_label_map(root / self.labels), evaluated=counted),
            videos=find_footage(folder, keyframes.keys(), begin_ms=begin_ms, fps=self.frame_rate),
            boxes=for_testing(people, min_score=self.score_threshold),
            cache_short_side=self.cache_short_side,
        )

    @property
    def hidden(self) -> bool:
        return True

    def folders(self) -> tuple[str, ...]:
        return (self.videos.partition("/")[0],)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledClipSource(SourceConfig):
    """Whole videos to be tested whose classes are not public: Kinetics' test set.

    `annotations`: list of the videos, without classes. `classes`: a list of the same set that has
    them (its validation split), whose names are the classes. The rest is as in `ClipSource`.
    """

    summary: ClassVar[str] = "videos whose classes are not public: Kinetics' test set"

    videos: str
    annotations: str
    classes: str
    allow_missing: bool = False
    cache_short_side: int | None = None
    frame_rate: float | None = None

    def build(self, root: Path) -> UnlabelledVideos:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = folder_of(root, self.videos, self.name)
        _, named = read_clips(root / self.classes)
        labels = classes_of(named, root / self.classes, exclusive=True)
        clips, _ = read_clips(root / self.annotations, Options(labels=labels))
        found = whole_films(folder, clips, None, self.frame_rate)
        missing = tuple(v for v in clips.videos() if v not in found)
        return UnlabelledVideos(
            name=self.name,
            clips=clips,
            labels=labels,
            videos=found,
            missing=missing if self.allow_missing else (),
            cache_short_side=self.cache_short_side,
        )

    @property
    def labelled(self) -> Labelled:
        return "video"

    @property
    def hidden(self) -> bool:
        return True

    def folders(self) -> tuple[str, ...]:
        return (self.videos.partition("/")[0],)
