"""The result page: one HTML file with the video, the people's boxes over it, and a timeline.

The page makes no network requests: style, script, results and (below a limit) the film are
inside, and its content policy allows no more than those, by their hashes.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np

from tubelet.drawing.draw import colour_of
from tubelet.drawing.labels import ink_on
from tubelet.files import atomic_text, make_parent
from tubelet.media.frames import open_film
from tubelet.media.video import VideoInfo
from tubelet.media.writer import VideoWriter
from tubelet.render.html import as_json, hex_colour, render
from tubelet.render.made_by import MadeBy
from tubelet.render.timeline import DEFAULT_SPANS, Spans
from tubelet.results import MAX_GAP, Tube, interval

EMBED_LIMIT = 30_000_000
LEAST_SCORE = 0.04
"""The page's slider ends at 0.05 and an action lasts down to 0.8 of that; what never scores as much
is left out of the page."""

_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
_CODECS = frozenset({"h264", "vp8", "vp9", "av1"})


def write_page(
    out_path: str | Path,
    video_path: str | Path,
    tubes: Iterable[Tube],
    *,
    spans: Spans = DEFAULT_SPANS,
    every_ms: int | None = None,
    title: str | None = None,
    made_by: MadeBy | None = None,
    embed_limit: int = EMBED_LIMIT,
    fps: float | None = None,
) -> None:
    """Write the result page of one film.

    A film that browsers play (MP4 or WebM; H.264, VP8, VP9 or AV1 in 8-bit 4:2:0; starting at 0)
    is taken as it is, any other is re-encoded to H.264. Up to `embed_limit` bytes it lies inside
    the page; a larger one is referred to by its relative path, or, if it had to be re-encoded, is
    written beside the page under the page's name with `.mp4`. `spans`: when actions start and end;
    the page's slider starts at `on`, and moves `off` along with it. `every_ms` is the keyframes'
    interval, by default the tubes' own; `made_by` is shown below the title; `fps`:
    of a folder of frames.

    Raises as `Video` and `VideoWriter`; the page appears whole or not at all.
    """
    out, source = Path(out_path), Path(video_path)
    people = [tube for tube in tubes if len(tube)]
    with open_film(source, fps=fps, threads=1) as opened:
        info = opened.info
    make_parent(out)
    with tempfile.TemporaryDirectory(prefix=".tubelet-", dir=out.parent) as folder:
        film = source if playable(info) else _reencode(source, Path(folder) / "film.mp4", fps)
        embedded = film.stat().st_size <= embed_limit
        if not embedded and film is not source:
            film = film.replace(out.with_suffix(".mp4"))
        page = render(
            "page",
            script="page.js",
            media="blob:" if embedded else "'self' file:",
            title=title or source.name,
            summary=_summary(info, people),
            origin=() if made_by is None else (made_by.line(), *made_by.notes),
            threshold=f"{min(max(spans.on, 0.05), 0.95):.2f}",
            source=None if embedded else _relative(film, out.parent),
            media_type=_TYPES[film.suffix.lower()],
            embedded=base64.b64encode(film.read_bytes()).decode() if embedded else None,
            data=as_json(_data(info, people, spans, every_ms or interval(people))),
        )
    with atomic_text(out) as file:
        file.write(page)


def playable(info: VideoInfo) -> bool:
    """Whether browsers play the file as it is, on the timeline that the results speak of."""
    if info.path.suffix.lower() not in _TYPES or info.codec not in _CODECS:
        return False
    with av.open(str(info.path)) as container:
        pixels = container.streams.video[0].codec_context.pix_fmt
    return pixels in ("yuv420p", "yuvj420p") and info.start_ms == 0 and not info.mirrored


def _reencode(source: Path, film: Path, fps: float | None = None) -> Path:
    """Write a plain H.264 copy of the source to `film`, upright, with square pixels."""
    with (
        open_film(source, fps=fps) as video,
        VideoWriter(film, video.info.fps, video.info.hw) as writer,
    ):
        for frame in video.frames():
            writer.write(frame.image, frame.time_ms)
    return film


def _data(info: VideoInfo, people: Sequence[Tube], spans: Spans, every_ms: int) -> dict[str, Any]:
    """What the page's script reads; times are the source's, colours are of the overlay."""
    return {
        "film": info.path.name,
        "start_ms": info.start_ms,
        "duration_ms": max(info.duration_ms, 1),
        "fps": info.fps,
        "every_ms": every_ms,
        "threshold": spans.on,
        "release": spans.release,
        "least_ms": spans.least_ms,
        "max_gap": MAX_GAP,
        "labels": list(people[0].labels.names) if people else [],
        "tubes": [_tube(tube) for tube in people],
    }


def _tube(tube: Tube) -> dict[str, Any]:
    scores = np.round(np.asarray(tube.action_scores, np.float64), 4)
    colour = colour_of(tube.track_id)
    return {
        "id": tube.track_id,
        "name": tube.name,
        "sure": np.round(np.asarray(tube.person_scores, np.float64), 6).tolist(),
        "colour": hex_colour(colour),
        "ink": hex_colour(ink_on(colour)),
        "times": tube.times_ms.tolist(),
        "boxes": np.round(np.asarray(tube.boxes, np.float64), 4).tolist(),
        "path": {
            "times": tube.path_ms.tolist(),
            "boxes": np.round(np.asarray(tube.path_boxes, np.float64), 4).tolist(),
        },
        "scores": [
            [column, scores[:, column].tolist()]
            for column in np.flatnonzero(scores.max(axis=0) >= LEAST_SCORE).tolist()
        ],
    }


def _summary(info: VideoInfo, people: Sequence[Tube]) -> str:
    known = len({tube.track_id for tube in people if tube.track_id >= 0})
    unknown = sum(tube.track_id < 0 for tube in people)
    count = f"{known} {'person' if known == 1 else 'people'}"
    if unknown:
        count += f" · {unknown} {'track' if unknown == 1 else 'tracks'} of unknown people"
    minutes, rest = divmod(round(info.duration_ms / 100), 600)
    length = f"{minutes} min {rest // 10} s" if minutes else f"{rest / 10:.1f} s"
    return f"{count} · {length} · {info.width}×{info.height} · {info.fps:.4g} fps"


def _relative(film: Path, folder: Path) -> str:
    """The film's address from the page's folder; absolute where no relative one exists."""
    try:
        return quote(Path(os.path.relpath(film.resolve(), folder.resolve())).as_posix())
    except ValueError:  # another drive
        return film.resolve().as_uri()
