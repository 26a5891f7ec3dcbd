"""Videos that carry their class, or their classes, as a whole: Kinetics, Something-Something,
Moments in Time, Charades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from tubelet.batch import Sample
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import faster, multi_hot
from tubelet.data.films import Films, Footage
from tubelet.labels import LabelSpace
from tubelet.media.sampling import clip_centre, clip_span
from tubelet.media.transforms import Augment, prepare
from tubelet.media.video import VideoInfo
from tubelet.types import InputSpec, Key, People, Pixels

WHOLE_FRAME = ((0.0, 0.0, 1.0, 1.0),)


class FilmReader(Protocol):
    """Where a video's clips come from: `Films`, or anything that can draw them."""

    def info(self, video: str) -> VideoInfo: ...

    def clip(self, key: Key, spec: InputSpec, augment: Augment | None = None) -> Pixels:
        """The clip u8 `(T, H, W, 3)` at `key`, at least as large as asked for."""
        ...


class WholeVideoDataset:
    """One sample per video: a clip somewhere in it, with the classes of the video.

    A sample's only "person" is the whole frame, so that what a detection model predicts for a
    person, a classification model predicts for the clip; a random crop never takes it away.

    `targets_of`: "video", every class of the video; "window", the classes whose interval meets the
    clip (Charades; a row without times counts everywhere). Where classes are exclusive a video
    without one is unlabelled, its targets None; otherwise it shows none of the classes.
    `missing`: videos of the list that are known to be absent; they are left out. `films`: what
    renders the videos, where they are not files.
    """

    def __init__(
        self,
        *,
        name: str,
        clips: ClipLabels,
        labels: LabelSpace,
        videos: Mapping[str, Path | Footage] | None = None,
        films: FilmReader | None = None,
        targets_of: Literal["video", "window"] = "video",
        missing: tuple[str, ...] = (),
        cache_short_side: int | None = None,
    ) -> None:
        self.name, self.labels, self.missing = name, labels, missing
        self._clips = clips.of_videos((videos or {}).keys()) if missing else clips
        self._videos = self._clips.videos()
        self._intervals = self._clips.intervals() if targets_of == "window" else None
        self._labels = list(self._clips.labels_of_videos().values())
        multi_hot([sorted({i for ids in self._labels for i in ids})], labels)  # all are known
        self._films: FilmReader
        if films is None:
            files = Films(videos or {}, cache_short_side=cache_short_side)
            files.check(self._videos, clips.source)
            self._films = files
        else:
            self._films = films

    def __len__(self) -> int:
        return len(self._videos)

    def key(self, index: int) -> Key:
        """The video, at time 0: the moment is drawn when a sample is."""
        return Key(video=self._videos[index], time_ms=0)

    def label_ids(self, index: int) -> tuple[int, ...]:
        return self._labels[index]

    def truth(self) -> ClipLabels:
        return self._clips

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
        moment: float | None = None,
    ) -> Sample:
        """A clip of video `index`, its key the time of the clip's centre.

        `moment` in [0, 1] says where the clip lies: 0 begins with the video's first frame, 1 ends
        with its last. None: anywhere, drawn by `rng`; without one, in the middle. V evenly spread
        views are `moment = i / (V − 1)`. Raises VideoError for a broken file.
        """
        video = self._videos[index]
        info = self._films.info(video)
        if moment is None:
            moment = 0.5 if rng is None else float(rng.random())
        drawn = faster(spec, info.fps, augment, rng)
        key = Key(video=video, time_ms=clip_centre(info, drawn, moment))
        clip = self._films.clip(key, drawn, augment)
        frames, geometry = prepare(clip, info.hw, spec, augment, rng)
        height, width = frames.shape[2:]
        span = clip_span(key.time_ms, drawn, info.fps)
        return Sample(
            key=key,
            frames=frames,
            people=People.of(WHOLE_FRAME),
            boxes_px=torch.tensor([[0.0, 0.0, width, height]]),
            targets=self._target(index, span),
            known=torch.ones(len(self.labels), dtype=torch.bool),
            geometry=geometry,
            dataset=self.name,
        )

    def _target(self, index: int, span: tuple[float, float]) -> torch.Tensor | None:
        shown: Sequence[int] = self._labels[index]
        if self.labels.exclusive and not shown:
            return None
        if self._intervals is not None:
            begin, end = (time * 1000 for time in span)
            shown = [
                label
                for label, start_us, end_us in self._intervals[self._videos[index]]
                if start_us is None or (start_us <= end and (end_us is None or end_us >= begin))
            ]
        return torch.from_numpy(multi_hot([shown], self.labels))
