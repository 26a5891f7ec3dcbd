"""The stamps of a film's frames: what a frame number means in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tubelet.errors import VideoError
from tubelet.media.decoder import Decoder
from tubelet.media.frames import open_film
from tubelet.types import Ints


def frame_times(path: str | Path, *, fps: float | None = None) -> Ints:
    """Times `(n,)` in milliseconds of every frame that `Video.frames` gives, in order.

    Read from the packets, without decoding, where the container stamps each of them; otherwise the
    film is decoded once. `fps`: of a folder of frames. Errors as `open_film`.
    """
    if Path(path).is_dir():
        with open_film(path, fps=fps) as folder:
            count, rate = folder.info.frame_count or 0, folder.info.fps
        return np.array([int(i * 1000 / rate + 0.5) for i in range(count)], np.int64)
    stamped = _stamped_packets(Path(path))
    if stamped is not None:
        return stamped
    with Decoder(Path(path), 1) as decoder:
        found = np.array([time_ms for time_ms, _ in decoder.pictures()], np.int64)
    if not len(found):
        raise VideoError("no frame of the video can be decoded", where=path)
    return found


def _stamped_packets(path: Path) -> Ints | None:
    """The packets' presentation times, sorted; None where they do not stand for the frames: an
    index that guesses (AVI), a packet without a stamp, two of one time, or another beginning than
    decoding finds (a first key frame that is missing)."""
    with Decoder(path, 1) as decoder:
        if not decoder.indexed:
            return None
        packets = [p for p in decoder.container.demux(decoder.stream) if p.size]
        shown = [p.pts for p in packets if not (p.is_discard or p.is_corrupt)]
        if not shown or any(stamp is None for stamp in shown):
            return None
        times = np.unique(np.array([decoder.to_ms(s) for s in shown if s is not None], np.int64))
        if len(times) != len(shown):
            return None
    with Decoder(path, 1) as decoder:
        first = next(decoder.pictures(), None)
    return times if first is not None and first[0] == times[0] else None
