"""Open a video, ask what it is, and iterate its frames: upright, square pixels, exact times.

Times are integer milliseconds on the source's own timeline: a file whose first frame is stamped
1.467 s (MPEG-TS) or 10 s (cut from a longer film) keeps that offset, as do the AVA tables that
refer to such files. All frames of a video have the same size, that of its first frame made upright
and square, so that boxes in [0, 1] mean the same place throughout. HDR is not tone-mapped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import numpy as np
from av.video.frame import VideoFrame

from tubelet.errors import InputError, VideoError
from tubelet.film_ids import EXTENSIONS, ids_of
from tubelet.media.decoder import NEAR_MS, Decoder, Image, Orientation, Picture, Scaler
from tubelet.media.yuv import YuvFrame, yuv_frames
from tubelet.types import Kernel, Pixels

_MEASURED_PACKETS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Properties of a video.

    `width`, `height`: pixels of the upright frame with square pixels, as `Video.frames` gives it.
    `fps`: average rate that the time stamps show (a bogus header rate is measured anew).
    `start_ms`: time of the first frame; `duration_ms` from there, as the header claims.
    `frame_count`: as the header claims, None if unknown; damaged files contain fewer.
    `rotation`: degrees clockwise that made the stored frame upright (after mirroring it left–right
    where `mirrored`).
    """

    path: Path
    width: int
    height: int
    fps: float
    start_ms: int
    duration_ms: int
    frame_count: int | None
    rotation: int
    mirrored: bool
    codec: str

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def end_ms(self) -> int:
        """The moment at which the last frame stops being shown, as the header claims."""
        return self.start_ms + self.duration_ms


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame: `time_ms` on the source's timeline, `pixels` `(H, W, 3)` RGB, upright: u8, or
    float32 grey levels by the kernel "torch".

    `source`: the decoded picture, where it was kept for `resized`.
    """

    time_ms: int
    pixels: Pixels
    source: Callable[[tuple[int, int]], Image] | None = field(default=None, repr=False)

    @property
    def image(self) -> Image:
        """The pixels as bytes."""
        pixels = self.pixels if self.pixels.dtype == np.uint8 else np.rint(self.pixels)
        return pixels.astype(np.uint8, copy=False)

    def resized(self, hw: tuple[int, int]) -> Image:
        """The frame as bytes at another upright size, from the decoded picture.

        Raises InputError where the size differs and the picture was not kept.
        """
        if self.pixels.shape[:2] == hw and self.pixels.dtype == np.uint8:
            return self.image
        if self.source is None:
            raise InputError(
                "the decoded picture of this frame was not kept",
                expected=f"{self.pixels.shape[:2]}",
                got=hw,
                hint="ask for frames(..., keep_source=True)",
            )
        return self.source(hw)


class Video:
    """A video opened for reading; a context manager.

    `threads`: of the decoder, 0 lets FFmpeg choose; use 1 inside worker processes.
    Opening decodes the first frame, so that a file without frames fails here. Raises

    InputError when the path is missing or not a file, VideoError when the file is not a video or
    none of its frames can be decoded.
    """

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        self.path = Path(path)
        self._threads = threads
        self._pass = Decoder(self.path, threads)
        self._open = {self._pass}
        self._scalers: dict[tuple[tuple[int, int], Kernel], Scaler] = {}
        try:
            pictures = self._pass.pictures()
            first = next(pictures, None)
            if first is None:
                raise VideoError(
                    "no frame of the video can be decoded",
                    where=self.path,
                    got=self.damage or "a video stream without pictures",
                    hint="check that it plays in another program; re-encode or copy it again",
                )
            self._orientation = Orientation.of(first[1])
            self.info = _describe(self._pass, first, self._orientation)
        except BaseException:
            self.close()
            raise
        self._opening: Iterator[Picture] | None = chain([first], pictures)

    def frames(
        self,
        hw: tuple[int, int] | None = None,
        start_ms: int | None = None,
        *,
        keep_source: bool = False,
        kernel: Kernel = "swscale",
    ) -> Iterator[Frame]:
        """Frames in presentation order, times strictly ascending.

        `hw`: upright size to resize to, default the source's own; `kernel`: inside the decoder, or
        after it as an upstream project does.
        `start_ms`: begin with the first frame at or after it; the frames are bit-identical to
        those of a pass from the beginning. Each call is a pass of its own.
        `keep_source`: let `Frame.resized` give other sizes; each frame then holds its picture.

        A damaged file gives the frames that can be decoded; `damage` then says what is missing.
        """
        if hw is not None and min(hw) < 1:
            raise InputError("frames need at least one pixel", expected="(H, W) ≥ 1", got=hw)
        scaler = self._scaler(hw or self.info.hw, kernel)
        for time_ms, picture in self._pictures(start_ms):
            source = partial(self._scaled, picture) if keep_source else None
            yield Frame(time_ms, scaler(picture), source)

    def yuv_frames(self, hw: tuple[int, int]) -> Iterator[YuvFrame]:
        """All frames as the film stores them, in YUV 4:2:0, at the upright size `hw`, both sides
        even: for films made from this one (`media.yuv`). A pass of its own, as `frames`."""
        return yuv_frames(self._pictures(None), self._orientation, hw)

    def _scaled(self, picture: VideoFrame, hw: tuple[int, int]) -> Image:
        return cast("Image", self._scaler(hw)(picture))  # swscale gives bytes

    def _scaler(self, hw: tuple[int, int], kernel: Kernel = "swscale") -> Scaler:
        if (hw, kernel) not in self._scalers:
            self._scalers[hw, kernel] = Scaler(hw, self._orientation, kernel)
        return self._scalers[hw, kernel]

    def _pictures(self, start_ms: int | None) -> Iterator[Picture]:
        """The first call goes on with the file as opened, later ones open it again."""
        opening, self._opening = self._opening, None
        decoder = self._pass if opening else Decoder(self.path, self._threads)
        self._pass = decoder
        self._open.add(decoder)
        near = start_ms is None or start_ms <= self.info.start_ms + NEAR_MS
        pictures = opening if opening and near else decoder.pictures(start_ms)
        try:
            for picture in pictures:
                if start_ms is None or picture[0] >= start_ms:
                    yield picture
        finally:
            decoder.close()
            self._open.discard(decoder)

    @property
    def damage(self) -> str | None:
        """What was wrong in the latest pass so far, in words; None for an undamaged file."""
        return str(self._pass.damage) or None

    def close(self) -> None:
        """Close the file; iterators of this video end."""
        self._opening = None
        for decoder in self._open:
            decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def probe(path: str | Path) -> VideoInfo:
    """What the video at `path` is; decodes one frame. Errors as `Video`."""
    with Video(path, threads=1) as video:
        return video.info


def find_videos(paths: str | Path | Iterable[str | Path], *, recursive: bool = False) -> list[Path]:
    """The videos in `paths`: files as given, folders as the video files in them.

    Files of a folder come in natural order (`clip2` before `clip10`), known by their extension;
    hidden ones are left out, and none comes twice. A folder without a video file that holds
    numbered pictures is a video itself, and so are such folders in one; if there is none of these
    either, its subfolders are searched. Raises InputError for a missing path or a folder without a
    video.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    found: dict[Path, Path] = {}
    for entry in map(Path, given):
        if not entry.is_dir():
            if not entry.exists():
                raise InputError("video or folder not found", where=entry, hint="check the path")
            found.setdefault(entry.resolve(), entry)
            continue
        inside = entry.rglob("*") if recursive else entry.iterdir()
        videos = [p for p in inside if p.suffix.lower() in EXTENSIONS and _visible(p, entry)]
        if not videos:
            inner = [p for p in entry.iterdir() if p.is_dir() and not p.name.startswith(".")]
            videos = [p for p in (entry, *inner) if holds_frames(p)]
        if not videos and not recursive:  # a folder of folders of films
            below = [p for p in entry.rglob("*") if p.suffix.lower() in EXTENSIONS]
            videos = [p for p in below if _visible(p, entry)]
        if not videos:
            raise InputError(
                "no video in the folder",
                where=entry,
                expected="files such as .mp4, .mov, .mkv, .webm or .avi, or numbered pictures",
                hint="pass the files themselves",
            )
        for video in sorted(videos, key=lambda p: _natural(p.relative_to(entry))):
            found.setdefault(video.resolve(), video)
    if not found:
        raise InputError("no video given", expected="at least one file or folder")
    return list(found.values())


def find_films(paths: Sequence[str | Path]) -> dict[str, Path]:
    """The videos in `paths` as `find_videos` finds them, each by its id (`film_ids.ids_of`)."""
    folders: dict[Path, Path] = {}
    for entry in map(Path, paths):
        if entry.is_dir() and not holds_frames(entry):
            folders |= dict.fromkeys(find_videos(entry), entry)
    videos = find_videos(paths)
    return dict(zip(ids_of(videos, folders), videos, strict=True))


def holds_frames(folder: Path) -> bool:
    """Whether pictures with a number at the end of their name lie in a folder."""
    pictures = (p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return any(p.stem[-1:].isdigit() and not p.name.startswith(".") for p in pictures)


def _visible(path: Path, folder: Path) -> bool:
    names = path.relative_to(folder).parts
    return path.is_file() and not any(name.startswith(".") for name in names)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: digits compare as numbers, letters without regard to case."""
    parts = re.findall(r"\d+|\D+", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _describe(decoder: Decoder, first: Picture, orientation: Orientation) -> VideoInfo:
    start_ms, frame = first
    stream, container = decoder.stream, decoder.container
    aspect = stream.sample_aspect_ratio or Fraction(1)
    # A ratio beyond these is a broken tag; FFmpeg's own players ignore it too.
    if not Fraction(1, 8) <= aspect <= 8:
        aspect = Fraction(1)
    size = frame.height, max(1, round(frame.width * aspect))
    height, width = size[::-1] if orientation.transpose else size
    fps = _rate(decoder)
    if stream.duration:
        duration = decoder.to_ms(stream.duration)
    elif container.duration:
        # In microseconds, and of the whole file: a late video stream ends with it.
        end = (container.duration + (container.start_time or 0)) // 1000
        duration = end - start_ms
    else:
        count, span = decoder.measure()
        duration = round(1000 * max(span, (count - 1) / Fraction(fps)) + 1000 / Fraction(fps))
    return VideoInfo(
        path=decoder.path,
        width=width,
        height=height,
        fps=fps,
        start_ms=start_ms,
        duration_ms=max(duration, round(1000 / fps)),
        frame_count=stream.frames or None,
        rotation=orientation.clockwise,
        mirrored=orientation.mirrored,
        codec=stream.codec_context.codec.canonical_name,
    )


def _rate(decoder: Decoder) -> float:
    """Frames per second: the header's where it counted its frames or agrees with itself."""
    stream = decoder.stream
    header = stream.average_rate
    counted = stream.frames and stream.duration
    if header and header < 240 and (counted or (header == stream.base_rate and header < 50)):
        return float(header)
    count, span = decoder.measure(_MEASURED_PACKETS)
    if span > 0:
        return float((count - 1) / span)
    return float(header) if header and header < 240 else 25.0
