"""`ClipSource`: videos of one class each, as lists of clips have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tubelet.data.importers import Options, read_clips
from tubelet.data.labelmaps import read_label_map
from tubelet.data.sources.base import Labelled, SourceConfig
from tubelet.data.sources.steps import classes_of, folder_of, whole_films
from tubelet.data.whole import WholeVideoDataset
from tubelet.labels import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSource(SourceConfig):
    """Videos of one class each: Kinetics, Moments in Time, Something-Something, `path label` lists.

    `labels`: label map; without one, the classes are the names in the list. `first_id`: the number
    of the label map's first class, where a list of plain names belongs to labels that count from
    0. `by_class`: the files lie in folders called by their class, as Kinetics' do. `allow_missing`:
    videos without a file (Kinetics always lacks some) are left out and listed in the dataset's
    `missing`; otherwise they are an error.
    """

    summary: ClassVar[str] = "videos of one class each: Kinetics, Moments, Something-Something"

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
        folder = folder_of(root, self.videos, self.name)
        given = None if self.labels is None else read_label_map(root / self.labels)
        if given is not None and self.first_id is not None:
            given = LabelSpace.of(given.names, first_id=self.first_id)
        path = root / self.annotations
        clips, named = read_clips(path, Options(labels=given))
        labels = classes_of(given or named, path, self.exclusive)
        found = whole_films(folder, clips, labels if self.by_class else None, self.frame_rate)
        missing = tuple(v for v in clips.videos() if v not in found)
        return WholeVideoDataset(
            name=self.name,
            clips=clips,
            labels=labels,
            videos=found,
            missing=missing if self.allow_missing else (),
            cache_short_side=self.cache_short_side,
        )

    @property
    def labelled(self) -> Labelled:
        return "video" if self.exclusive else "events"

    def folders(self) -> tuple[str, ...]:
        return (self.videos.partition("/")[0],)
