"""A folder of extracted frames read as a video: `img_00001.jpg`, `video_000001.jpg`, PNG as well.

MMAction2 and PySlowFast extract frames into such folders. The files of one folder share a name up
to their number, which counts on without a gap; the first is shown at 0 ms, whatever its number. The
rate is not in the files, so the caller has to state it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from tubelet.errors import InputError, VideoError
from tubelet.film_ids import ids_of
from tubelet.media.decoder import Image, Orientation, Picture, Scaler, explain
from tubelet.media.video import Frame, Video, VideoInfo
from tubelet.media.yuv import YuvFrame, yuv_frames
from tubelet.types import Kernel

_NAME = re.compile(r"(?P<prefix>.*?)(?P<number>\d{1,9})\.(?P<kind>jpe?g|png)", re.IGNORECASE)
_CODECS = {"jpg": "mjpeg", "jpeg": "mjpeg", "png": "png"}
_JPEG_END, _JPEG_TAIL = b"\xff\xd9", 64
# Where optical flow lies beside the pictures (flow_x_…, flow_y_…), these are the pictures.
_PICTURES = "img_"


class FrameFolder:
    """A folder of numbered pictures with the interface of `Video`; a context manager.

    `fps`: frames per second that the pictures were extracted at. Opening decodes the first picture.
    Raises InputError when the folder is missing or `fps` is invalid, VideoError (naming the file)
    for no picture, a gap in the numbers, a picture that cannot be decoded or whose size
    differs from the first one's.
    """

    damage: str | None = None

    def __init__(self, path: str | Path, *, fps: float) -> None:
        self.path = Path(path)
        if not 0 < fps < 10_000:
            raise InputError("invalid frame rate", where=path, got=fps)
        self._fps = fps
        self._files = _series(self.path)
        first = self._picture(0)
        self._stored_hw = first.height, first.width
        self._orientation = Orientation.of(first)
        height, width = self._stored_hw[::-1] if self._orientation.transpose else self._stored_hw
        self._scalers: dict[tuple[tuple[int, int], Kernel], Scaler] = {}
        self.info = VideoInfo(
            path=self.path,
            width=width,
            height=height,
            fps=float(fps),
            start_ms=0,
            duration_ms=self._time_ms(len(self._files)),
            frame_count=len(self._files),
            rotation=self._orientation.clockwise,
            mirrored=self._orientation.mirrored,
            codec=_CODECS[self._files[0].suffix[1:].lower()],
        )

    def frames(
        self,
        hw: tuple[int, int] | None = None,
        start_ms: int | None = None,
        *,
        keep_source: bool = False,
        kernel: Kernel = "swscale",
    ) -> Iterator[Frame]:
        """Frames in order, as `Video.frames` gives them; beginning later reads nothing before."""
        if hw is not None and min(hw) < 1:
            raise InputError("frames need at least one pixel", expected="(H, W) ≥ 1", got=hw)
        size = hw or self.info.hw
        for time_ms, picture in self._pictures(start_ms):
            source = partial(self._scaled, picture) if keep_source else None
            yield Frame(time_ms, self._scaler(size, kernel)(picture), source)

    def yuv_frames(self, hw: tuple[int, int]) -> Iterator[YuvFrame]:
        """All frames in YUV 4:2:0, as `Video.yuv_frames` gives them."""
        return yuv_frames(self._pictures(None), self._orientation, hw)

    def _pictures(self, start_ms: int | None) -> Iterator[Picture]:
        first = 0 if start_ms is None else max(0, int(start_ms * self._fps / 1000) - 1)
        for index in range(first, len(self._files)):
            time_ms = self._time_ms(index)
            if start_ms is None or time_ms >= start_ms:
                picture = self._picture(index)
                self._check_size(index, picture)
                yield time_ms, picture

    def close(self) -> None:
        """Nothing is held open; here because `Video` has it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _time_ms(self, index: int) -> int:
        return int(index * 1000 / self._fps + 0.5)

    def _scaled(self, picture: VideoFrame, hw: tuple[int, int]) -> Image:
        return cast("Image", self._scaler(hw)(picture))  # swscale gives bytes

    def _scaler(self, hw: tuple[int, int], kernel: Kernel = "swscale") -> Scaler:
        if (hw, kernel) not in self._scalers:
            self._scalers[hw, kernel] = Scaler(hw, self._orientation, kernel)
        return self._scalers[hw, kernel]

    def _check_size(self, index: int, picture: VideoFrame) -> None:
        if (picture.height, picture.width) != self._stored_hw:
            raise VideoError(
                "the frames of a folder differ in size",
                where=self._files[index],
                expected="{1}×{0} pixels as in {2}".format(*self._stored_hw, self._files[0].name),
                got=f"{picture.width}×{picture.height}",
                hint="extract the frames again",
            )

    def _picture(self, index: int) -> VideoFrame:
        path = self._files[index]
        try:
            codec = CodecContext.create(_CODECS[path.suffix[1:].lower()], "r")
            context = cast("VideoCodecContext", codec)
            context.thread_count = 1
            data = path.read_bytes()
            found = [*context.decode(Packet(data)), *context.decode(None)]
        except (FFmpegError, OSError, ValueError) as error:
            raise _unreadable(path, explain(error)) from error
        # FFmpeg decodes half a JPEG silently; a whole one says where it ends.
        cut = codec.name == "mjpeg" and _JPEG_END not in data[-_JPEG_TAIL:]
        if not found or found[0].is_corrupt or cut:
            raise _unreadable(path, "incomplete picture" if found else "no picture in the file")
        return found[0]


def open_film(path: str | Path, *, fps: float | None = None, threads: int = 0) -> Film:
    """The video file at `path`, or the folder of frames there, extracted at `fps`.

    Raises InputError for a folder without `fps`, and as `Video` and `FrameFolder` do.
    """
    if not Path(path).is_dir():
        return Video(path, threads=threads)
    if fps is None:
        raise InputError(
            "missing frame rate for a folder of frames",
            where=path,
            hint="state the rate the frames were extracted at",
            arguments=("fps",),
        )
    return FrameFolder(path, fps=fps)


Film = Video | FrameFolder


def video_name(path: Path) -> str:
    """What a video is called that was named by itself: `film_ids.ids_of` it alone."""
    return ids_of([path])[0]


class _File(NamedTuple):
    number: int
    path: Path


def _series(folder: Path) -> list[Path]:
    """The numbered pictures of a folder in order."""
    if not folder.is_dir():
        raise InputError("folder of frames not found", where=folder, hint="check the path")
    found: dict[str, list[_File]] = {}
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and not path.name.startswith("."):
            found.setdefault(match["prefix"], []).append(_File(int(match["number"]), path))
    if not found:
        raise VideoError(
            "no frames in the folder",
            where=folder,
            expected="img_00001.jpg, img_00002.jpg, …",
            hint="extract the frames, or pass the video file",
        )
    if len(found) > 1 and _PICTURES not in found:
        raise VideoError(
            "the folder contains frames of several videos",
            where=folder,
            expected="files that share a name up to their number",
            got=", ".join(f"{p}*" for p in sorted(found)[:4]),
        )
    files = sorted(found[_PICTURES] if len(found) > 1 else next(iter(found.values())))
    for one, two in pairwise(files):
        if two.number != one.number + 1:
            raise VideoError(
                "missing frame" if two.number > one.number else "duplicate frame",
                where=folder,
                expected=f"number {one.number + 1} after {one.path.name}",
                got=two.path.name,
                hint="extract the frames again",
            )
    return [file.path for file in files]


def _unreadable(path: Path, reason: str) -> VideoError:
    return VideoError(
        f"cannot decode the frame: {reason}", where=path, hint="extract the frames again"
    )
