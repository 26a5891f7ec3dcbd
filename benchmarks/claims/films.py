"""Films that are arrays in memory, for the product's own datasets, samplers and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubelet.batch import Sample
from tubelet.data.clips import ClipLabels
from tubelet.data.whole import WholeVideoDataset
from tubelet.labels import LabelSpace
from tubelet.media.sampling import clip_centre, window
from tubelet.media.transforms import Augment
from tubelet.media.video import VideoInfo
from tubelet.types import InputSpec, Key, Pixels

FPS = 10.0
"""Frames a second of every drawn film, so that a frame is 100 ms."""


@dataclass(frozen=True, slots=True)
class ArrayFilms:
    """Films u8 `(T, H, W, 3)` by name, at `FPS`, in the size that models see: clips are cut from
    them as they are, whatever the augmentation asks for."""

    films: Mapping[str, Pixels]

    def info(self, video: str) -> VideoInfo:
        count, height, width, _ = self.films[video].shape
        return VideoInfo(
            path=Path(video),
            width=width,
            height=height,
            fps=FPS,
            start_ms=0,
            duration_ms=round(1000 * count / FPS),
            frame_count=count,
            rotation=0,
            mirrored=False,
            codec="array",
        )

    def clip(self, key: Key, spec: InputSpec, augment: Augment | None = None) -> Pixels:
        """The clip u8 `(T, H, W, 3)` at `key`."""
        film = self.films[key.video]
        times = np.round(np.arange(len(film)) * 1000 / FPS).astype(np.int64)
        return film[window(times, key.time_ms, spec)]


class CutOnce(WholeVideoDataset):
    """Short films have few clips: each is cut once and kept. Takes no augmentation."""

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
        moment: float | None = None,
    ) -> Sample:
        """As `WholeVideoDataset.sample`."""
        assert augment is None, "a clip that is kept cannot be augmented"
        if moment is None:
            moment = 0.5 if rng is None else float(rng.random())
        key = self.key(index)
        place = index, clip_centre(self._films.info(key.video), spec, moment)
        kept: dict[tuple[int, int], Sample] = self.__dict__.setdefault("_kept", {})
        if place not in kept:
            kept[place] = super().sample(index, spec=spec, moment=moment)
        return kept[place]


def whole_videos(
    name: str, films: Sequence[Pixels], labels: Sequence[Sequence[int]], space: LabelSpace
) -> CutOnce:
    """Films that carry their classes (`space`'s ids) as a whole."""
    named = {f"{name}_{number:04d}": film for number, film in enumerate(films)}
    rows = [
        (video, label, None, None, number + 1)
        for number, (video, own) in enumerate(zip(named, labels, strict=True))
        for label in own
    ]
    return CutOnce(name=name, clips=ClipLabels.of(rows), labels=space, films=ArrayFilms(named))
