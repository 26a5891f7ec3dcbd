"""One decoding pass over a file: packets → pictures with exact times, upright RGB pixels.

The private half of `video.py`. Three rules make a picture depend on its time alone, and not on
how it was reached:

- after a seek, only pictures at or after the key frame it landed on count: the pictures that
  precede it in presentation order (open GOP) depend on frames that were never decoded;
- where the landing lies after the wanted time, or the container's index cannot be trusted,
  decoding starts earlier, in the end at the file's first packet;
- at the first sign of damage decoding falls back to one thread, whose results do not depend on
  timing, and what depends on a lost packet is left out up to the next key frame.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path
from struct import unpack
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tubelet.errors import InputError, VideoError
from tubelet.media.kernels import resample
from tubelet.types import Kernel, Pixels

Image = npt.NDArray[np.uint8]
Picture = tuple[int, VideoFrame]

# Containers whose index gives exact presentation times after a seek. AVI and MPEG streams do not:
# FFmpeg guesses their stamps from what it has read so far.
_INDEXED = frozenset({"mp4", "matroska", "webm", "mpegts"})
_SEEK_TRIES = 4
_BAD_PACKETS_IN_A_ROW = 200
_PACKETS_WITHOUT_PICTURE = 10_000
_REORDER = 3
# Closer to the start than this, reading from the start costs no more than a seek.
NEAR_MS = 1000


@dataclass(slots=True)
class Damage:
    """What went wrong in a pass that still produced pictures."""

    bad_packets: int = 0
    concealed: int = 0
    reasons: tuple[str, ...] = ()

    def note(self, reason: str) -> None:
        """Keep a reason once; the first three are enough to act on."""
        if reason not in self.reasons and len(self.reasons) < 3:
            self.reasons += (reason,)

    def __str__(self) -> str:
        parts = list(self.reasons)
        if self.bad_packets:
            parts.append(f"{self.bad_packets} packets skipped")
        if self.concealed:
            parts.append(f"{self.concealed} damaged frames, decoded in part")
        return "; ".join(parts)


class _DamageSignError(Exception):
    """A multi-threaded pass met something odd; the pass goes on with one thread."""


def explain(error: Exception) -> str:
    """FFmpeg's reason in one line, without the errno and the path."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    log = getattr(error, "log", None)
    return f"{text} ({log[2].strip()})" if log and log[2].strip() else str(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """How stored pixels become upright: transpose, then mirror x, then mirror y."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """From the display matrix, its angle taken to the nearest quarter turn."""
        try:
            found: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV cannot list side data of a kind it does not know (multi-view HEVC).
            return cls.turned(frame.rotation)
        if found is None:
            return cls()
        a, b, _, c, d = unpack("=5i", bytes(found)[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(mirror_x=a < 0, mirror_y=d < 0)
        return cls(transpose=True, mirror_x=c < 0, mirror_y=b < 0)

    @classmethod
    def turned(cls, degrees: float) -> Orientation:
        """A pure rotation, counterclockwise as FFmpeg counts it."""
        quarter = round(degrees / 90) % 4
        return cls(
            transpose=quarter % 2 == 1, mirror_x=quarter in (2, 3), mirror_y=quarter in (1, 2)
        )

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged, beyond any rotation."""
        return self.transpose ^ self.mirror_x ^ self.mirror_y

    @property
    def clockwise(self) -> int:
        """The rotation in degrees, applied after the mirroring of x if `mirrored`."""
        if self.transpose:
            return 90 if self.mirror_x else 270
        return 180 if self.mirror_y else 0

    def apply(self, image: Image) -> Image:
        """The upright image, or one plane of it, contiguous."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


class Scaler:
    """Decoded picture → upright RGB `(H, W, 3)` u8 of one size, resized inside swscale, or as RGB
    by one of the other kernels.

    YUV is first shrunk as 4:2:0, then turned into RGB at the small size: half the time of doing
    it in one step. Colour matrix and range follow the picture's tags (untagged: BT.601, limited).
    """

    def __init__(
        self, hw: tuple[int, int], orientation: Orientation, kernel: Kernel = "swscale"
    ) -> None:
        self._orientation = orientation
        self._hw, self._kernel = hw, kernel
        self._stored_hw = hw[::-1] if orientation.transpose else hw
        self._shrink, self._colour = VideoReformatter(), VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        if self._kernel != "swscale":
            return resample(self._upright(frame, frame.height, frame.width), self._hw, self._kernel)
        height, width = self._stored_hw
        resized = (frame.height, frame.width) != (height, width)
        if resized and not frame.format.is_rgb and frame.format.name != "pal8":
            frame = self._shrink.reformat(frame, width, height, "yuv420p", threads=1)
        return self._upright(frame, height, width)

    def _upright(self, frame: VideoFrame, height: int, width: int) -> Image:
        rgb = self._colour.reformat(frame, width, height, "rgb24", threads=1)
        return self._orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


def check_file(path: Path) -> None:
    """Raise InputError or VideoError unless `path` is a regular file with something in it."""
    if not path.exists():
        raise InputError("video not found", where=path, hint="check the path")
    if path.is_dir():
        raise InputError(
            "expected a video file, got a folder",
            where=path,
            hint="pass the files in it, or state the rate if it holds a video's frames",
            arguments=("fps",),
        )
    if not path.is_file():
        raise InputError("not a regular file", where=path, hint="copy the stream to a file first")
    if path.stat().st_size == 0:
        raise VideoError("the video file is empty (0 bytes)", where=path, hint="copy it again")


class Decoder:
    """An open file and its first real video stream. `damage` tells what was wrong so far."""

    def __init__(self, path: Path, threads: int) -> None:
        check_file(path)
        self.path = path
        self.damage = Damage()
        self._threads = threads
        self._open()

    def _open(self) -> None:
        try:
            # Only local files: a playlist in disguise must not reach the network.
            self.container = av.open(
                f"file:{self.path}",
                options={"protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except (FFmpegError, OSError) as error:
            raise VideoError(
                f"cannot open the video: {explain(error)}",
                where=self.path,
                hint="check that it plays in another program; re-encode or copy it again",
            ) from error
        covers = Disposition.attached_pic
        streams = [s for s in self.container.streams.video if not s.disposition & covers]
        if not streams or streams[0].codec_context is None:
            what = "no decoder for the video's codec" if streams else "the file contains no video"
            kinds = sorted({s.type for s in self.container.streams})
            self.container.close()
            raise VideoError(
                what, where=self.path, expected="a video stream", got=kinds or "no stream"
            )
        self.stream = streams[0]
        self._time_base = self.stream.time_base or Fraction(1, 1000)
        self._used, self._landing = False, 0
        self.indexed = not _INDEXED.isdisjoint(self.container.format.name.split(","))
        # Going back after damage is cheap only where seeking works.
        self._alone = self._threads == 1 or not self.indexed
        self.stream.codec_context.thread_count = 1 if self._alone else self._threads
        self.stream.codec_context.thread_type = "AUTO"

    def close(self) -> None:
        self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen(self) -> None:
        self.container.close()
        self._open()

    def to_ms(self, stamp: int) -> int:
        """A stamp of the stream, rounded to whole milliseconds (half up)."""
        up, down = self._time_base.numerator, self._time_base.denominator
        return (2000 * stamp * up + down) // (2 * down)

    def measure(self, count: int | None = None) -> tuple[int, Fraction]:
        """Number of distinct timestamps in the first `count` packets (default all), and the seconds
        from the first of them to the last; packets without a stamp count as they come."""
        with Decoder(self.path, 1) as other:
            stamps = [p.pts for p in islice(other.container.demux(other.stream), count) if p.size]
        known = {s for s in stamps if s is not None}
        span = (max(known) - min(known)) * self._time_base if known else Fraction(0)
        return len(known) or len(stamps), span

    def pictures(self, start_ms: int | None = None) -> Iterator[Picture]:
        """(time, picture) in presentation order from `start_ms` on, times strictly ascending."""
        wanted = start_ms
        while True:
            try:
                for time_ms, frame in self._timed(wanted):
                    if wanted is None or time_ms >= wanted:
                        wanted = time_ms + 1
                        yield time_ms, frame
                return
            except _DamageSignError:
                self._threads, self.damage = 1, Damage()
                self._reopen()

    def _timed(self, start_ms: int | None) -> Iterator[Picture]:
        """Give each picture a time. Pictures come in presentation order, so where stamps do not
        (AVI with B-frames) neighbours exchange them; one that still does not ascend moves to a
        millisecond after its predecessor."""
        rate = self.stream.guessed_rate or self.stream.average_rate
        period = max(1, round(1000 / rate)) if rate else 40
        stamps: list[int] = []
        queue: deque[VideoFrame] = deque()
        newest = -period
        last: int | None = None
        for frame in chain(self._located(start_ms), repeat(None, _REORDER)):
            if frame is not None:
                newest = newest + period if frame.pts is None else self.to_ms(frame.pts)
                heapq.heappush(stamps, newest)
                queue.append(frame)
                if len(queue) <= _REORDER:
                    continue
            if queue:
                time_ms = heapq.heappop(stamps)
                if last is not None and time_ms <= last:
                    if last - time_ms > 1000:
                        self.damage.note(f"timestamps jump back at {last / 1000:.3f} s")
                    time_ms = last + 1
                last = time_ms
                yield time_ms, queue.popleft()

    def _located(self, start_ms: int | None) -> Iterator[VideoFrame]:
        """Pictures from some point at or before `start_ms`, sought backwards until it is."""
        origin = self.to_ms(self.stream.start_time or 0)
        target = start_ms
        for _ in range(_SEEK_TRIES if self.indexed else 0):
            if target is None or start_ms is None or target - origin < NEAR_MS:
                break
            try:
                self.container.seek(self._stamp(target), stream=self.stream)
            except FFmpegError:
                break
            self._landing = target
            pictures = self._decoded(sought=True)
            first = next(pictures, None)
            if first is not None and first.pts is not None and self.to_ms(first.pts) <= start_ms:
                yield first
                yield from pictures
                return
            target = min(target, self._landing) - 1
        if self._used:
            self._reopen()
        yield from self._decoded(sought=False)

    def _stamp(self, time_ms: int) -> int:
        return int(Fraction(time_ms, 1000) / self._time_base)

    def _decoded(self, *, sought: bool) -> Iterator[VideoFrame]:
        """Pictures from the current position; after a seek or a loss, from the next key frame."""
        self._used = True
        waiting, floor = sought, None
        sent = received = barren = bad = 0
        for packet in self._packets():
            if packet.size == 0 and packet.dts is not None:
                continue
            if waiting and packet.size:
                if not packet.is_keyframe:
                    self.damage.bad_packets += not sought
                    continue
                waiting, floor = False, packet.pts
                known = [self.to_ms(s) for s in (packet.pts, packet.dts) if s is not None]
                self._landing = min(known, default=self._landing)
            frames = self._decode(packet)
            if frames is None:
                frames, waiting, sought = self._drain(), True, False
                bad += 1
            elif frames:
                bad = 0
            sent, received = sent + (packet.size > 0), received + len(frames)
            barren = 0 if frames else barren + 1
            for frame in frames:
                if floor is None or frame.pts is None or frame.pts >= floor:
                    self._check(frame)
                    yield frame
            if bad > _BAD_PACKETS_IN_A_ROW or barren > _PACKETS_WITHOUT_PICTURE:
                self.damage.note("gave up: too many consecutive packets cannot be decoded")
                return
        if received < sent and not self._alone:
            # With several threads FFmpeg can drop the pictures and the error at the very end.
            raise _DamageSignError

    def _packets(self) -> Iterator[Packet[Any]]:
        """The stream's packets and an empty one at the end, which makes the decoder finish."""
        try:
            yield from self.container.demux(self.stream)
        except FFmpegError as error:
            self.damage.note(f"reading stopped: {explain(error)}")
            yield Packet()

    def _decode(self, packet: Packet[Any]) -> list[VideoFrame] | None:
        """The pictures that `packet` completes; None where it cannot be decoded."""
        try:
            return self.stream.decode(packet)
        except FFmpegError as error:
            if not self._alone:
                raise _DamageSignError from error
            self.damage.bad_packets += 1
            at = "" if packet.pts is None else f" at {self.to_ms(packet.pts) / 1000:.3f} s"
            self.damage.note(f"cannot decode{at}: {explain(error)}")
            return None

    def _drain(self) -> list[VideoFrame]:
        """What the decoder still holds from before a bad packet; it starts afresh after that."""
        context = self.stream.codec_context
        try:
            return context.decode(None)
        except FFmpegError:
            return []  # The loss itself is already noted by `_decode`.
        finally:
            context.flush_buffers()

    def _check(self, frame: VideoFrame) -> None:
        if frame.is_corrupt:
            if not self._alone:
                raise _DamageSignError
            self.damage.concealed += 1
