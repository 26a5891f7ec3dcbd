"""The videos of a dataset: where each is, its properties, and the clip at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError
from tubelet.media.frames import open_film
from tubelet.media.sampling import hole_ms, read_window, stretch, window
from tubelet.media.transforms import Augment, clip_size
from tubelet.media.video import VideoInfo
from tubelet.types import InputSpec, Ints, Key, Pixels

# What every downloader of Kinetics calls the cut from second 10 to 20 of a film: id_000010_000020.
_CUT = re.compile(r"(?P<video>.+)_(?P<start>\d{6})_(?P<end>\d{6})")


@dataclass(frozen=True, slots=True)
class Footage:
    """A video file, or a folder of frames extracted at `fps`.

    `begin_ms`: the moment of the labels' timeline at which the file's own time is 0 (900,000 for
    the quarter hours that AVA's preparation scripts cut out of the films).
    """

    path: Path
    begin_ms: int = 0
    fps: float | None = None


def find_footage(
    folder: Path, keys: Iterable[Key], *, begin_ms: int = 0, fps: float | None = None
) -> dict[str, Footage]:
    """The footage of every video that `keys` name; absent ones are left out.

    A file called by the id (any extension, or a folder of frames) is taken first; otherwise a cut
    in Kinetics' way, `id_000010_000020`, that holds the video's first key: it begins at its own
    first number. Raises DataError for an id that points outside the folder.
    """
    found: dict[str, Footage] = {}
    cuts: dict[str, list[_Cut]] | None = None
    for video, time_ms in {key.video: key.time_ms for key in sorted(keys, reverse=True)}.items():
        path = find_video(folder, video)
        if path is not None:
            found[video] = Footage(path, begin_ms, fps)
            continue
        cuts = _cuts(folder) if cuts is None else cuts
        for cut in cuts.get(video, []):
            if cut.start_ms <= time_ms <= cut.end_ms:
                found[video] = Footage(cut.path, cut.start_ms, fps)
    return found


class _Cut(NamedTuple):
    start_ms: int
    end_ms: int
    path: Path


def _cuts(folder: Path) -> dict[str, list[_Cut]]:
    found: dict[str, list[_Cut]] = {}
    for path in sorted(folder.iterdir()):
        match = _CUT.fullmatch(path.name if path.is_dir() else path.stem)
        if match:
            cut = _Cut(int(match["start"]) * 1000, int(match["end"]) * 1000, path)
            found.setdefault(match["video"], []).append(cut)
    return found


class _Held(NamedTuple):
    """A film in memory: frames u8 `(n, H, W, 3)` and their times `(n,)`."""

    times_ms: Ints
    frames: Pixels


class Films:
    """Clips by video id.

    With `cache_short_side` every film is decoded once, at that short side, and kept in memory (for
    short clips: JHMDB's 660 take 1.3 GB at 120 pixels); otherwise each clip seeks and decodes its
    own window.
    """

    def __init__(
        self, videos: Mapping[str, Path | Footage], *, cache_short_side: int | None = None
    ) -> None:
        self._videos = {
            video: where if isinstance(where, Footage) else Footage(where)
            for video, where in videos.items()
        }
        self._cache_short_side = cache_short_side
        self._held: dict[str, _Held] = {}
        self._infos: dict[str, VideoInfo] = {}

    def check(self, videos: Iterable[str], source: str | None) -> None:
        """Raise DataError unless each of `videos` has footage."""
        missing = sorted(set(videos) - self._videos.keys())
        if missing:
            raise DataError(
                f"no file for {len(missing)} annotated videos",
                where=source,
                got=", ".join(missing[:5]),
                hint="check the video folder",
            )

    def info(self, video: str) -> VideoInfo:
        """What the video is, on its own timeline. Errors as `open_film`."""
        if video not in self._infos:
            footage = self._videos[video]
            with open_film(footage.path, fps=footage.fps, threads=1) as film:
                self._infos[video] = film.info
        return self._infos[video]

    def clip(self, key: Key, spec: InputSpec, augment: Augment | None = None) -> Pixels:
        """The clip u8 `(T, H, W, 3)` at `key`, in the size that `spec` and `augment` can need.
        Raises VideoError where it cannot be decoded."""
        footage, info = self._videos[key.video], self.info(key.video)
        at_ms = key.time_ms - footage.begin_ms
        if self._cache_short_side is None:
            with open_film(footage.path, fps=footage.fps, threads=1) as film:
                return read_window(film, at_ms, spec, clip_size(info.hw, spec, augment))
        held = self._held.get(key.video)
        if held is None:
            held = self._held[key.video] = self._hold(footage, spec, self._cache_short_side)
        first, stop = stretch(held.times_ms, at_ms, hole_ms(info))
        return held.frames[first + window(held.times_ms[first:stop], at_ms, spec)]

    def _hold(self, footage: Footage, spec: InputSpec, side: int) -> _Held:
        with open_film(footage.path, fps=footage.fps) as film:
            hw = clip_size(film.info.hw, replace(spec, short_side=side, long_side=None))
            frames = list(film.frames(hw, kernel=spec.preprocessing.kernel))
        times = np.array([f.time_ms for f in frames], np.int64)
        return _Held(times, np.stack([f.pixels for f in frames]))
