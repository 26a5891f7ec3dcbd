"""Drawn clips that are kept as bytes, as sources and datasets of the product.

A world is a `DrawnSource`: it says how its clips are drawn, once for each split and seed; whoever
builds it again reads them from the cache, which is the data folder that the recipe runs in.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from benchmarks.claims.figures import Bytes, Figure
from benchmarks.claims.films import FPS, whole_videos

from tubelet.batch import Sample
from tubelet.config import encode
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import ClipDataset, assemble, faster
from tubelet.data.sources.base import Labelled, SourceConfig
from tubelet.files import atomic_path
from tubelet.labels import LabelSpace
from tubelet.media.sampling import window
from tubelet.media.transforms import Augment
from tubelet.train.learning.banks import recipe_hash
from tubelet.types import Floats, InputSpec, Ints, Key, People, Pixels

Split = Literal["train", "val", "test"]
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Person(NamedTuple):
    """Somebody in a clip: a box xyxy in [0, 1] and what they do, as columns of the label space."""

    box: npt.NDArray[np.floating]
    columns: Sequence[int]


class Clip(NamedTuple):
    """One clip: frames u8 `(T, H, W, 3)`, the people of its middle frame, its video, and when."""

    frames: Pixels
    people: Sequence[Person]
    video: str
    time_ms: int


class _Kept(NamedTuple):
    """Clips as columns: N of them, R people in all."""

    frames: Pixels
    video: npt.NDArray[np.str_]
    time_ms: Ints
    clip: Ints
    boxes: Floats
    targets: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSource(SourceConfig):
    """`split` and `seed` keep clips apart: of validation and test, every seed has the same.
    `whole`: clips carry the classes of their first person as a whole, and show no boxes."""

    split: Split = "train"
    seed: int = 0
    whole: bool = False

    @abstractmethod
    def space(self) -> LabelSpace:
        """The classes."""

    @abstractmethod
    def clips(self, rng: np.random.Generator) -> list[Clip]:
        """Draw everything."""

    def build(self, root: Path) -> ClipDataset:
        if not self.whole:
            return self.held(root)
        kept, space = _kept(self, root), self.space()
        first = np.searchsorted(kept.clip, np.arange(len(kept.frames)))
        own = [np.array(space.ids)[kept.targets[i] > 0].tolist() for i in first]
        return whole_videos(self.name, list(kept.frames), own, space)

    def held(self, root: Path) -> HeldDataset:
        """The clips with their people."""
        return HeldDataset(self.name, _kept(self, root), self.space())

    @property
    def labelled(self) -> Labelled:
        return "video" if self.whole else "people"


@lru_cache(maxsize=12)
def _kept(source: DrawnSource, root: Path) -> _Kept:
    """Drawn now, or read from `root`; other code draws anew."""
    code = Path(inspect.getfile(type(source))), Path(inspect.getfile(Figure))
    drawn_by = recipe_hash([encode(source), *(c.read_text(encoding="utf-8") for c in code)])
    path = root / f"{type(source).__name__}_{drawn_by[:20]}.npz"
    if not path.is_file():
        seed = source.seed if source.split == "train" else 0
        world = sum(type(source).__name__.encode())
        rng = np.random.default_rng([world, _SPLITS.index(source.split), seed])
        columns = _columns(source.clips(rng), len(source.space()))
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez(file, **columns._asdict())
    with np.load(path) as found:
        return _Kept(**{name: found[name] for name in _Kept._fields})


def _columns(clips: Sequence[Clip], classes: int) -> _Kept:
    people = [p for clip in clips for p in clip.people]
    targets = np.zeros((len(people), classes), np.float32)
    for row, person in enumerate(people):
        targets[row, list(person.columns)] = 1
    return _Kept(
        frames=np.stack([c.frames for c in clips]),
        video=np.array([c.video for c in clips]),
        time_ms=np.array([c.time_ms for c in clips], np.int64),
        clip=np.repeat(np.arange(len(clips)), [len(c.people) for c in clips]),
        boxes=np.array([p.box for p in people], np.float32),
        targets=targets,
    )


class HeldDataset:
    """Clips of people, one sample each. `boxes`: other people in place of the annotated ones, by
    sample, whose targets nobody knows."""

    def __init__(
        self,
        name: str,
        kept: _Kept,
        labels: LabelSpace,
        boxes: Sequence[People] | None = None,
    ) -> None:
        self.name, self.labels, self._kept, self._boxes = name, labels, kept, boxes

    def __len__(self) -> int:
        return len(self._kept.frames)

    def key(self, index: int) -> Key:
        return Key(video=str(self._kept.video[index]), time_ms=int(self._kept.time_ms[index]))

    def label_ids(self, index: int) -> tuple[int, ...]:
        shown = self._kept.targets[self._kept.clip == index].any(axis=0)
        return tuple(np.array(self.labels.ids)[shown].tolist())

    def people(self, index: int) -> People:
        """The annotated people."""
        return People.of(self._kept.boxes[self._kept.clip == index])

    def seen_as(self, people: Sequence[People]) -> HeldDataset:
        """The same clips with these people, a list for each."""
        return HeldDataset(self.name, self._kept, self.labels, people)

    def middle(self, index: int) -> Bytes:
        """The frame u8 `(H, W, 3)` that people are annotated in."""
        frames = self._kept.frames[index]
        return np.asarray(frames[len(frames) // 2], np.uint8)

    def truth(self) -> Annotations:
        row, column = np.nonzero(self._kept.targets)
        clip = self._kept.clip[row]
        return Annotations.of(
            video=self._kept.video[clip].tolist(),
            time_us=self._kept.time_ms[clip] * 1000,
            boxes=self._kept.boxes[row],
            label=np.array(self.labels.ids)[column],
            person=row,
        )

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        kept, key = self._kept, self.key(index)
        frames, rows = kept.frames[index], np.flatnonzero(kept.clip == index)
        middle = len(frames) // 2
        times = key.time_ms + np.round((np.arange(len(frames)) - middle) * 1000 / FPS)
        people = self.people(index) if self._boxes is None else self._boxes[index]
        targets = np.zeros((len(people), len(self.labels)), np.float32)
        sample = assemble(
            key=key,
            clip=frames[
                window(times.astype(np.int64), key.time_ms, faster(spec, FPS, augment, rng))
            ],
            source_hw=frames.shape[1:3],
            people=people,
            targets=kept.targets[rows] if self._boxes is None else targets,
            spec=spec,
            augment=augment,
            rng=rng,
            dataset=self.name,
        )
        return sample if self._boxes is None else replace(sample, targets=None)
