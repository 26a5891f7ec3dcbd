"""A memory bank that is written as training sees clips.

Every keyframe has a fixed place in one memory-mapped file, which the processes of a machine share;
untouched places take no disk space. Each place has a version that is odd while it is written: a
reader that meets an odd or changing version takes the place for empty, and so does a run that was
killed half-way through it. Of several processes one writes; `SharedBank` sees to that.

Shape legend: L keyframes of all videos, P people per place, S token positions, C their width.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tubelet.errors import CheckpointError, DataError
from tubelet.files import atomic_path, make_folder
from tubelet.models.memory.bank import BankReader, BankStamp, Remembered, nobody
from tubelet.models.memory.journal import UndoJournal
from tubelet.types import Ints, Key

T = TypeVar("T")
_TOKENS, _INDEX = "tokens.bin", "index.json"


class Seen(NamedTuple):
    """The people of one moment, as training saw them: `tokens (N, S, C)`, `boxes (N, 4)` in [0, 1],
    `scores (N,)` of the person detector."""

    key: Key
    tokens: Tensor
    boxes: Tensor
    scores: Tensor


class LearningBank(BankReader, Protocol):
    """A bank that is filled by the training that reads it."""

    def remember(self, seen: Sequence[Seen]) -> None:
        """Keep the people of a step's moments in place of what was known of them."""
        ...

    def mark(self, step: int) -> None:
        """A checkpoint of `step` is about to be written: `restore(step)` comes back to now."""
        ...

    def settle(self, step: int) -> None:
        """The checkpoint of `step` is written; earlier ones are no longer needed."""
        ...

    def restore(self, step: int) -> None:
        """Forget what was seen after the checkpoint of `step`. Raises CheckpointError where that
        cannot be."""
        ...


class OnlineBank:
    """Opens the bank in `folder`, or makes an empty one.

    `keys` are the keyframes that may be written; the same keys, people and stamp must be given by
    every process and every resumed run. Raises CheckpointError if the folder holds another bank.
    """

    def __init__(
        self, folder: Path, *, keys: Sequence[Key], stamp: BankStamp, people: int = 5
    ) -> None:
        self._stamp, self._people = stamp, people
        ordered = sorted(set(keys))
        self._place = {key: i for i, key in enumerate(ordered)}
        self._times: dict[str, Ints] = {
            video: np.array([k.time_ms for k in members])
            for video, members in itertools.groupby(ordered, key=lambda k: k.video)
        }
        self._data = self._open(folder, ordered)
        self._journal = UndoJournal(folder, self._data)

    @property
    def stamp(self) -> BankStamp:
        return self._stamp

    def write(self, key: Key, tokens: Tensor, boxes: Tensor, scores: Tensor) -> None:
        """Remember the people of a moment in place of what was known of it: `tokens (N, S, C)`,
        `boxes (N, 4)`, `scores (N,)`; of more than P people those of the highest score."""
        if key not in self._place:
            raise DataError("unknown keyframe: no place in the memory bank", got=key)
        best = torch.argsort(scores, descending=True, stable=True)[: self._people]
        self._journal.keep(self._place[key])
        record = self._data[self._place[key] : self._place[key] + 1]
        version = int(record["version"][0])
        record["version"] = version + 1 + version % 2
        count = len(best)
        record["tokens"][0, :count] = tokens[best].detach().half().cpu().numpy()
        record["boxes"][0, :count] = boxes[best].cpu().numpy()
        record["scores"][0, :count] = scores[best].cpu().numpy()
        record["count"] = count
        record["version"] = record["version"] + 1

    def remember(self, seen: Sequence[Seen]) -> None:
        """As `LearningBank.remember`; of a moment that comes twice the later row stays."""
        for moment in seen:
            self.write(*moment)

    def mark(self, step: int) -> None:
        """As `LearningBank.mark`."""
        self._journal.mark(step)

    def settle(self, step: int) -> None:
        """As `LearningBank.settle`."""
        self._journal.settle(step)

    def restore(self, step: int) -> None:
        """As `LearningBank.restore`."""
        self._journal.restore(step)

    def window(self, key: Key, *, before_ms: int, after_ms: int, people: int) -> Remembered:
        """As `BankReader.window`, of the moments written so far."""
        times = self._times.get(key.video)
        if times is None:
            return nobody(self._stamp)
        near = (times >= key.time_ms - before_ms) & (times <= key.time_ms + after_ms)
        found = [nobody(self._stamp)]
        for time in times[near & (times != key.time_ms)]:
            read = self._read(Key(video=key.video, time_ms=int(time)), people)
            if read is not None:
                delta = torch.full((len(read.scores),), int(time) - key.time_ms)
                found.append(read._replace(delta_ms=delta))
        return Remembered(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def flush(self) -> None:
        """Hand everything written so far to the disk."""
        self._data.flush()

    def __len__(self) -> int:
        """Moments written so far."""
        version = self._data["version"]
        return int(((version > 0) & (version % 2 == 0)).sum())

    def _read(self, key: Key, people: int) -> Remembered | None:
        place = self._place[key]
        version = int(self._data["version"][place])
        if version == 0 or version % 2:
            return None
        count = min(int(self._data["count"][place]), people)
        tokens, boxes, scores = (
            torch.from_numpy(np.array(self._data[name][place, :count]))
            for name in ("tokens", "boxes", "scores")
        )
        if int(self._data["version"][place]) != version:
            return None
        return Remembered(tokens, boxes, scores, torch.zeros(count, dtype=torch.int64))

    def _open(self, folder: Path, keys: Sequence[Key]) -> np.memmap[tuple[int], np.dtype[np.void]]:
        stamp, people = self._stamp, self._people
        index = {
            "stamp": asdict(stamp),
            "people": people,
            "keys": [[k.video, k.time_ms] for k in keys],
        }
        kind = np.dtype([
            ("version", np.int64),
            ("count", np.int64),
            ("boxes", np.float32, (people, 4)),
            ("scores", np.float32, (people,)),
            ("tokens", np.float16, (people, stamp.positions, stamp.width)),
        ])  # fmt: skip
        path = folder / _INDEX
        if path.is_file():
            if json.loads(path.read_text(encoding="utf-8")) != index:
                raise CheckpointError(
                    "this memory bank belongs to a different training run",
                    where=folder,
                    hint="delete the folder, or name another one",
                )
        else:
            make_folder(folder)
            with atomic_path(folder / _TOKENS) as part, part.open("r+b") as file:
                _reserve(file, max(1, len(keys)) * kind.itemsize)
            with atomic_path(path) as part:
                part.write_text(json.dumps(index), encoding="utf-8")
        return np.memmap(folder / _TOKENS, dtype=kind, mode="r+", shape=(max(1, len(keys)),))


class SharedBank:
    """An online bank of all processes of a distributed training: what one of them saw, all of them
    remember from the next step on.

    Once per step they exchange what they saw, by rank, and the first process of each machine
    writes it to that machine's file. So no two processes ever write one place, nobody reads while
    somebody writes, and which process was faster changes nothing. To make it and to `remember` are
    collective: every process does either, and equally often.

    `opened(folder)` opens the bank of one machine.
    """

    def __init__(self, folder: Path, opened: Callable[[Path], OnlineBank]) -> None:
        # NCCL would need every row on a GPU; what a machine writes is in its main memory.
        self._group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
        hosts = self._gather(socket.gethostname())
        machine = list(dict.fromkeys(hosts)).index(socket.gethostname())
        own = folder if machine == 0 else folder.with_name(f"{folder.name}_{machine}")
        self._writes = dist.get_rank() == hosts.index(socket.gethostname())
        if self._writes:
            self._bank = opened(own)
        dist.barrier(self._group)
        if not self._writes:
            self._bank = opened(own)

    @property
    def stamp(self) -> BankStamp:
        return self._bank.stamp

    def window(self, key: Key, *, before_ms: int, after_ms: int, people: int) -> Remembered:
        """As `BankReader.window`, of what all processes saw in the steps before this one."""
        return self._bank.window(key, before_ms=before_ms, after_ms=after_ms, people=people)

    def remember(self, seen: Sequence[Seen]) -> None:
        """As `LearningBank.remember`; every process calls it once per step, if only with nobody."""
        packed = [
            Seen(m.key, m.tokens.detach().half().cpu(), m.boxes.cpu(), m.scores.cpu()) for m in seen
        ]
        # Having all processes' rows means that all of them have finished reading.
        everyone = self._gather(packed)
        if self._writes:
            for part in everyone:
                self._bank.remember(part)
        dist.barrier(self._group)

    def mark(self, step: int) -> None:
        """As `LearningBank.mark`; collective, like the other two."""
        self._first_of_machine(lambda: self._bank.mark(step))

    def settle(self, step: int) -> None:
        """As `LearningBank.settle`."""
        self._first_of_machine(lambda: self._bank.settle(step))

    def restore(self, step: int) -> None:
        """As `LearningBank.restore`."""
        self._first_of_machine(lambda: self._bank.restore(step))

    def _first_of_machine(self, action: Callable[[], None]) -> None:
        if self._writes:
            action()
        dist.barrier(self._group)

    def __len__(self) -> int:
        """Moments written so far."""
        return len(self._bank)

    def _gather(self, own: T) -> list[T]:
        """All processes' values, in order of rank."""
        found: list[T] = [own] * dist.get_world_size()
        dist.all_gather_object(found, own, group=self._group)
        return found


def _reserve(file: BinaryIO, size: int) -> None:
    """Give the file its room on the disk now: a full disk met while it is mapped would end the
    process with a bus error."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    file.truncate(size)
