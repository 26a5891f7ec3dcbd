"""Whole clips of the rendered world with their classes: Kinetics and Charades in the small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tubelet.data.clips import ClipLabels
from tubelet.data.unlabelled import UnlabelledVideos
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError
from tubelet.media.sampling import window
from tubelet.media.transforms import Augment
from tubelet.media.video import VideoInfo
from tubelet.playground.make import whole_clip, world_of
from tubelet.playground.world import PlaygroundConfig, label_space
from tubelet.types import InputSpec, Key, Pixels

_NAME = "playground_"


def playground_clips(
    *,
    name: str,
    world: PlaygroundConfig,
    clips: int,
    first_seed: int,
    exclusive: bool,
    unlabelled: bool = False,
) -> WholeVideoDataset:
    """Clips `first_seed`… with what is done in them.

    `exclusive`: each clip has one class, which only a world whose people all do one thing ("scene")
    can guarantee. Otherwise a clip has every class that happens in it, each from–to (Charades).
    `unlabelled`: the classes are kept back.
    Raises ConfigError for a world whose clips have several classes when `exclusive`.
    """
    rows = [
        (f"{_NAME}{seed}", label, *interval, number + 1)
        for number, seed in enumerate(range(first_seed, first_seed + clips))
        for label, interval in _classes(seed, world, exclusive=exclusive)
    ]
    space = replace(label_space(world.task), exclusive=exclusive)
    if unlabelled:
        videos = [(f"{_NAME}{first_seed + i}", None, None, None, i + 1) for i in range(clips)]
        return UnlabelledVideos(
            name=name, clips=ClipLabels.of(videos), labels=space, films=_Rendered(world)
        )
    return WholeVideoDataset(
        name=name,
        clips=ClipLabels.of(rows),
        labels=space,
        films=_Rendered(world),
        targets_of="video",
    )


def _classes(
    seed: int, config: PlaygroundConfig, *, exclusive: bool
) -> Iterator[tuple[int, tuple[int | None, int | None]]]:
    """Class ids of a clip and when each happens, in microseconds."""
    world = world_of(seed, config)
    segments = [s for actor in world.actors for s in actor.segments]
    shown = [s for s in segments if s.start_s < config.seconds and s.end_s > 0]
    if not exclusive:
        for segment in shown:
            begin, end = max(0.0, segment.start_s), min(config.seconds, segment.end_s)
            for label in segment.labels:
                at = world.space.ids[world.space.column_of(label)]
                yield at, (round(begin * 1e6), round(end * 1e6))
        return
    found = {label for segment in shown for label in segment.labels}
    if len(found) != 1:
        raise ConfigError(
            f"a clip of the playground's {config.task!r} world has several classes",
            expected="task='scene', or non-exclusive classes",
            got=", ".join(sorted(found)),
        )
    yield world.space.ids[world.space.column_of(found.pop())], (None, None)


class _Rendered:
    """Draws the clips that are asked for."""

    def __init__(self, world: PlaygroundConfig) -> None:
        self._world = world

    def info(self, video: str) -> VideoInfo:
        world = self._world
        return VideoInfo(
            path=Path(video),
            width=world.width,
            height=world.height,
            fps=world.fps,
            start_ms=0,
            duration_ms=round(world.frame_count * 1000 / world.fps),
            frame_count=world.frame_count,
            rotation=0,
            mirrored=False,
            codec="playground",
        )

    def clip(self, key: Key, spec: InputSpec, augment: Augment | None = None) -> Pixels:
        world, seed = self._world, int(key.video.removeprefix(_NAME))
        return whole_clip(seed, world)[window(world.times_ms(), key.time_ms, spec)]
