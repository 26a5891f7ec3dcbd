"""`TubeSource`: labelled people in films whose labels count frames, as UCF101-24's pickle does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tubelet.data.dataset import VideoDataset
from tubelet.data.films import find_footage
from tubelet.data.importers import Options
from tubelet.data.importers import read as read_any
from tubelet.data.keyframe_lists import read_video_list
from tubelet.data.labelmaps import read_label_map
from tubelet.data.sources.base import SourceConfig
from tubelet.data.sources.steps import boxes_of, classes_of, folder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeSource(SourceConfig):
    """Films with labels that count frames: UCF101-24's `pyannot.pkl`, `JHMDB-GT.pkl`,
    `UCF101v2-GT.pkl`, MultiSports, or any other format that `tubelet data convert` reads.

    `fps`: the rate of the films that the frame numbers count (25 for UCF101, 30 for JHMDB).
    `listed`: text file with the ids of this split's videos, one a line (an extension and what
    follows it are ignored). `labels`: label map, where the file's own names are not to be used.
    `every_ms`: keep the frame nearest to each multiple; None keeps all.
    """

    summary: ClassVar[str] = "people in films, by frame number: UCF101-24, MultiSports, …"

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
        folder = folder_of(root, self.videos, self.name)
        path = root / self.annotations
        given = None if self.labels is None else read_label_map(root / self.labels)
        options = Options(
            fps=self.fps, by_rate=True, every_ms=self.every_ms, videos=folder, labels=given
        )
        imported = read_any(path, None, options)
        labels = classes_of(given or imported.labels, path, self.exclusive)
        truth = boxes_of(imported, path)
        if self.listed is not None:
            truth = truth.of_video(*read_video_list(root / self.listed))
        return VideoDataset(
            name=self.name,
            annotations=truth,
            labels=labels,
            videos=find_footage(folder, truth.keys(), fps=self.frame_rate),
            cache_short_side=self.cache_short_side,
        )

    def folders(self) -> tuple[str, ...]:
        return (self.videos.partition("/")[0],)
