"""`tubelet correct`: results with the identities that were corrected on the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tubelet.answers import SENSITIVE_THRESHOLD
from tubelet.cli.console import note, out
from tubelet.files import make_folder
from tubelet.render.actions import write_actions
from tubelet.render.export import TubesFile, read_tubes, write_tubes
from tubelet.render.identities import read_identities, with_identities
from tubelet.render.made_by import MadeBy
from tubelet.render.overlay import write_overlay
from tubelet.render.page import write_page
from tubelet.render.timeline import Spans
from tubelet.render.withheld import shown
from tubelet.results import Tube


def correct(
    results: Path, identities: Path, folder: Path, video: Path | None, fps: float | None
) -> None:
    """Write `tubes.json` and `actions.csv` anew, and overlay and page where the film is given;
    actions start and end at the scores at which they did. Raises as `read_tubes` and
    `read_identities` do."""
    file = read_tubes(results / "tubes.json" if results.is_dir() else results)
    tubes = with_identities(file.tubes, read_identities(identities))
    spans, sensitive = _shown_from(file.made_by)
    make_folder(folder)
    end_ms = None if file.video is None else file.video.start_ms + file.video.duration_ms
    write_tubes(
        folder / "tubes.json",
        tubes,
        video=file.video,
        labels=file.labels,
        every_ms=file.every_ms,
        made_by=file.made_by,
    )
    seen = shown(tubes, spans=spans, sensitive_threshold=sensitive, every_ms=file.every_ms).tubes
    write_actions(
        folder / "actions.csv", seen, spans=spans, every_ms=file.every_ms, film_end_ms=end_ms
    )
    if video is not None:
        _pictures(video, file, seen, spans, folder, fps)
    out.print(f"{len(file.tubes)} tracks are {len(tubes)} people: {folder}")


def _shown_from(made_by: MadeBy | None) -> tuple[Spans, float]:
    """When actions start and end, and the least score of sensitive ones, as they were chosen."""
    if made_by is None:
        return Spans(), SENSITIVE_THRESHOLD
    spans = Spans(on=made_by.threshold, off=made_by.off, least_ms=made_by.least_ms)
    chosen = made_by.sensitive_threshold
    return spans, SENSITIVE_THRESHOLD if chosen is None else chosen


def _pictures(
    video: Path,
    file: TubesFile,
    tubes: Sequence[Tube],
    spans: Spans,
    folder: Path,
    fps: float | None,
) -> None:
    write_overlay(
        video,
        tubes,
        folder / "overlay.mp4",
        spans=spans,
        every_ms=file.every_ms,
        fps=fps,
        made_by=file.made_by,
        on_note=note,
    )
    write_page(
        folder / "report.html",
        video,
        tubes,
        spans=spans,
        every_ms=file.every_ms,
        fps=fps,
        made_by=file.made_by,
    )
