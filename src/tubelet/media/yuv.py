"""Frames as films store them, YUV 4:2:0: upright, resized, and never turned into RGB.

For whoever draws into a film and encodes it again: the way over RGB takes longer than decoding.
An image `(H·3/2, W)` u8 holds Y `(H, W)`, then U and V `(H/2, W/2)` each; H and W are even.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from tubelet.media.decoder import Image, Orientation, Picture

_YUV8 = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12"})
_BT709, _BT2020 = 1, (9, 10)
_UNTAGGED = 2
_LIMITED, _FULL = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """What a film says about its colours, in FFmpeg's numbers; 2 is "not said"."""

    matrix: int = _BT709
    primaries: int = _BT709
    transfer: int = _BT709
    full: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> ColourTags:
        """Of a decoded picture; those of BT.709 where it has to be converted (`_kept`)."""
        if not _kept(frame):
            return cls()
        return cls(
            matrix=int(frame.colorspace),
            primaries=int(frame.color_primaries),
            transfer=int(frame.color_trc),
            full=_is_full(frame),
        )

    @property
    def luma(self) -> tuple[float, float]:
        """Kr and Kb of the matrix; of BT.601 where none is said, as swscale takes it."""
        if self.matrix == _BT709:
            return 0.2126, 0.0722
        return (0.2627, 0.0593) if self.matrix in _BT2020 else (0.299, 0.114)


class YuvFrame(NamedTuple):
    """A frame's time, its own image `(H·3/2, W)`, and what its colours mean."""

    time_ms: int
    image: Image
    tags: ColourTags


def planes(image: Image) -> tuple[Image, Image, Image]:
    """Views of an image's Y, U and V."""
    height, width = image.shape[0] // 3 * 2, image.shape[1]
    u, v = image[height:].reshape(2, height // 2, width // 2)
    return image[:height], u, v


def yuv_frames(
    pictures: Iterator[Picture], orientation: Orientation, hw: tuple[int, int]
) -> Iterator[YuvFrame]:
    """Decoded pictures as images of the even, upright size `hw`.

    8-bit YUV keeps its values where the size does (chroma of 4:2:2 and 4:4:4 is thinned); other
    pictures, and those whose tags differ from the first one's, go over RGB.
    """
    scaler: _YuvScaler | None = None
    for time_ms, picture in pictures:
        scaler = scaler or _YuvScaler(ColourTags.of(picture), orientation, hw)
        yield YuvFrame(time_ms, scaler(picture), scaler.tags)


class _YuvScaler:
    """Decoded picture → upright image of one size and of the same tags."""

    def __init__(self, tags: ColourTags, orientation: Orientation, hw: tuple[int, int]) -> None:
        self.tags = tags
        self._orientation = orientation
        self._hw, self._stored_hw = hw, hw[::-1] if orientation.transpose else hw
        self._shrink, self._colour, self._back = (VideoReformatter() for _ in range(3))

    def __call__(self, frame: VideoFrame) -> Image:
        height, width = self._stored_hw
        if _kept(frame) and ColourTags.of(frame) == self.tags:
            kind = "yuvj420p" if self.tags.full else "yuv420p"
            if (frame.format.name, frame.height, frame.width) != (kind, height, width):
                frame = self._shrink.reformat(frame, width, height, kind, threads=1)
        else:
            rgb = self._colour.reformat(frame, width, height, "rgb24", threads=1)
            frame = self._back.reformat(
                rgb,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709
                if self.tags.matrix == _BT709
                else Colorspace.ITU601,
                dst_color_range=ColorRange.JPEG if self.tags.full else ColorRange.MPEG,
                threads=1,
            )
        image = np.empty((self._hw[0] * 3 // 2, self._hw[1]), np.uint8)
        for target, plane in zip(planes(image), frame.planes, strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            target[:] = self._orientation.apply(rows[:, : plane.width])
        return image


def _kept(frame: VideoFrame) -> bool:
    """Whether the picture's values can stay as they are."""
    return frame.format.name in _YUV8


def _is_full(frame: VideoFrame) -> bool:
    return frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL
