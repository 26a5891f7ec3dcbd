"""The records that travel between rooms (those of results are in `results`). NumPy only.

Shape legend: N people of a keyframe.
Boxes are xyxy in [0, 1] of the upright source frame; times are integer milliseconds
on the source's own timeline, so that a key is never a float.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tubelet.errors import ConfigError, ShapeError

Floats = npt.NDArray[np.float32]
# Pixels in grey levels 0…255: bytes, or fractions where an upstream project's kernel leaves them.
Pixels = npt.NDArray[np.uint8 | np.float32]
Ints = npt.NDArray[np.int64]


def as_boxes(values: npt.ArrayLike, name: str = "boxes") -> Floats:
    """Return `values` as float32 `(N, 4)`; an empty list is zero boxes.

    Raises ShapeError for any other shape or for NaN/infinite coordinates.
    """
    boxes = np.asarray(values, dtype=np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{name} must be a list of xyxy boxes", expected="(N, 4)", got=boxes.shape)
    if not np.isfinite(boxes).all():
        row = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise ShapeError(f"{name}[{row}] has a coordinate that is not finite", got=boxes[row])
    return boxes


def check_shape(array: npt.NDArray[Any], shape: tuple[int | None, ...], name: str) -> None:
    """Raise ShapeError unless `array.shape` fits `shape`, where None stands for any length."""
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("*" if s is None else str(s) for s in shape) + ")"
        raise ShapeError(f"{name} has the wrong shape", expected=wanted, got=array.shape)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """One labelled or detected moment: a video and a time on its own timeline."""

    video: str
    time_ms: int

    def __post_init__(self) -> None:
        if not isinstance(self.time_ms, (int, np.integer)):
            raise ShapeError("Key.time_ms must be an integer", expected="int ms", got=self.time_ms)
        object.__setattr__(self, "time_ms", int(self.time_ms))

    def __str__(self) -> str:
        return f"{self.video}@{self.time_ms / 1000:.3f}s"


Kernel = Literal["swscale", "cv2", "torch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a clip is cut from a video and its boxes placed, where an upstream project
    differs; the defaults are tubelet's. `tubelet.media.originals` holds theirs by name.

    Frames. `choice`: "stride", the τ of the `InputSpec` about the key; or T frames spread over all
    those stamped in the `span_s` seconds around it (None: T·τ / fps), at the "ends" of T − 1
    equal parts (first and last included) or in the "middles" of T. `anchor`: a stride counts from
    the "frame" on show, or from the "key" moment itself, as in films that were cut into pictures
    at `InputSpec.fps` beforehand. `shift`: frames that the clip lies later.

    Pixels. `kernel` resizes: "swscale" inside the decoder; "cv2", its bilinear on bytes; "torch",
    `interpolate` without antialiasing. `size_rounding` of the longer side, `crop_rounding` of a
    crop's offset; "halves": twice the rounded half of what is over, for a crop at the far end.
    `padding` of what fills up to `InputSpec.multiple`: the "mean" where a project pads after it
    normalises.

    Boxes. `box_scale`: each of the "axes" by its own size, or both by that of the "long_side".
    `box_edge`: a box ends at the edge of the "frame"; at the centre of its "last_pixel" (W − 1);
    or it is "inclusive" of its last pixel, so that x2 and y2 are one source pixel less.
    `min_person_score`: of the detector's boxes that the published figure was measured with.
    """

    choice: Literal["stride", "ends", "middles"] = "stride"
    span_s: float | None = None
    anchor: Literal["frame", "key"] = "frame"
    shift: int = 0
    kernel: Kernel = "swscale"
    size_rounding: Literal["nearest", "floor", "half_up"] = "nearest"
    crop_rounding: Literal["floor", "ceil", "nearest", "halves"] = "floor"
    padding: Literal["black", "mean"] = "black"
    box_scale: Literal["axes", "long_side"] = "axes"
    box_edge: Literal["frame", "last_pixel", "inclusive"] = "frame"
    min_person_score: float | None = None

    def __post_init__(self) -> None:
        if self.choice == "stride" and self.span_s is not None:
            raise ConfigError(
                "span_s requires a spread clip",
                expected='Preprocessing.choice "ends" or "middles"',
                got=f"span_s {self.span_s}",
            )
        if self.span_s is not None and not 0 < self.span_s < 3600:
            raise ConfigError("Preprocessing.span_s is out of range", got=self.span_s)
        if self.choice != "stride" and (self.shift or self.anchor != "frame"):
            raise ConfigError("a spread clip has neither shift nor anchor", got=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """The clip that a model expects; it belongs to the model and travels in its checkpoint.

    `frames` T, `stride` τ. With `fps` None, τ counts source frames as they come; with a number,
    the source is read as if it ran at that rate (τ/fps seconds between frames), so that a model
    trained on 30 fps video sees the same motion in a 60 fps one. `short_side` in pixels, the long
    side limited to `long_side` if given; both sides are zero-padded (right, below) to a multiple
    of `multiple`, or cropped centrally to a square of `crop` if given (classification).
    `mean` and `std` are of RGB in [0, 1]. `preprocessing`: everything else that an upstream project
    does.
    """

    frames: int = 32
    stride: int = 2
    fps: float | None = None
    short_side: int = 256
    long_side: int | None = None
    crop: int | None = None
    multiple: int = 1
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
    preprocessing: Preprocessing = Preprocessing()

    def __post_init__(self) -> None:
        if min(self.frames, self.stride, self.short_side, self.multiple) < 1:
            raise ConfigError(
                "an input needs at least one frame, stride, pixel and multiple",
                got=f"frames {self.frames}, stride {self.stride}, short side {self.short_side}",
            )
        if min(self.std) <= 0:
            raise ConfigError("InputSpec.std must be positive", got=self.std)
        rules = self.preprocessing
        timed = rules.anchor == "key" or (rules.choice != "stride" and rules.span_s is None)
        if timed and self.fps is None:
            raise ConfigError(
                "missing frame rate: this choice of frames counts in seconds",
                where="InputSpec.preprocessing",
                expected="InputSpec.fps: the rate that τ counts at",
                got=None,
            )

    @property
    def span_s(self) -> float | None:
        """Seconds that a spread clip takes its frames from; None for a stride."""
        if self.preprocessing.choice == "stride":
            return None
        if self.preprocessing.span_s is not None or self.fps is None:
            return self.preprocessing.span_s
        return self.frames * self.stride / self.fps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """The people of one keyframe: boxes `(N, 4)` in [0, 1], scores `(N,)`, track ids `(N,)`.

    `track_ids` is −1 where the identity is unknown. Use `People.of` to fill defaults.
    """

    boxes: Floats
    scores: Floats
    track_ids: Ints

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes, "People.boxes")
        scores = np.asarray(self.scores, np.float32)
        ids = np.asarray(self.track_ids, np.int64)
        check_shape(scores, (len(boxes),), "People.scores")
        check_shape(ids, (len(boxes),), "People.track_ids")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "track_ids", ids)

    @classmethod
    def of(
        cls,
        boxes: npt.ArrayLike,
        scores: npt.ArrayLike | None = None,
        track_ids: npt.ArrayLike | None = None,
    ) -> People:
        """People from boxes alone: scores default to 1, track ids to −1."""
        xyxy = as_boxes(boxes, "People.boxes")
        n = len(xyxy)
        return cls(
            boxes=xyxy,
            scores=np.ones(n, np.float32) if scores is None else np.asarray(scores, np.float32),
            track_ids=np.full(n, -1, np.int64)
            if track_ids is None
            else np.asarray(track_ids, np.int64),
        )

    @classmethod
    def split(
        cls,
        boxes: npt.ArrayLike,
        scores: npt.ArrayLike,
        track_ids: npt.ArrayLike,
        bounds: Sequence[int],
    ) -> Iterator[People]:
        """The people of many keyframes from columns: those from each of `bounds` to the next.

        The columns are checked once, not keyframe by keyframe; each record is a view of them.
        """
        everyone = cls.of(boxes, scores, track_ids)
        put = object.__setattr__
        for begin, end in pairwise(bounds):
            people = object.__new__(cls)
            put(people, "boxes", everyone.boxes[begin:end])
            put(people, "scores", everyone.scores[begin:end])
            put(people, "track_ids", everyone.track_ids[begin:end])
            yield people

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: npt.NDArray[Any]) -> People:
        """The people at `index` (integers or a boolean mask), in that order."""
        return People(
            boxes=self.boxes[index], scores=self.scores[index], track_ids=self.track_ids[index]
        )
