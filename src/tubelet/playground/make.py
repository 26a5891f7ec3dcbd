"""Clips, training windows and datasets of the playground.

`make_clip` draws a whole clip, `render_window` only the frames one training sample needs; both
give the same bytes for the same frame. `write_dataset` writes MP4 files with AVA's CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tubelet.errors import ConfigError, InputError
from tubelet.files import make_folder, write_text
from tubelet.labels import LabelSpace
from tubelet.playground.plan import plan
from tubelet.playground.render import Renderer
from tubelet.playground.world import PlaygroundConfig, PlaygroundWorld, label_space
from tubelet.types import Floats, Ints, People

DEMO = PlaygroundConfig(height=360, width=480, seconds=9.0, people=(4, 4))
"""The clip that `make demo` renders, with `DEMO_SEED`."""
DEMO_SEED = 504
_SPLIT_SEEDS = {"train": 0, "val": 1 << 40, "test": 1 << 41}
Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaygroundClip:
    """A drawn clip: `frames u8 (T, H, W, 3)` RGB, `times_ms (T,)`, and for each frame the boxes
    `(N, 4)` in [0, 1], person ids `(N,)` and multi-hot labels `(N, K)` in the order of `labels`."""

    frames: npt.NDArray[np.uint8]
    times_ms: Ints
    boxes: tuple[Floats, ...]
    person_ids: tuple[Ints, ...]
    targets: tuple[Floats, ...]
    labels: LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaygroundWindow:
    """One training sample: `frames u8 (T, H, W, 3)` RGB, and the people of its keyframe with
    `targets (N, K)`."""

    frames: npt.NDArray[np.uint8]
    people: People
    targets: Floats


def make_clip(seed: int, config: PlaygroundConfig) -> PlaygroundClip:
    """Draw clip `seed` whole. The same seed and config give the same bytes."""
    scene = _renderer(_checked(seed), config)
    times = config.times_ms()
    boxes, ids, targets = scene.world.annotate(times / 1000)
    return PlaygroundClip(
        frames=scene.frames(np.arange(config.frame_count)),
        times_ms=times,
        boxes=tuple(boxes),
        person_ids=tuple(ids),
        targets=tuple(targets),
        labels=scene.world.space,
    )


def render_window(
    seed: int, key_ms: int, indices: npt.ArrayLike, config: PlaygroundConfig
) -> PlaygroundWindow:
    """Frames `indices (T,)` of clip `seed`, with the people of the moment `key_ms`.

    Frame numbers before the start or after the end show the first or last frame. Draws only
    what is requested: the training set's fast path.
    """
    scene = _renderer(_checked(seed), config)
    clamped = np.clip(np.asarray(indices, np.int64), 0, config.frame_count - 1)
    people, targets = people_at(seed, key_ms, config)
    return PlaygroundWindow(frames=scene.frames(clamped), people=people, targets=targets)


def people_at(seed: int, key_ms: int, config: PlaygroundConfig) -> tuple[People, Floats]:
    """The people of clip `seed` at the moment `key_ms`, and their targets `(N, K)`."""
    scene = _renderer(_checked(seed), config)
    boxes, ids, targets = scene.world.annotate(np.array([key_ms / 1000]))
    return People.of(boxes[0], track_ids=ids[0]), targets[0]


@lru_cache(maxsize=32)
def whole_clip(seed: int, config: PlaygroundConfig) -> npt.NDArray[np.uint8]:
    """Every frame of clip `seed`, read-only `(T, H, W, 3)`; the clips asked for last are kept."""
    frames = _renderer(_checked(seed), config).frames(np.arange(config.frame_count))
    frames.flags.writeable = False
    return frames


def keyframes_ms(config: PlaygroundConfig, every_ms: int = 1000) -> list[int]:
    """Labelled moments of a clip: every `every_ms` from the first whole step after the start."""
    end = round(1000 * config.seconds)
    return list(range(every_ms, end, every_ms)) or [end // 2]


def _checked(seed: int) -> int:
    if seed < 0:
        raise ConfigError("negative playground seed", expected="0 or more", got=seed)
    return int(seed)


@lru_cache(maxsize=16)
def _renderer(seed: int, config: PlaygroundConfig) -> Renderer:
    return Renderer(plan(seed, config))


def world_of(seed: int, config: PlaygroundConfig) -> PlaygroundWorld:
    """The plan of clip `seed`, without drawing anything."""
    return plan(_checked(seed), config)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundFiles:
    """What `write_dataset` wrote: the videos and the three text files beside them."""

    videos: tuple[Path, ...]
    annotations: Path
    label_map: Path
    video_list: Path


def clip_seed(split: Split, seed: int, number: int) -> int:
    """The seed of clip `number` of a dataset; splits and dataset seeds never share a clip."""
    return _SPLIT_SEEDS[split] + (_checked(seed) << 20) + number


def write_dataset(
    out_dir: Path,
    *,
    clips: int,
    config: PlaygroundConfig,
    seed: int = 0,
    split: Split = "train",
    every_ms: int = 1000,
    on_clip: Callable[[int, int], None] | None = None,
) -> PlaygroundFiles:
    """Write `clips` videos with labels in AVA's formats under `out_dir`.

    `videos/<id>.mp4`; `<split>.csv` (video_id, timestamp in seconds, x1, y1, x2, y2, action_id,
    person_id; one row per label, keyframes `every_ms` apart); `labels.pbtxt`; `<split>_videos.txt`
    (one path per line, relative to `out_dir`). The text files appear last and whole, so an
    interrupted run leaves no list of videos that are not there. `on_clip(done, clips)` is called
    after each video. Raises InputError when `clips` or `every_ms` is below 1, or `out_dir` is a
    file.
    """
    if clips < 1 or every_ms < 1:
        raise InputError(
            "a dataset needs at least one clip and a step between keyframes",
            expected="clips ≥ 1, every_ms ≥ 1",
            got=f"clips {clips}, every_ms {every_ms}",
        )
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError("the output folder is a file", where=out_dir, hint="name a folder")
    seeds = {
        f"playground_{split}_{seed}_{number:05d}": clip_seed(split, seed, number)
        for number in range(clips)
    }
    return _write_clips(out_dir, seeds, config, split, every_ms, on_clip)


def write_demo(out_dir: Path, *, every_ms: int = 1000) -> PlaygroundFiles:
    """Write the demo's clip with its labels, as `write_dataset` does."""
    return _write_clips(out_dir, {"playground": DEMO_SEED}, DEMO, "demo", every_ms, None)


def _write_clips(
    out_dir: Path,
    seeds: Mapping[str, int],
    config: PlaygroundConfig,
    split: str,
    every_ms: int,
    on_clip: Callable[[int, int], None] | None,
) -> PlaygroundFiles:
    make_folder(out_dir / "videos")
    rows: list[tuple[str, ...]] = []
    videos: list[Path] = []
    for name, seed in seeds.items():
        scene = _renderer(seed, config)
        videos.append(out_dir / "videos" / f"{name}.mp4")
        _write_video(videos[-1], scene, config)
        rows += _ava_rows(name, scene.world, config, every_ms)
        if on_clip is not None:
            on_clip(len(videos), len(seeds))
    files = PlaygroundFiles(
        videos=tuple(videos),
        annotations=out_dir / f"{split}.csv",
        label_map=out_dir / "labels.pbtxt",
        video_list=out_dir / f"{split}_videos.txt",
    )
    write_text(files.label_map, label_map_text(label_space(config.task)))
    write_text(files.annotations, _csv_text(rows))
    listed = [video.relative_to(out_dir).as_posix() for video in videos]
    write_text(files.video_list, "".join(f"{line}\n" for line in listed))
    return files


def label_map_text(labels: LabelSpace) -> str:
    """The label map of `labels` as AVA's evaluation script reads it (pbtxt)."""
    return "".join(
        f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
        for number, name in zip(labels.ids, labels.names, strict=True)
    )


def _write_video(path: Path, scene: Renderer, config: PlaygroundConfig) -> None:
    from tubelet.media.writer import VideoWriter  # PyAV loads only when a file is written

    with VideoWriter(path, config.fps, (config.height, config.width)) as writer:
        for start in range(0, config.frame_count, 32):
            for frame in scene.frames(np.arange(start, min(start + 32, config.frame_count))):
                writer.write(frame)


def _ava_rows(
    name: str, world: PlaygroundWorld, config: PlaygroundConfig, every_ms: int
) -> list[tuple[str, ...]]:
    """One row for each label of each person at the keyframes."""
    keys = keyframes_ms(config, every_ms)
    rows: list[tuple[str, ...]] = []
    for key_ms, *found in zip(keys, *world.annotate(np.array(keys) / 1000), strict=True):
        for box, person, hot in zip(*found, strict=True):
            corners = [f"{c:.6f}" for c in box]
            for column in np.flatnonzero(hot):
                action = world.space.ids[column]
                rows.append((name, f"{key_ms / 1000:.3f}", *corners, str(action), str(person)))
    return rows


def _csv_text(rows: Sequence[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
