"""Write an MP4 that browsers play: H.264, yuv420p, index first, written atomically."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from tubelet.errors import InputError, ShapeError, TubeletError, VideoError
from tubelet.files import cannot_write, part_of
from tubelet.media.decoder import explain
from tubelet.media.yuv import ColourTags, planes

# Divides every usual frame rate, NTSC's included, and whole milliseconds.
_CLOCK = 90_000
_LIMITED, _FULL = 1, 2


class VideoWriter:
    """Context manager that writes RGB or YUV images to `path` (.mp4, .m4v or .mov).

    `fps`: frames per second. `hw`: size of the images; an odd side is encoded one pixel larger,
    its edge repeated, because 4:2:0 needs even ones. `quality`: x264's CRF, smaller is better;
    `preset`: x264's, slower ones give smaller files. `tags`: of the YUV images of `write_yuv`;
    `comment`: a line that the file carries.
    The same images may give other bytes: x264 does not promise otherwise, and now and then differs.

    The file appears under its name on leaving the block; when that is left by an exception, or
    nothing was written, no file is left.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | float,
        hw: tuple[int, int],
        *,
        quality: int = 20,
        preset: str = "veryfast",
        tags: ColourTags | None = None,
        comment: str = "",
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in {".mp4", ".m4v", ".mov"}:
            raise InputError(
                "videos are written as MP4", where=path, expected=".mp4", got=self.path.suffix
            )
        if not self.path.parent.is_dir():
            raise InputError("folder not found", where=self.path.parent, hint="create it first")
        if not 0 < fps <= 1000 or min(hw) < 1:
            raise InputError(
                "invalid frame rate or size for a video", where=path, got=f"{fps} fps, size {hw}"
            )
        self.fps = Fraction(fps).limit_denominator(1001)
        self.hw = hw
        self._options = {"crf": str(quality), "preset": preset, "threads": "2"}
        self._tags, self._comment = tags or ColourTags(), comment
        self._partial = part_of(self.path)
        self._reformatter = VideoReformatter()
        self._first_ms: int | None = None
        self._last_stamp = -1
        self._written = 0

    def __enter__(self) -> Self:
        height, width = (edge + edge % 2 for edge in self.hw)
        try:
            self._container = av.open(
                str(self._partial), "w", format="mp4", options={"movflags": "+faststart"}
            )
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error
        if self._comment:
            self._container.metadata["comment"] = self._comment
        stream = self._container.add_stream("libx264", rate=self.fps, options=self._options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.colorspace, context.color_primaries = self._tags.matrix, self._tags.primaries
        context.color_trc = self._tags.transfer
        context.color_range = _FULL if self._tags.full else _LIMITED
        self._stream = stream
        return self

    def write(self, image: npt.NDArray[np.uint8], time_ms: int | None = None) -> None:
        """Add one image u8 `(H, W, 3)` RGB.

        `time_ms`: its own time (ascending; the film starts at the first), for a source of variable
        rate; without it, images follow at `fps`.
        """
        if image.shape != (*self.hw, 3) or image.dtype != np.uint8:
            raise ShapeError(
                "the image does not fit the video",
                where=self.path,
                expected=f"uint8 {(*self.hw, 3)}",
                got=f"{image.dtype} {image.shape}",
            )
        self._encode(self._picture(image), time_ms)

    def write_yuv(self, image: npt.NDArray[np.uint8], time_ms: int | None = None) -> None:
        """Add one image u8 `(H·3/2, W)` as `media.yuv` describes it; `time_ms` as in `write`."""
        height, width = self.hw
        if image.shape != (height * 3 // 2, width) or image.dtype != np.uint8 or height % 2:
            raise ShapeError(
                "the YUV image does not fit the video",
                where=self.path,
                expected=f"uint8 {(height * 3 // 2, width)}, sides even",
                got=f"{image.dtype} {image.shape}",
            )
        frame = VideoFrame(width, height, "yuv420p")
        for part, plane in zip(planes(image), frame.planes, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            rows[:, : plane.width] = part
        self._encode(frame, time_ms)

    def _encode(self, frame: VideoFrame, time_ms: int | None) -> None:
        frame.pts, frame.time_base = self._stamp(time_ms), Fraction(1, _CLOCK)
        try:
            self._container.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _picture(self, image: npt.NDArray[np.uint8]) -> VideoFrame:
        odd_h, odd_w = (edge % 2 for edge in self.hw)
        if odd_h or odd_w:
            image = np.pad(image, ((0, odd_h), (0, odd_w), (0, 0)), mode="edge")
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return self._reformatter.reformat(
            rgb,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )

    def _stamp(self, time_ms: int | None) -> int:
        if time_ms is None:
            stamp = round(self._written * _CLOCK / self.fps)
        else:
            if self._first_ms is None:
                self._first_ms = time_ms
            stamp = (time_ms - self._first_ms) * _CLOCK // 1000
        if stamp <= self._last_stamp:
            raise InputError(
                "times of written images must be ascending", where=self.path, got=time_ms
            )
        self._last_stamp = stamp
        self._written += 1
        return stamp

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
            else:
                # What is half written is discarded, and so is any error about it.
                with suppress(FFmpegError, OSError):
                    self._container.close()
        finally:
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._written == 0:
            self._container.close()
            raise VideoError("no images were written to the video", where=self.path)
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            with self._partial.open("rb+") as file:
                os.fsync(file.fileno())
            self._partial.replace(self.path)
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> TubeletError:
        full = cannot_write(self.path, error)
        if full is not None:
            return full
        height, width = self.hw
        return VideoError(
            f"cannot write: {explain(error)}", where=self.path, got=f"pictures of {width}x{height}"
        )
