"""Clips of the rendered world as a dataset: everything `data.dataset` requires, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NoReturn

import numpy as np

from tubelet.batch import Sample
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import assemble, faster
from tubelet.data.unlabelled import refuse_truth
from tubelet.media.sampling import window
from tubelet.media.transforms import Augment
from tubelet.playground.detected import detected
from tubelet.playground.make import (
    keyframes_ms,
    people_at,
    render_window,
    whole_clip,
    world_of,
)
from tubelet.playground.world import PlaygroundConfig, label_space
from tubelet.types import InputSpec, Key, People

WhoseBoxes = Literal["truth", "detected"]
_DRAWS = 5  # clips tried for one in which somebody does one of the sought actions


class PlaygroundDataset:
    """Clips of the rendered world, drawn when they are asked for.

    Sample i is clip `first_seed + i // keys` at keyframe `i % keys`. `vary`: every call with a
    random generator draws a new clip, so that training never sees one twice; with `seek`, class
    names, it draws again, a few times, until somebody does one of them. `hold` keeps the clips
    that were drawn last whole in memory: for few and short ones that are seen again and again.
    `boxes`: whose people samples have, the annotated ones or, without targets, a detector's.
    """

    def __init__(
        self,
        *,
        name: str = "playground",
        world: PlaygroundConfig,
        clips: int,
        first_seed: int,
        vary: bool = False,
        seek: Sequence[str] = (),
        hold: bool = False,
        boxes: WhoseBoxes = "truth",
    ) -> None:
        self.name, self.labels = name, label_space(world.task)
        self._world, self._clips, self._first, self._vary = world, clips, first_seed, vary
        self._hold, self._boxes = hold, boxes
        self._keys = keyframes_ms(world)
        self._seek = [self.labels.column_of(name) for name in seek]

    def __len__(self) -> int:
        return self._clips * len(self._keys)

    def key(self, index: int) -> Key:
        clip, moment = divmod(index, len(self._keys))
        return Key(video=f"playground_{self._first + clip}", time_ms=self._keys[moment])

    def label_ids(self, index: int) -> tuple[int, ...]:
        key = self.key(index)
        world = world_of(self._first + index // len(self._keys), self._world)
        _, _, targets = world.annotate(np.array([key.time_ms / 1000]))
        return tuple(np.array(self.labels.ids)[targets[0].any(axis=0)].tolist())

    def people(self) -> Annotations:
        """Those of every keyframe; one without people is a row without a box."""
        tables = []
        for index in range(len(self)):
            key = self.key(index)
            seed = self._first + index // len(self._keys)
            people, _ = people_at(seed, key.time_ms, self._world)
            people = self._seen(people, seed, key.time_ms)
            count = max(1, len(people))
            tables.append(
                Annotations.of(
                    video=[key.video] * count,
                    time_us=np.full(count, key.time_ms * 1000),
                    boxes=people.boxes if len(people) else np.full((1, 4), np.nan),
                    score=people.scores.astype(np.float64) if len(people) else None,
                )
            )
        return Annotations.concat(tables)

    def truth(self) -> Annotations:
        tables = []
        for clip in range(self._clips):
            seconds = np.array(self._keys) / 1000
            world = world_of(self._first + clip, self._world)
            for key_ms, boxes, ids, targets in zip(
                self._keys, *world.annotate(seconds), strict=True
            ):
                person, column = np.nonzero(targets)
                tables.append(
                    Annotations.of(
                        video=[f"playground_{self._first + clip}"] * len(person),
                        time_us=np.full(len(person), key_ms * 1000),
                        boxes=boxes[person],
                        label=np.array(self.labels.ids)[column],
                        person=ids[person],
                    )
                )
        return Annotations.concat(tables)

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        key = self.key(index)
        seed = self._first + index // len(self._keys)
        if self._vary and rng is not None:
            seed = self._draw(key.time_ms, rng)
        times = self._world.times_ms()
        indices = window(times, key.time_ms, faster(spec, self._world.fps, augment, rng))
        if self._hold:
            clip = whole_clip(seed, self._world)[indices]
            people, targets = people_at(seed, key.time_ms, self._world)
        else:
            drawn = render_window(seed, key.time_ms, indices, self._world)
            clip, people, targets = drawn.frames, drawn.people, drawn.targets
        people = self._seen(people, seed, key.time_ms)
        if self._boxes == "detected":
            targets = np.zeros((len(people), len(self.labels)), np.float32)
        sample = assemble(
            key=key,
            clip=clip,
            source_hw=(self._world.height, self._world.width),
            people=people,
            targets=targets,
            spec=spec,
            augment=augment,
            rng=rng,
            dataset=self.name,
        )
        return replace(sample, targets=None) if self._boxes == "detected" else sample

    def _seen(self, people: People, seed: int, time_ms: int) -> People:
        return detected(people, seed, time_ms) if self._boxes == "detected" else people

    def _draw(self, key_ms: int, rng: np.random.Generator) -> int:
        """A new clip's seed; planning a world costs a fraction of drawing its frames."""
        for _ in range(_DRAWS):
            seed = self._first + int(rng.integers(1 << 39))
            if not self._seek:
                break
            _, _, targets = world_of(seed, self._world).annotate(np.array([key_ms / 1000]))
            if targets[0][:, self._seek].any():
                break
        return seed


class UnlabelledPlayground(PlaygroundDataset):
    """The same with a detector's people, and labels that are kept back as those of AVA's test set
    are."""

    def __init__(self, *, name: str, world: PlaygroundConfig, clips: int, first_seed: int) -> None:
        super().__init__(
            name=name, world=world, clips=clips, first_seed=first_seed, hold=True, boxes="detected"
        )

    def label_ids(self, index: int) -> tuple[int, ...]:
        return ()

    def keyframes(self) -> Annotations:
        keys = [self.key(index) for index in range(len(self))]
        return Annotations.of(
            video=[key.video for key in keys], time_us=[key.time_ms * 1000 for key in keys]
        )

    def truth(self) -> NoReturn:
        refuse_truth(self.name)
