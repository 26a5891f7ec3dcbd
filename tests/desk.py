"""A desk for one of the public cases: its files and the shared films in a folder of its own, and
`tubelet` typed there."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tubelet.cli import main
from tubelet.data.annotations import Annotations
from tubelet.data.labelmaps import read_label_map
from tubelet.data.tables import read_ava_csv


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered: its exit code, and what it wrote to the two streams."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Desk:
    """`folder`: the case's files; its films lie in `../videos` as the case's commands say."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def run(self, command: str) -> Answer:
        """One command line of `tubelet`, run inside the folder."""
        self.capture.readouterr()
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            code = main(shlex.split(command.removeprefix("tubelet ")))
        finally:
            os.chdir(before)
        streams = self.capture.readouterr()
        return Answer(code, streams.out, streams.err)

    def table(self, name: str) -> Annotations:
        """An AVA CSV that a command wrote."""
        return read_ava_csv(self.folder / name)

    def times(self, name: str) -> dict[str, list[float]]:
        """Its seconds, video by video, each once."""
        frame = self.table(name).frame
        found: dict[str, list[float]] = {}
        for video, time_us in frame.select("video", "time_us").unique().sort("time_us").iter_rows():
            found.setdefault(video, []).append(time_us / 1e6)
        return dict(sorted(found.items()))

    def both(self, out: str) -> Annotations:
        """Both halves of a prepared set."""
        return Annotations.concat([self.table(f"{out}/train.csv"), self.table(f"{out}/val.csv")])

    def classes(self, out: str) -> tuple[str, ...]:
        """The classes of a prepared set."""
        return read_label_map(self.folder / out / "labels.pbtxt").names

    def said(self, out: str) -> dict[tuple[str, int | None], set[str]]:
        """What a prepared set says of each person: (video, person id) → class names."""
        labels = read_label_map(self.folder / out / "labels.pbtxt")
        found: dict[tuple[str, int | None], set[str]] = {}
        rows = self.both(out).frame.select("video", "person", "label").iter_rows()
        for video, person, label in rows:
            names = found.setdefault((video, person), set())
            if label is not None:
                names.add(labels.names[labels.column(label)])
        return found


DeskOf = Callable[[str], Desk]


def lay_out(shared: Path, case: str, root: Path, capture: pytest.CaptureFixture[str]) -> Desk:
    """A copy of the case below `root`; skips where the reference folder lacks it."""
    source = shared / "cases" / case
    if not source.is_dir():
        pytest.skip(f"needs the public case, absent here: {source}")
    shutil.copytree(source, root / case)
    (root / "videos").symlink_to(shared / "cases" / "videos", target_is_directory=True)
    return Desk(root / case, capture)
