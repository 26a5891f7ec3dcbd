"""`CharadesSource`: videos in which several actions happen, each from–to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tubelet.data.importers import Options, read_clips
from tubelet.data.labelmaps import read_label_map
from tubelet.data.sources.base import Labelled, SourceConfig
from tubelet.data.sources.steps import folder_of, whole_films
from tubelet.data.whole import WholeVideoDataset


@dataclass(frozen=True, slots=True, kw_only=True)
class CharadesSource(SourceConfig):
    """Charades: videos in which several actions happen, each from–to.

    `targets_of`: the classes of a training clip: "window", those that happen within it, or
    "video", all of its video. Testing takes the maximum over many clips of a video, against all
    of its classes, whatever is set here.
    """

    summary: ClassVar[str] = "videos in which several actions happen: Charades"

    videos: str
    annotations: str
    labels: str
    targets_of: Literal["video", "window"] = "video"
    cache_short_side: int | None = None
    frame_rate: float | None = None

    def build(self, root: Path) -> WholeVideoDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = folder_of(root, self.videos, self.name)
        path, labels = root / self.annotations, read_label_map(root / self.labels)
        clips, _ = read_clips(path, Options(labels=labels))
        return WholeVideoDataset(
            name=self.name,
            clips=clips,
            labels=labels,
            videos=whole_films(folder, clips, None, self.frame_rate),
            targets_of=self.targets_of,
            cache_short_side=self.cache_short_side,
        )

    @property
    def labelled(self) -> Labelled:
        return "events"

    def folders(self) -> tuple[str, ...]:
        return (self.videos.partition("/")[0],)
