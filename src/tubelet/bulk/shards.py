"""Which part of a manifest this process does: `i/n`, as stated or as a scheduler says.

Films are dealt out in groups of the manifest's order, so that the parts that are written are the
same however many shards there are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tubelet.errors import InputError

T = TypeVar("T")
PARTS = 1000  # about as many groups at least, so that a small manifest has a film in each
LARGEST = 32  # films of a group: what is lost at most when a driver is killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The `index`-th of `count`, from 0. Raises InputError for one that cannot be."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(
                "invalid shard",
                expected="i/n with 0 ≤ i < n",
                got=f"{self.index}/{self.count}",
                arguments=("shard",),
            )

    def of(self, groups: Sequence[T]) -> Sequence[T]:
        """Its share: every `count`-th, from `index`."""
        return groups[self.index :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(text: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that `i/n` names; `/n` takes i from the environment, and None all of it.

    A Slurm array says both numbers (its first and its step are taken into account), an indexed job
    of Kubernetes only i, so that n has to be stated. Raises InputError.
    """
    index, count = _scheduled(environment)
    if text is None:
        if index is not None and count is None:
            raise InputError(
                "this job knows its index, but not how many there are",
                got=f"JOB_COMPLETION_INDEX {index}",
                hint="state their number as /n",
                arguments=("shard",),
            )
        return Shard() if index is None or count is None else Shard(index=index, count=count)
    first, slash, last = text.partition("/")
    if not slash or not last.isdecimal() or not (first.isdecimal() or not first):
        raise InputError("invalid shard", expected="i/n, or /n", got=text, arguments=("shard",))
    if first:
        return Shard(index=int(first), count=int(last))
    if index is None:
        raise InputError(
            "no index in the environment",
            expected="SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX",
            hint=f"state it: 0/{last}",
            arguments=("shard",),
        )
    return Shard(index=index, count=int(last))


def _scheduled(environment: Mapping[str, str]) -> tuple[int | None, int | None]:
    def number(name: str) -> int | None:
        value = environment.get(name, "")
        return int(value) if value.isdecimal() else None

    task, count = number("SLURM_ARRAY_TASK_ID"), number("SLURM_ARRAY_TASK_COUNT")
    if task is not None and count is not None:
        first = number("SLURM_ARRAY_TASK_MIN") or 0
        return (task - first) // (number("SLURM_ARRAY_TASK_STEP") or 1), count
    return number("JOB_COMPLETION_INDEX"), None


def group_size(films: int) -> int:
    """How many films go into a part: one up to a thousand films, at most 32."""
    return min(LARGEST, max(1, math.ceil(films / PARTS)))


def groups_of(films: Sequence[T], size: int) -> list[Sequence[T]]:
    """The films in groups of `size`, in order."""
    return [films[at : at + size] for at in range(0, len(films), size)]
