"""`VideoSource`: labelled people in films, as AVA's CSV has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from tubelet.data.dataset import VideoDataset
from tubelet.data.films import find_footage
from tubelet.data.importers import read as read_any
from tubelet.data.labelmaps import read_label_map
from tubelet.data.proposals import for_testing, for_training
from tubelet.data.sources.base import SourceConfig
from tubelet.data.sources.steps import boxes_of, folder_of
from tubelet.data.tables import read_ava_csv, read_excluded
from tubelet.errors import ConfigError

Boxes = Literal["truth", "truth+proposals", "matched", "proposals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSource(SourceConfig):
    """Films with labels in AVA's CSV: AVA, either part of AVA-Kinetics, JHMDB, a custom set.

    `begin_s`: the labels' time at which the files begin (900 for the quarter hours that AVA's
    scripts cut; Kinetics' `id_000010_000020.mp4` says it itself). `excluded`: CSV of timestamps
    to leave out. `evaluated`: label map of the classes that count in the mean (AVA: 60 of 80).

    `boxes`: whose boxes a sample has. "truth": the annotated ones. "truth+proposals", for training:
    those, and the proposals scored `score_threshold` or higher that overlap one by more than
    `proposal_iou` and take its labels. "matched", for training: those proposals alone; a keyframe
    that has none shows nobody. "proposals", for testing: proposals of at least that score on the
    annotated keyframes, without targets.
    """

    summary: ClassVar[str] = "people in films, by keyframe: AVA, AVA-Kinetics, JHMDB, your own"

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
                f"{self.name!r} needs both proposals and a use for them, or neither",
                expected='proposals with boxes "truth+proposals", "matched" or "proposals"',
                got=f"proposals {self.proposals}, boxes {self.boxes!r}",
            )

    @property
    def detected(self) -> bool:
        return self.boxes == "proposals"

    def build(self, root: Path) -> VideoDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = folder_of(root, self.videos, self.name)
        counted = read_label_map(root / self.evaluated).ids if self.evaluated else ()
        labels = replace(
            read_label_map(root / self.labels), exclusive=self.exclusive, evaluated=counted
        )
        truth = read_ava_csv(root / self.annotations, kind="truth", labels=labels)
        if self.excluded is not None:
            truth = truth.without(read_excluded(root / self.excluded))
        shown, boxes = truth, None
        if self.proposals is not None:
            proposals = boxes_of(read_any(root / self.proposals), root / self.proposals)
            if self.boxes == "proposals":
                boxes = for_testing(proposals, min_score=self.score_threshold)
            else:
                shown = for_training(
                    truth,
                    proposals,
                    iou=self.proposal_iou,
                    min_score=self.score_threshold,
                    keep_truth=self.boxes == "truth+proposals",
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

    def folders(self) -> tuple[str, ...]:
        return (self.videos.partition("/")[0],)
