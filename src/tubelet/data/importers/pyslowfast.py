"""PySlowFast's frame lists: `original_vido_id video_id frame_id path labels`, one line per frame.

(Its predicted-boxes CSV is an AVA CSV of the kind `proposals`: see `tables.read_ava_csv`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tubelet.data.untrusted.reading import inside, read_text
from tubelet.errors import DataError

_HEADER = "original_vi"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameList:
    """`frames[video][i]` is the path, below the frame folder, of frame i of a video."""

    frames: Mapping[str, tuple[str, ...]]

    def paths(self, folder: str | Path, video: str) -> list[Path]:
        """The frames' paths below `folder`; DataError for one that points outside it."""
        if video not in self.frames:
            raise DataError(f"unknown video {video!r} in the frame list")
        return [inside(folder, path) for path in self.frames[video]]


def read_frame_list(path: str | Path) -> FrameList:
    """Frames in file order, as PySlowFast takes them. Raises DataError naming the row."""
    frames: dict[str, list[str]] = {}
    lines = read_text(path).splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None or not lines[first].lstrip().startswith(_HEADER):
        raise DataError(
            "invalid frame list",
            where=f"{path}, row {1 if first is None else first + 1}",
            expected="original_vido_id video_id frame_id path labels",
            got="an empty file" if first is None else lines[first][:80],
        )
    for number, line in enumerate(lines[first + 1 :], first + 2):
        cells = line.split()
        if not cells:
            continue
        where = f"{path}, row {number}"
        if len(cells) not in (4, 5):
            raise DataError("wrong number of columns", where=where, expected=5, got=len(cells))
        try:
            inside(".", cells[3])
        except DataError as error:
            raise DataError(
                "the frame path points outside its folder", where=where, got=error.got
            ) from None
        frames.setdefault(cells[0], []).append(cells[3])
    return FrameList(frames={video: tuple(paths) for video, paths in frames.items()})
