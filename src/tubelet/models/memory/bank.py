"""The memory bank on disk: person tokens of every keyframe of every video (000 §2.3).

One safetensors file per video, written whole or not at all, so a build that was killed goes on with
the videos that are missing. Files are memory-mapped: reading touches only the rows of the window,
and a bank may be many times larger than memory. Every file carries the stamp of what made it.

Shape legend: L moments of a video, M people of all of them, S token positions, C their width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from tubelet.batch import Memory
from tubelet.checkpoints import read_header, save_checkpoint
from tubelet.errors import CheckpointError, InputError, ShapeError
from tubelet.files import make_folder
from tubelet.types import Ints, Key

SUFFIX = ".bank"
_OPEN = 32  # videos whose file stays mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class BankStamp:
    """The origin of a bank: sha256 of the weights that make tokens (with the clip they expect) and
    of the recipe, and the tokens' shape.

    `weights` is empty for a bank that is updated while its model trains.
    """

    weights: str
    recipe: str
    positions: int
    width: int


class Remembered(NamedTuple):
    """People of other moments: `tokens (M, S, C)`, `boxes (M, 4)` in [0, 1], `scores (M,)` of the
    person detector, `delta_ms (M,)` their time minus the moment's."""

    tokens: Tensor
    boxes: Tensor
    scores: Tensor
    delta_ms: Tensor


class BankReader(Protocol):
    """A store of people: a bank on disk, or one that is written as training goes on."""

    @property
    def stamp(self) -> BankStamp: ...

    def window(self, key: Key, *, before_ms: int, after_ms: int, people: int) -> Remembered:
        """People of the moments within [−before_ms, +after_ms] of `key`, without its own; at most
        `people` of a moment. Empty if the video is not in the bank."""
        ...


class MemoryBank:
    """A bank on disk, read-only. Raises InputError if the folder is absent, CheckpointError if
    its stamp is not `expected`."""

    def __init__(self, folder: Path, *, expected: BankStamp | None = None) -> None:
        if not folder.is_dir():
            raise InputError("memory bank not found", where=folder, hint="build it first")
        self._folder = folder
        self._files = {unquote(p.stem): p for p in sorted(folder.glob(f"*{SUFFIX}"))}
        self._open: OrderedDict[str, _Film] = OrderedDict()
        if not self._files:
            raise InputError("the memory bank is empty", where=folder, hint="build it first")
        self._stamp = read_stamp(next(iter(self._files.values())))
        if expected is not None:
            _check(self._stamp, expected, folder)

    @property
    def stamp(self) -> BankStamp:
        return self._stamp

    def videos(self) -> list[str]:
        """Videos the bank knows, sorted."""
        return sorted(self._files)

    def window(self, key: Key, *, before_ms: int, after_ms: int, people: int) -> Remembered:
        """As `BankReader.window`; raises CheckpointError for a file of another stamp."""
        if key.video not in self._files:
            return nobody(self._stamp)
        film = self._film(key.video)
        low = int(np.searchsorted(film.times, key.time_ms - before_ms, "left"))
        high = int(np.searchsorted(film.times, key.time_ms + after_ms, "right"))
        start, stop = int(film.offsets[low]), int(film.offsets[high])
        moment = np.repeat(np.arange(low, high), np.diff(film.offsets[low : high + 1]))
        rank = np.arange(start, stop) - film.offsets[moment]
        keep = torch.from_numpy((film.times[moment] != key.time_ms) & (rank < people))
        delta = torch.from_numpy(film.times[moment] - key.time_ms)
        parts = (film.rows(name, start, stop) for name in ("tokens", "boxes", "scores"))
        tokens, boxes, scores = (t if bool(keep.all()) else t[keep] for t in parts)
        return Remembered(tokens, boxes, scores, delta[keep])

    def _film(self, video: str) -> _Film:
        if video in self._open:
            self._open.move_to_end(video)
            return self._open[video]
        film = _Film(self._files[video])
        _check(film.stamp, self._stamp, self._files[video])
        self._open[video] = film
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return film


class _Film:
    """One video's file, mapped."""

    def __init__(self, path: Path) -> None:
        self.stamp = read_stamp(path)
        opened: Any = safe_open(path, framework="pt")
        self._file = opened.__enter__()
        self.times: Ints = self._file.get_tensor("times_ms").numpy()
        self.offsets: Ints = self._file.get_tensor("offsets").numpy()

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        values: Tensor = self._file.get_slice(name)[start:stop]
        return values


class BankWriter:
    """Fills a bank, one video at a time. Raises CheckpointError if the folder holds a bank of
    another stamp."""

    def __init__(self, folder: Path, stamp: BankStamp) -> None:
        self._folder, self._stamp = folder, stamp
        make_folder(folder)
        for path in folder.glob(f"*{SUFFIX}"):
            _check(read_stamp(path), stamp, path)

    def done(self, video: str) -> bool:
        """Whether the bank already holds this video."""
        return self._path(video).is_file()

    def write(
        self,
        video: str,
        *,
        times_ms: Ints,
        counts: Sequence[int],
        tokens: Tensor,
        boxes: Tensor,
        scores: Tensor,
    ) -> None:
        """Store a whole video: ascending `times_ms (L,)`, people at each `counts (L,)`, and their
        `tokens (M, S, C)`, `boxes (M, 4)`, `scores (M,)`, best score first within a moment."""
        stamp, people = self._stamp, int(sum(counts))
        if tokens.shape != (people, stamp.positions, stamp.width) or len(counts) != len(times_ms):
            raise ShapeError(
                "the tokens do not fit the bank",
                where=video,
                expected=f"({people}, {stamp.positions}, {stamp.width}) of {len(times_ms)} moments",
                got=f"{tuple(tokens.shape)} of {len(counts)} moments",
            )
        offsets = np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int64)
        save_checkpoint(
            self._path(video),
            {
                "times_ms": torch.from_numpy(np.asarray(times_ms, np.int64)),
                "offsets": torch.from_numpy(offsets),
                "tokens": tokens.half(),
                "boxes": boxes.float(),
                "scores": scores.float(),
            },
            {"bank": asdict(stamp), "video": video},
        )

    def _path(self, video: str) -> Path:
        return self._folder / f"{quote(video, safe='')}{SUFFIX}"


def memory_of(
    bank: BankReader, keys: Sequence[Key], *, before_ms: int, after_ms: int, people: int
) -> Memory:
    """What the bank remembers around each of the clips `keys`, as the relation head takes it."""
    found = [
        bank.window(key, before_ms=before_ms, after_ms=after_ms, people=people) for key in keys
    ]
    return as_memory(found, positions=bank.stamp.positions, width=bank.stamp.width)


def as_memory(found: Sequence[Remembered], *, positions: int, width: int) -> Memory:
    """Join what is remembered around clip 0, 1, … into one record."""
    sizes = torch.tensor([len(r.delta_ms) for r in found], dtype=torch.int64)
    return Memory(
        values=torch.cat([r.tokens.flatten(1) for r in found])
        if len(found)
        else torch.zeros(0, positions * width),
        group=torch.repeat_interleave(torch.arange(len(found)), sizes),
        delta_ms=torch.cat([r.delta_ms for r in found])
        if len(found)
        else torch.zeros(0, dtype=torch.int64),
    )


def nobody(stamp: BankStamp) -> Remembered:
    """An empty memory of the bank's own shape."""
    return Remembered(
        torch.zeros(0, stamp.positions, stamp.width, dtype=torch.float16),
        torch.zeros(0, 4),
        torch.zeros(0),
        torch.zeros(0, dtype=torch.int64),
    )


def read_stamp(path: Path) -> BankStamp:
    """The stamp of one video's file. Raises CheckpointError if it is not a bank's."""
    stamp: Mapping[str, Any] | None = read_header(path).get("bank")
    if stamp is None:
        raise CheckpointError("not a file of a memory bank", where=path)
    return BankStamp(**stamp)


def _check(found: BankStamp, expected: BankStamp, where: Path) -> None:
    if found == expected:
        return
    differ = [n for n, v in asdict(expected).items() if v != getattr(found, n)]
    raise CheckpointError(
        f"this memory bank was made by a different model: {', '.join(differ)} differ",
        where=where,
        expected=", ".join(f"{n} {getattr(expected, n)}" for n in differ),
        got=", ".join(f"{n} {getattr(found, n)}" for n in differ),
        hint="delete the folder and build the bank again with this model, or use its own weights",
    )
