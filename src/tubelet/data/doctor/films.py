"""Whether the videos exist, contain the labelled keyframes, and have the expected frame rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tubelet.data.annotations import Annotations
from tubelet.data.doctor.findings import EXAMPLES, Case, DataSet, Finding, describe
from tubelet.data.untrusted.reading import find_video
from tubelet.errors import TubeletError

# 29.97 for 30 is a rounding of the name; 25 for 30 shifts every keyframe.
_RATE_TOLERANCE = 0.01


@dataclass(slots=True)
class _FoundVideos:
    """What was found about the videos of one set."""

    spans: list[tuple[str, float, float, float]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)


def check_films(case: Case, folder: Path) -> Iterator[Finding]:
    """Every check of this file; opens each video once."""
    for part in case.sets:
        seen = _look(part, folder)
        for severity, code, listed, message, fix in (
            ("error", "video-missing", seen.absent, "videos are not in the folder",
             f"put them into {folder}, named by their id"),
            ("error", "video-broken", seen.broken, "videos cannot be opened",
             "download or encode them again"),
            ("error", "video-id-unsafe", seen.unsafe, "video ids point outside the video folder",
             "rename them; such rows are never read"),
        ):  # fmt: skip
            if listed:
                yield Finding(
                    severity=severity,  # type: ignore[arg-type]
                    code=code,
                    subject=f"{part.name} truth",
                    message=message,
                    count=len(listed),
                    examples=tuple(listed[:EXAMPLES]),
                    fix=fix,
                )
        if seen.spans:
            yield from _outside(part.truth, seen, part.name)
            yield from _rates(seen, case.fps, part.name)


def _look(part: DataSet, folder: Path) -> _FoundVideos:
    from tubelet.media.video import probe  # PyAV loads slowly; only this check needs it

    seen = _FoundVideos()
    for video in part.truth.videos():
        try:
            path = find_video(folder, video)
        except TubeletError:
            seen.unsafe.append(repr(video)[:80])
            continue
        if path is None:
            seen.absent.append(video)
        elif path.is_file():
            try:
                info = probe(path)
            except TubeletError as error:
                seen.broken.append(f"{path.name}: {error.what}")
                continue
            end = info.start_ms + info.duration_ms
            seen.spans.append((video, info.start_ms, end, info.fps))
    return seen


def _outside(truth: Annotations, seen: _FoundVideos, name: str) -> Iterator[Finding]:
    """Keyframes before the first or after the last frame, with half a frame's tolerance."""
    schema = {"video": pl.String, **dict.fromkeys(("start", "end", "fps"), pl.Float64)}
    spans = pl.DataFrame(seen.spans, schema=schema, orient="row")
    rows = truth.frame.with_row_index("at").join(spans, on="video", maintain_order="left")
    time_ms, half_ms = pl.col("time_us") / 1000, 500 / pl.col("fps")
    out = rows.filter((time_ms < pl.col("start") - half_ms) | (time_ms > pl.col("end") + half_ms))
    if not len(out):
        return
    as_frames = (pl.col("time_us") / 1e3 / pl.col("fps")) <= pl.col("end") - pl.col("start")
    frames = bool(out.select(as_frames.all()).item())
    yield Finding(
        severity="error",
        code="keyframe-outside-film",
        subject=f"{name} truth",
        message="labelled keyframes are before the first or after the last frame of their video",
        count=len(out),
        examples=tuple(
            f"{describe(truth, at)} (video {start / 1000:.3f}–{end / 1000:.3f} s)"
            for at, start, end in out.select("at", "start", "end").head(EXAMPLES).iter_rows()
        ),
        fix="the times look like frame numbers: divide them by the frame rate"
        if frames
        else "times are seconds of the whole source video: was the file cut from a longer one?",
    )


def _rates(seen: _FoundVideos, expected: float | None, name: str) -> Iterator[Finding]:
    rates = [(video, fps) for video, _, _, fps in seen.spans]
    wanted = expected if expected is not None else rates[0][1]
    odd = [(v, fps) for v, fps in rates if abs(fps / wanted - 1) > _RATE_TOLERANCE]
    if not odd:
        return
    yield Finding(
        severity="warning" if expected is not None else "note",
        code="frame-rate",
        subject=f"{name} truth",
        message=f"videos are not at {wanted:g} frames per second"
        + ("" if expected is not None else ", as the first one does"),
        count=len(odd),
        examples=tuple(f"{video}: {fps:.4g}" for video, fps in odd[:EXAMPLES]),
        fix="set the model's input rate, so that its frame stride means the same time everywhere",
    )
