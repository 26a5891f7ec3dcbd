"""What a labelled frame is: the frame with that index of that film, at the film's own stamp.

One rule, which every reader and writer uses:

- where the film is there, frame i is its i-th frame and its time is that frame's stamp, whatever
  the rate, the first stamp or the gaps between stamps;
- where it is not, i frames at the stated rate (or the one in the file) after 0, and the report
  says so;
- pictures that were taken out at a rate other than the film's, and numbers that a player computed
  from its clock, count time: i / rate after the film's first frame, and the report says so.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tubelet.data.annotations import seconds_to_us
from tubelet.data.importers.records import Options
from tubelet.data.importers.report import Ledger
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import DataError, InputError, did_you_mean
from tubelet.film_ids import EXTENSIONS, film_id, tails
from tubelet.types import Ints

if TYPE_CHECKING:
    from tubelet.media.video import VideoInfo

# 30 for 29.97 is a rounding of the name; 24 for 25 is another way of counting.
_SAME_RATE = 0.01
_LONGEST = 10_000_000
_LONGEST_TRACK = 2_000_000
# What an export is called whatever film it is of.
_GENERIC = re.compile(
    r"(cvat_?)?(annotations?|labels?|data(set)?|default|export|gt|det(ections)?|results?|tracks?|"
    r"project|task|job|instances(_\w+)?|train(ing)?|val(id(ation)?)?|test|_annotations\.coco)"
    r"[-_ ]?\d*",
    re.IGNORECASE,
)


class FilmClock:
    """Times and sizes of the films that one file labels; `tool`: whose file it is, in errors."""

    def __init__(
        self, options: Options, ledger: Ledger | None = None, tool: str = "the file"
    ) -> None:
        self.options, self._tool = options, tool
        self.ledger = Ledger() if ledger is None else ledger
        self._paths: dict[str, Path | None] = {}
        self._infos: dict[str, VideoInfo] = {}
        self._times: dict[str, Ints] = {}
        self._told: set[str] = set()

    def time_us(
        self,
        video: str,
        frame: int,
        where: object = None,
        *,
        rate: float | None = None,
        sampled: bool = False,
    ) -> int:
        """Microseconds of frame `frame`, counted from 0, on the film's own timeline.

        `rate`: frames per second as the file itself counts them. `sampled`: whether the numbers
        are those of pictures, which may have been taken out at another rate than the film's.
        Raises DataError for a frame that the film lacks, InputError where nothing tells the time.
        """
        if not 0 <= frame <= _LONGEST:
            raise DataError("invalid frame number", where=where, got=frame)
        counted = rate if rate is not None else self.options.fps
        if self.path(video) is None or self.options.by_rate:
            return self._by_rate(video, frame, counted, where)
        clocked = counted is not None and (sampled or rate is not None)
        if clocked and counted is not None and self._other_rate(video, counted):
            self.ledger.note(
                f"times of {video!r}: its frames are counted at {counted:g} a second, the film has "
                f"{self._info(video).fps:.4g}: number / {counted:g} after the film's first frame"
            )
            return seconds_to_us(frame / counted, where) + self._info(video).start_ms * 1000
        times = self.times(video)
        if frame >= len(times):
            raise DataError(
                f"no frame {frame} in the film {video!r}",
                where=where,
                expected=f"0 to {len(times) - 1}: the film has {len(times)} frames",
                hint="is it the film that was labelled, and are its frames counted from 0?",
            )
        if not self._told:
            self._told.add("stamps")
            self.ledger.note("times: each labelled frame has its film's own stamp")
        return int(times[frame]) * 1000

    def at_us(self, video: str, seconds: float, where: object = None) -> int:
        """Microseconds of a player's `seconds`: players count from the film's first frame."""
        start = 0 if self.path(video) is None else self._info(video).start_ms
        if start:
            self.ledger.note(
                f"times of {video!r}: the player's seconds, and the {start / 1000:g} s at which "
                "the film's first frame is stamped"
            )
        return seconds_to_us(seconds, where) + start * 1000

    def player_seconds(self, video: str, time_us: int) -> float:
        """The other way round: what a player shows at a time of the film."""
        start = 0 if self.path(video) is None else self._info(video).start_ms
        return (time_us - start * 1000) / 1e6

    def frame_at(self, video: str, time_us: int, where: object = None) -> int:
        """The frame that has this time; InputError if none has, to a millisecond."""
        if self.path(video) is not None:
            times = self.times(video)
            at = bisect_left(times, time_us / 1000)
            near = [i for i in (at - 1, at) if 0 <= i < len(times)]
            best = min(near, key=lambda i: abs(int(times[i]) * 1000 - time_us))
            if abs(int(times[best]) * 1000 - time_us) <= 1000:
                return int(best)
            got = f"{time_us / 1e6} s; the nearest frame is stamped {int(times[best]) / 1000} s"
            raise InputError("no frame of the film has this time", where=where, got=got)
        fps = self.options.fps
        if fps is None:
            raise self._no_rate(video)
        number = round(time_us / 1e6 * fps)
        if abs(number / fps * 1e6 - time_us) > 1000 or number < 0:
            raise InputError(
                "no frame has this time at this frame rate",
                where=where,
                got=f"{time_us / 1e6} s at {fps} frames per second",
            )
        return number

    def near(
        self, video: str, first: int, last: int, *, rate: float | None = None, sampled: bool = False
    ) -> list[int]:
        """Frames from `first` to `last` that are nearest to the multiples of the options' period;
        all of them without one."""
        every = self.options.every_ms
        if last - first > _LONGEST_TRACK:
            raise DataError(
                "a track lasts too long",
                where=f"video {video!r}, frames {first} to {last}",
                expected=f"at most {_LONGEST_TRACK} frames between two of its boxes",
            )
        if every is None:
            return list(range(first, last + 1))
        us = np.array(
            [
                self.time_us(video, frame, rate=rate, sampled=sampled)
                for frame in range(first, last + 1)
            ],
            np.int64,
        )
        multiples = np.arange(-(-us[0] // (every * 1000)), us[-1] // (every * 1000) + 1)
        wanted = multiples * every * 1000
        after = np.clip(np.searchsorted(us, wanted), 0, len(us) - 1)
        before = np.clip(after - 1, 0, len(us) - 1)
        nearest = np.where(wanted - us[before] <= us[after] - wanted, before, after)
        return sorted({first, last, *(first + int(i) for i in nearest)})

    def size(self, video: str) -> tuple[int, int]:
        """(width, height) of `video`; InputError if nothing tells it."""
        if self.options.size is not None:
            return self.options.size
        if self.path(video) is None:
            raise InputError(
                "missing frame size in pixels: the file does not contain it",
                where=f"video {video!r}",
                hint="provide size, or the folder of the videos",
                arguments=("size", "videos"),
            )
        info = self._info(video)
        return info.width, info.height

    def nameless(self, source: str | Path, what: str) -> str:
        """The film of a file that does not name it: the one stated, that of the file's own name, or
        the only one in the folder. Raises InputError where that leaves a choice."""
        options = self.options
        if options.video is not None:
            return options.video
        stem = Path(source).stem
        if options.videos is None:
            self.ledger.note(
                f"the film: {what} does not name it, so it is called {stem!r} after the file"
                + " (a name that says nothing)" * bool(_GENERIC.fullmatch(stem))
                + "; `video` states another"
            )
            return stem
        parent = Path(source).resolve().parent
        homes = [parent.parent.name if parent.name in ("gt", "det") else stem, stem]
        for name in homes:
            if find_video(options.videos, name) is not None:
                self.ledger.note(f"the film: {what} does not name it; {name!r}, after the file")
                return name
        there = _films_in(options.videos)
        if len(there) == 1:
            self.ledger.note(f"the film: {what} does not name it; {there[0]!r}, the only one there")
            return there[0]
        raise InputError(
            f"{what} does not say which film it labels",
            where=source,
            expected=f"one of {', '.join(there[:8])}" if there else f"a film in {options.videos}",
            hint="state it",
            arguments=("video",),
        )

    def file_name(self, video: str) -> str:
        """The film as tools look for it: with its extension, if the film is there."""
        path = self.path(video)
        if path is None or path.is_dir() or video.endswith(path.suffix):
            return video
        return video + path.suffix

    def counted(self, video: str, least: int) -> tuple[int, float]:
        """(frames, frames a second) of a film; `least` frames where it is not there. Raises
        InputError where nothing tells the rate."""
        if self.path(video) is not None:
            return len(self.times(video)), self._info(video).fps
        if self.options.fps is None:
            raise self._no_rate(video)
        return least, self.options.fps

    def holds(self, video: str, seconds: float) -> bool:
        """Whether a time can be one of the film's; also where the film is not there."""
        return self.path(video) is None or seconds * 1000 <= self._info(video).end_ms + 500

    def path(self, video: str) -> Path | None:
        """The film's file or folder of frames, if the options' folder has it."""
        if video not in self._paths:
            folder = self.options.videos
            names = [] if folder is None else [video, *tails(video)]
            there = (find_video(folder, name) for name in names if folder is not None)
            self._paths[video] = next((path for path in there if path is not None), None)
        return self._paths[video]

    def times(self, video: str) -> Ints:
        """Milliseconds of every frame of a film that is there."""
        if video not in self._times:
            from tubelet.media.stamps import frame_times  # PyAV loads slowly

            path = self.path(video)
            if path is None:
                raise self._no_rate(video)
            self._times[video] = frame_times(path, fps=self._folder_rate(path))
        return self._times[video]

    def _info(self, video: str) -> VideoInfo:
        if video not in self._infos:
            from tubelet.media.frames import open_film  # PyAV loads slowly

            path = self.path(video)
            if path is None:
                raise self._no_rate(video)
            with open_film(path, fps=self._folder_rate(path), threads=1) as film:
                self._infos[video] = film.info
        return self._infos[video]

    def _folder_rate(self, path: Path) -> float | None:
        return self.options.fps if path.is_dir() else None

    def _other_rate(self, video: str, rate: float) -> bool:
        return abs(self._info(video).fps / rate - 1) > _SAME_RATE

    def _by_rate(self, video: str, frame: int, rate: float | None, where: object) -> int:
        if rate is None:
            raise self._no_rate(video)
        if "rate" not in self._told:
            self._told.add("rate")
            ungiven = ", as the films were not given" if self.options.videos is None else ""
            self.ledger.note(f"times: frames at {rate:g} a second, the first at 0 s{ungiven}")
        return seconds_to_us(frame / rate, where)

    def _no_rate(self, video: str) -> InputError:
        if self.options.videos is not None:
            there = _films_in(self.options.videos)
            return InputError(
                f"no film {video!r} in the folder of videos, which would tell its frames' times",
                where=self.options.videos,
                got=", ".join(there[:8]) or "no film",
                hint=did_you_mean(video, there)
                or "name the film as the file does, or state a rate",
                arguments=("videos", "fps", "video"),
            )
        return InputError(
            f"missing frame rate: {self._tool} counts frames",
            where=f"video {video!r}",
            hint="provide fps, or the folder of the videos",
            arguments=("fps", "videos"),
        )


def _films_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise InputError("the video folder does not exist", where=folder)
    entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    films = {film_id(p.name) for p in entries if p.suffix.lower() in EXTENSIONS}
    return sorted(films | {p.name for p in entries if p.is_dir()})
