"""Who is where doing what: the plan of a clip, drawn from a seed before any pixel is.

Shape legend: N people, T moments, K classes. Lengths are in frame heights, x from 0 to the aspect
ratio; y runs down from 0 to 1. Everything is a closed form of time, so a moment costs the same
wherever it lies in the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace
from tubelet.playground.actions import COLUMN, LABELS, Array, Style, action_pose
from tubelet.playground.figures import Body, Parts, figure
from tubelet.types import Floats, Ints

Task = Literal["atomic", "partner", "event", "scene"]
GESTURES = ("raise hand", "hand clap")
PARTNER = ("do as the other does", "do otherwise")
AFTER = ("stand after raise hand", "stand after hand clap")
AT_LAMP = ("stand at a red lamp", "stand at a green lamp")
_SPACES: dict[str, LabelSpace] = {
    "atomic": LABELS,
    "partner": LabelSpace.of(PARTNER),
    "event": LabelSpace.of(GESTURES + AFTER),
    "scene": LabelSpace.of(AT_LAMP),
}
HIDDEN = 0.6
"""Someone whose box is covered by more than this share by a nearer person's box has no label."""
FADE_S = 0.3
"""A change of action is blended over this time, centred on the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundConfig:
    """What a clip looks like. `people` is the inclusive range of how many; `person_height` the
    range of a standing person's share of the frame height.

    The difficulty knobs are 0 for none and 1 for the default amount: `clutter` (things in the
    background, moving and still), `occluders` (things in front of people), `camera` (pan, zoom
    and shake), `lighting` (brightness, tint, flicker) and `noise`. Raises ConfigError for values
    that make no valid clip.
    """

    height: int = 96
    width: int = 128
    fps: float = 25.0
    seconds: float = 3.0
    people: tuple[int, int] = (1, 3)
    person_height: tuple[float, float] = (0.44, 0.74)
    clutter: float = 1.0
    occluders: float = 1.0
    camera: float = 1.0
    lighting: float = 1.0
    noise: float = 1.0
    task: Task = "atomic"

    def __post_init__(self) -> None:
        low, high = self.people
        small, tall = self.person_height
        knobs = (self.clutter, self.occluders, self.camera, self.lighting, self.noise)
        for fits, what, expected, got in (
            (min(self.height, self.width) >= 16, "size", "at least 16 pixels per side",
             f"{self.height}x{self.width}"),
            (0.5 <= self.width / max(self.height, 1) <= 4, "shape", "width 0.5 to 4 times height",
             f"{self.height}x{self.width}"),
            (1 <= self.fps <= 240, "fps", "1 to 240", self.fps),
            (self.seconds * self.fps >= 1 and self.seconds <= 3600, "seconds",
             "one frame to 3600", self.seconds),
            (1 <= low <= high <= 8, "people", "1 ≤ fewest ≤ most ≤ 8", self.people),
            (0.1 <= small <= tall <= 1, "person_height", "0.1 ≤ low ≤ high ≤ 1",
             self.person_height),
            (self.task in _SPACES, "task", ", ".join(_SPACES), self.task),
            (min(knobs) >= 0 and max(knobs) <= 3, "difficulty", "knobs from 0 to 3", knobs),
        ):  # fmt: skip
            if not fits:
                raise ConfigError(
                    f"invalid {what} of a playground clip", expected=expected, got=got
                )

    def tiny(self, seconds: float) -> PlaygroundConfig:
        """A still room with one or two people, for smoke runs; the task stays."""
        return PlaygroundConfig(
            height=36, width=48, fps=4, seconds=seconds, people=(1, 2), clutter=0, occluders=0,
            camera=0, lighting=0, noise=0, task=self.task,
        )  # fmt: skip

    @property
    def aspect(self) -> float:
        return self.width / self.height

    @property
    def frame_count(self) -> int:
        return max(1, round(self.seconds * self.fps))

    def times_ms(self, indices: npt.ArrayLike | None = None) -> Ints:
        """Presentation times of frames `indices` (default: all) in integer milliseconds."""
        frames = np.arange(self.frame_count) if indices is None else np.asarray(indices, np.int64)
        return np.asarray(np.rint(frames * (1000.0 / self.fps)), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of a person's time: from `start_s` to `end_s` doing `pose` and `arms`.

    `labels` are the names that are true meanwhile. The feet start at `x` and, if `speed` is not
    0, walk between `bounds`, turning round at either.
    """

    start_s: float
    end_s: float
    pose: str
    arms: str | None
    labels: tuple[str, ...]
    yaw: float
    x: float
    style: Style
    speed: float = 0.0
    bounds: tuple[float, float] = (0.0, 1.0)

    def body(self, times_s: Array) -> Array:
        """Pose `(T, D)` with place and heading filled in."""
        pose = action_pose(self.pose, self.arms, times_s, (self.start_s, self.end_s), self.style)
        x, yaw = self._walk(times_s - self.start_s) if self.speed else (self.x, self.yaw)
        pose[:, COLUMN["x"]] = x
        pose[:, COLUMN["yaw"]] += yaw
        return pose

    def _walk(self, since: Array) -> tuple[Array, Array]:
        """Place and heading of a walker who turns round (in 0.3 s) at the bounds."""
        low, high = self.bounds
        length, pace = high - low, abs(self.speed)
        begun = self.x - low if self.speed > 0 else 2 * length - (self.x - low)
        along = (begun + pace * since) % (2 * length)
        away = np.minimum(along % length, length - along % length)
        heading = np.where(along < length, 1.0, -1.0) * np.clip(away / (pace * 0.15), 0, 1)
        return low + length - np.abs(along - length), heading * self.yaw

    @property
    def exit(self) -> tuple[float, float]:
        """Place and heading at the end, for planning the next segment."""
        last = self.body(np.array([self.end_s]))[0]
        return float(last[COLUMN["x"]]), float(last[COLUMN["yaw"]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One person of a clip: a body, a line on the ground, and segments that follow each other."""

    person_id: int
    body: Body
    ground_y: float
    segments: tuple[Phase, ...]
    stool: float | None = None

    def pose(self, times_s: Array) -> Array:
        """Pose `(T, D)`, blended over `FADE_S` wherever one segment follows another."""
        total = np.zeros((len(times_s), len(COLUMN)))
        half = FADE_S / 2
        last = len(self.segments) - 1
        for i, s in enumerate(self.segments):
            if s.start_s - half > times_s.max() or s.end_s + half < times_s.min():
                continue
            into = np.clip((times_s - s.start_s + half) / FADE_S, 0, 1) if i else 1.0
            out = np.clip((s.end_s + half - times_s) / FADE_S, 0, 1) if i < last else 1.0
            total += np.reshape(into * out, (-1, 1)) * s.body(times_s)
        return total

    def parts(self, times_s: Array) -> Parts:
        return figure(
            self.pose(times_s), self.body, self.ground_y,
            stool=self.stool, stool_x=self.segments[0].x,
        )  # fmt: skip

    def labels(self, times_s: Array, space: LabelSpace) -> Floats:
        """Multi-hot `(T, K)`: what is being done at each moment."""
        rows = np.zeros((len(self.segments), len(space)), np.float32)
        for row, segment in zip(rows, self.segments, strict=True):
            row[[space.column_of(name) for name in segment.labels]] = 1
        starts = np.array([s.start_s for s in self.segments])
        at = np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, None)
        return rows[at]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Slow pan and zoom with a hand's shake, each a sum of sines; (A, f, phase) per channel."""

    centre: tuple[float, float]
    zoom: float
    waves: Array

    def view(self, times_s: Array) -> tuple[Array, Array, Array]:
        """Centre x, centre y and zoom `(T,)` each."""
        amplitude, hertz, phase = self.waves
        moved = amplitude[..., None] * np.sin(
            2 * np.pi * (hertz[..., None] * times_s + phase[..., None])
        )
        x, y, z = moved.sum(axis=1)
        return self.centre[0] + x, self.centre[1] + y, self.zoom * (1 + z)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A coloured box or ellipse of the scenery; it drifts and bobs if `velocity`, `bob` say so."""

    ellipse: bool
    centre: tuple[float, float]
    half: tuple[float, float]
    colour: tuple[float, float, float]
    opacity: float = 1.0
    velocity: float = 0.0
    bob: tuple[float, float, float] = (0.0, 0.0, 0.0)
    span: tuple[float, float] = (-0.3, 1.7)

    def at(self, times_s: Array) -> tuple[Array, Array]:
        """Centre x and y `(T,)`; a drifting thing that leaves `span` comes back at its far end."""
        low, high = self.span
        x = low + (self.centre[0] - low + self.velocity * times_s) % (high - low)
        height, hertz, phase = self.bob
        return x, self.centre[1] + height * np.sin(2 * np.pi * (hertz * times_s + phase))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaygroundWorld:
    """Everything that a clip shows, without a pixel yet. Actors are ordered far to near;
    `movers` are behind all of them, `front` before."""

    config: PlaygroundConfig
    space: LabelSpace
    actors: tuple[Actor, ...]
    camera: Camera
    movers: tuple[Thing, ...]
    front: tuple[Thing, ...]
    scenery_seed: np.random.SeedSequence

    def project(self, xy: Array, times_s: Array) -> Array:
        """World xy `(T, …, 2)` → pixels of the frame."""
        x, y, zoom = self.camera.view(times_s)
        shape = (-1,) + (1,) * (xy.ndim - 2)
        aspect, height = self.config.aspect, self.config.height
        px = ((xy[..., 0] - x.reshape(shape)) * zoom.reshape(shape) + aspect / 2) * height
        py = ((xy[..., 1] - y.reshape(shape)) * zoom.reshape(shape) + 0.5) * height
        return np.stack([px, py], axis=-1)

    def annotate(self, times_s: Array) -> tuple[list[Floats], list[Ints], list[Floats]]:
        """Boxes `(N, 4)` in [0, 1], person ids `(N,)` and labels `(N, K)` at each moment.

        A box is tight around the whole body and clipped to the frame. People of whom less than
        half is inside the frame, or who are more than `HIDDEN` behind someone nearer, have no row.
        """
        every = np.stack([a.parts(times_s).extent() for a in self.actors], axis=1)
        corners = self.project(every.reshape(len(times_s), -1, 2), times_s)
        w, h = self.config.width, self.config.height
        raw = corners.reshape(len(times_s), -1, 4) / np.array([w, h, w, h])
        clipped = np.clip(raw, 0, 1)
        labels = np.stack([a.labels(times_s, self.space) for a in self.actors], axis=1)
        ids = np.array([a.person_id for a in self.actors], np.int64)
        boxes: list[Floats] = []
        people: list[Ints] = []
        targets: list[Floats] = []
        for whole, seen, hot in zip(raw, clipped, labels, strict=True):
            keep = _visible(whole, seen)
            order = np.flatnonzero(keep)[np.argsort(ids[keep])]
            boxes.append(seen[order].astype(np.float32))
            people.append(ids[order])
            targets.append(hot[order])
        return boxes, people, targets


def _visible(whole: Array, seen: Array) -> npt.NDArray[np.bool_]:
    """Which of N people (ordered far to near) show enough of themselves, from unclipped `whole`
    and clipped `seen` boxes."""
    area = np.prod(np.clip(seen[:, 2:] - seen[:, :2], 0, None), axis=1)
    inside = area / np.prod(whole[:, 2:] - whole[:, :2], axis=1)
    keep = inside >= 0.5
    for i in range(len(seen)):
        nearer = seen[i + 1 :][keep[i + 1 :]]
        if len(nearer) and keep[i]:
            low = np.maximum(seen[i, :2], nearer[:, :2])
            high = np.minimum(seen[i, 2:], nearer[:, 2:])
            covered = np.prod(np.clip(high - low, 0, None), axis=1).max()
            keep[i] = covered <= HIDDEN * area[i]
    return np.asarray(keep)


def label_space(task: Task = "atomic") -> LabelSpace:
    """The classes of a playground task; `tasks.py` says what they mean."""
    return _SPACES[task]
