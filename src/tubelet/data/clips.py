"""`ClipLabels`: the normal form of classification lists, where a class belongs to a whole clip."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tubelet.data.untrusted.reading import write_atomic
from tubelet.errors import DataError, ShapeError

CLIP_SCHEMA: dict[str, Any] = {
    "video": pl.String,
    "label": pl.Int64,
    "start_us": pl.Int64,
    "end_us": pl.Int64,
    "row": pl.UInt32,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipLabels:
    """Rows of (video, label, start_us, end_us, row) in file order.

    A clip with several labels (Charades) has several rows; `label` null is an unlabelled clip;
    `start_us` and `end_us` null mean the whole file. `row` is the line in `source`.
    """

    frame: pl.DataFrame
    source: str | None = None

    def __post_init__(self) -> None:
        if self.frame.schema != pl.Schema(CLIP_SCHEMA):
            raise ShapeError(
                "a clip table has the wrong columns",
                expected=", ".join(CLIP_SCHEMA),
                got=", ".join(self.frame.columns),
            )

    @classmethod
    def of(
        cls,
        rows: Sequence[tuple[str, int | None, int | None, int | None, int | None]],
        *,
        source: str | Path | None = None,
    ) -> ClipLabels:
        """A table of (video, label, start_us, end_us, row) tuples."""
        frame = pl.DataFrame(rows, schema=CLIP_SCHEMA, orient="row")
        return cls(frame=frame, source=None if source is None else str(source))

    def __len__(self) -> int:
        return self.frame.height

    def videos(self) -> list[str]:
        """The video ids, in file order, each once."""
        return self.frame["video"].unique(maintain_order=True).to_list()

    def labels_of_videos(self) -> dict[str, tuple[int, ...]]:
        """Each video's distinct class ids, videos and ids in file order."""
        grouped = self.frame.group_by("video", maintain_order=True).agg(
            pl.col("label").drop_nulls().unique(maintain_order=True)
        )
        return {video: tuple(labels) for video, labels in grouped.iter_rows()}

    def of_videos(self, videos: Collection[str]) -> ClipLabels:
        """The rows of these videos."""
        kept = self.frame.filter(pl.col("video").is_in(list(videos)))
        return ClipLabels(frame=kept, source=self.source)

    def intervals(self) -> dict[str, list[tuple[int, int | None, int | None]]]:
        """Each video's (label, start_us, end_us), in file order; unlabelled videos have none."""
        found: dict[str, list[tuple[int, int | None, int | None]]] = {v: [] for v in self.videos()}
        labelled = self.frame.drop_nulls("label").select("video", "label", "start_us", "end_us")
        for video, *interval in labelled.iter_rows():
            found[video].append(tuple(interval))
        return found


def write_clip_list(path: str | Path, clips: ClipLabels) -> None:
    """Write `video<tab>class id` lines, one per class of a video, as the format "paths" reads them.

    Times are not kept, and videos without a class are left out.
    """
    labels = clips.labels_of_videos()
    broken = next((v for v in labels if any(mark in v for mark in "\t\r\n")), None)
    if broken is not None:
        raise DataError("a video id with a tab or line break cannot be written", got=repr(broken))
    write_atomic(path, "".join(f"{v}\t{i}\n" for v, ids in labels.items() for i in ids))
