"""Where a stage's data comes from, as configuration: each source builds a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tubelet.data.dataset import ClipDataset, PlaygroundDataset, VideoDataset
from tubelet.data.files import find_video
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import read_ava_csv
from tubelet.playground.make import clip_seed
from tubelet.playground.world import PlaygroundConfig
from tubelet.types import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSource:
    """Video files with labels in AVA's CSV; paths are relative to the data folder."""

    name: str
    videos: str
    annotations: str
    labels: str
    exclusive: bool = False
    cache_short_side: int | None = None

    def build(self, root: Path) -> ClipDataset:
        """The dataset under `root`. Raises InputError or DataError naming what is missing."""
        folder = root / self.videos
        if not folder.is_dir():
            raise InputError(
                f"the videos of {self.name!r} are not there",
                where=folder,
                hint="name the folder that holds the data with --data",
            )
        labels = replace(read_label_map(root / self.labels), exclusive=self.exclusive)
        table = read_ava_csv(root / self.annotations, kind="truth", labels=labels)
        found = {video: find_video(folder, video) for video in table.videos()}
        return VideoDataset(
            name=self.name,
            annotations=table,
            labels=labels,
            videos={video: path for video, path in found.items() if path is not None},
            cache_short_side=self.cache_short_side,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundSource:
    """Clips of the rendered world. `split` keeps seeds apart; `vary` draws new clips for ever, and
    `seek` prefers those in which somebody does one of these actions."""

    world: PlaygroundConfig = field(default_factory=PlaygroundConfig)
    clips: int = 100
    split: str = "train"
    vary: bool = False
    seek: tuple[str, ...] = ()

    def build(self, root: Path) -> ClipDataset:
        first = clip_seed(self.split, 0, 0)  # type: ignore[arg-type]
        return PlaygroundDataset(
            world=self.world,
            clips=self.clips,
            first_seed=first,
            vary=self.vary,
            seek=self.seek,
        )


SourceConfig = VideoSource | PlaygroundSource
