"""From decoded frames to the tensor a model takes. Training and detection both use this.

Legend: T frames, (H, W) of the decoded clip, (h, w) of the tensor, N people.

Frames come already resized to `clip_size`, by the kernel that the model's input names, so without
augmentation nothing is resampled here: only a crop or zeros at the right and below. Bytes stay
bytes; the model normalises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tubelet.boxes import Geometry, area, clip_unit, short_side_hw
from tubelet.errors import ConfigError, ShapeError
from tubelet.types import Floats, InputSpec, Pixels, Preprocessing

Hw = tuple[int, int]
_LUMA = (0.299, 0.587, 0.114)
_ROUNDINGS: dict[str, Callable[[float], int]] = {"floor": int, "ceil": ceil, "nearest": round}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What training does to a clip at random; every frame of a clip gets the same.

    `scale`: range of the short side, relative to `InputSpec.short_side` ([256, 320] at 256 is
    (1, 1.25)). `aspect`: up to this much wider or narrower (0.1: a tenth). `crop`: side of a
    random square crop in pixels, or its (height, width). `crop_at`: it shows as much as it can of a
    "person", drawn at random, or lies "anywhere" (001 §2). `min_visible`: people stay of whose box
    the crop shows at least this share of the area, and a pixel each way. `flip`: probability of
    mirroring left–right. `brightness`, `contrast`, `saturation`: factors drawn from [1 − x, 1 + x];
    `grey`: probability of losing all colour. `speed`: the clip's frames lie up to this much closer
    or further apart; `box_jitter`: each box edge moves by up to this share of the box. Those two
    are the dataset's to apply, before the frames are chosen and after the boxes are. `mosaic`:
    probability that four clips of half the size share the picture, which the stream of training
    samples puts together (detection only).
    """

    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 0.0
    crop: int | tuple[int, int] | None = None
    crop_at: Literal["person", "anywhere"] = "person"
    min_visible: float = 0.25
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    grey: float = 0.0
    speed: float = 0.0
    box_jitter: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ConfigError(
                "Augment.scale must be a range", expected="0 < low ≤ high", got=(low, high)
            )
        if self.crop is not None and min(_sides(self.crop)) < 1:
            raise ConfigError("Augment.crop must be at least one pixel", got=self.crop)
        shares = (
            "aspect",
            "min_visible",
            "flip",
            "brightness",
            "contrast",
            "saturation",
            "grey",
            "speed",
            "mosaic",
        )
        for name in shares:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"Augment.{name} is out of range", expected="[0, 1]", got=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One of several looks at a test clip; as it stands, the one that `prepare` takes.

    `flip`: mirrored left–right. `place`: where along the longer side a crop lies, in [0, 1]: 0
    begins at the left (or top), 1 ends at the right (or bottom).
    """

    flip: bool = False
    place: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.place <= 1:
            raise ConfigError("View.place is out of range", expected="[0, 1]", got=self.place)


def _sides(crop: int | tuple[int, int]) -> Hw:
    return (crop, crop) if isinstance(crop, int) else crop


def clip_size(source_hw: Hw, spec: InputSpec, augment: Augment | None = None) -> Hw:
    """(H, W) to decode frames at: the test size, or the largest that `augment` can draw."""
    return _scaled_hw(source_hw, spec, augment.scale[1] if augment else 1.0)


def _scaled_hw(source_hw: Hw, spec: InputSpec, scale: float) -> Hw:
    long_side = None if spec.long_side is None else round(spec.long_side * scale)
    short_side = max(1, round(spec.short_side * scale))
    return short_side_hw(source_hw, short_side, long_side, spec.preprocessing.size_rounding)


def prepare(
    clip: Pixels,
    source_hw: Hw,
    spec: InputSpec,
    augment: Augment | None = None,
    rng: np.random.Generator | None = None,
    focus: Floats | None = None,
) -> tuple[Tensor, Geometry]:
    """Clip `(T, H, W, 3)` → frames `(3, T, h, w)` of the same type (u8, or float32 grey levels; u8
    becomes float32 where it is filled up with the mean), and the Geometry that maps its boxes.

    `source_hw`: the upright source frame. `focus (4,)`: a box in [0, 1] that a random crop shows
    as much of as it can. The same `rng` state gives the same result.
    Raises ShapeError for a clip that does not fit `spec`, ConfigError for `augment` without `rng`.
    """
    # Only torch's kernel leaves fractions of grey levels.
    kinds = ("uint8", "float32") if spec.preprocessing.kernel == "torch" else ("uint8",)
    if clip.ndim != 4 or clip.shape[3] != 3 or clip.dtype.name not in kinds:
        raise ShapeError(
            "a clip is frames of RGB bytes",
            expected=f"{' or '.join(kinds)} (T, H, W, 3)",
            got=f"{clip.dtype} {clip.shape}",
        )
    if len(clip) != spec.frames:
        raise ShapeError("the clip has the wrong length", expected=spec.frames, got=len(clip))
    if augment is not None and rng is None:
        raise ConfigError("missing random generator for augmentation", hint="pass rng")
    plan = _plan(source_hw, spec, augment, rng, focus)
    frames = torch.from_numpy(np.ascontiguousarray(clip)).permute(3, 0, 1, 2)
    frames = _cut(_resize(frames, plan.resized_hw), plan)
    if augment is not None and rng is not None:
        frames = _recolour(frames, augment, rng)
    return _pad(frames, plan.out_hw, spec), plan


def _plan(
    source_hw: Hw,
    spec: InputSpec,
    augment: Augment | None,
    rng: np.random.Generator | None,
    focus: Floats | None,
) -> Geometry:
    """Draw the resize, crop and flip; without `augment` the test-time ones."""
    if augment is None or rng is None:
        return _test_plan(source_hw, spec, View())
    stretch = 1 + augment.aspect * rng.uniform(-1, 1)
    height, width = _scaled_hw(source_hw, spec, rng.uniform(*augment.scale))
    resized = height, max(1, round(width * stretch))
    side = augment.crop or spec.crop
    visible = _cropped(resized, side)
    left, top = (_offset(resized[i], visible[i], focus, 1 - i, rng) for i in (1, 0))
    flip = bool(rng.random() < augment.flip)
    return _geometry(source_hw, resized, (left, top), visible, side, spec.multiple, flip=flip)


def _test_plan(source_hw: Hw, spec: InputSpec, view: View) -> Geometry:
    resized = clip_size(source_hw, spec)
    visible = _cropped(resized, spec.crop)
    along = int(resized[1] >= resized[0])
    left, top = (
        _rounded_offset(
            resized[i] - visible[i],
            view.place if i == along else 0.5,
            spec.preprocessing.crop_rounding,
        )
        for i in (1, 0)
    )
    return _geometry(
        source_hw, resized, (left, top), visible, spec.crop, spec.multiple, flip=view.flip
    )


def _rounded_offset(spare: int, place: float, rounding: str) -> int:
    if rounding == "halves":
        return int(place * 2 * (spare // 2))
    return _ROUNDINGS[rounding](spare * place)


def _geometry(
    source_hw: Hw,
    resized: Hw,
    corner: tuple[int, int],
    visible: Hw,
    side: int | tuple[int, int] | None,
    multiple: int,
    *,
    flip: bool,
) -> Geometry:
    """The plan that shows `visible` pixels from `corner` (x, y) on, in a crop of `side`."""
    height, width = (
        -(-edge // multiple) * multiple for edge in (_sides(side) if side else visible)
    )
    left, top = corner
    # A mirrored clip keeps its zeros at the right: the crop begins that much further left.
    return Geometry(
        source_hw=source_hw,
        resized_hw=resized,
        crop_xy=(left - (width - visible[1]) if flip else left, top),
        out_hw=(height, width),
        flip=flip,
    )


def whole(spec: InputSpec) -> InputSpec:
    """`spec` without crop and zeros: the clip that every `look` of a scale is cut from."""
    return replace(spec, crop=None, multiple=1)


def look(
    frames: Tensor, geometry: Geometry, spec: InputSpec, view: View
) -> tuple[Tensor, Geometry]:
    """One view of a test clip: what `prepare` would have made of the same decoded frames.

    `frames` u8 `(3, T, H, W)` and `geometry` are the clip of `whole(spec)`, so that a film is
    decoded once for all crops and mirrorings. Raises ShapeError for any other clip.
    """
    plan = _test_plan(geometry.source_hw, spec, view)
    if tuple(frames.shape[2:]) != plan.resized_hw or geometry.resized_hw != plan.resized_hw:
        raise ShapeError(
            "a view needs the whole clip of its scale",
            expected=plan.resized_hw,
            got=tuple(frames.shape[2:]),
        )
    return _pad(_cut(frames, plan), plan.out_hw, spec), plan


def _cropped(hw: Hw, side: int | tuple[int, int] | None) -> Hw:
    if side is None:
        return hw
    height, width = _sides(side)
    return min(height, hw[0]), min(width, hw[1])


def _offset(
    total: int, shown: int, focus: Floats | None, axis: int, rng: np.random.Generator
) -> int:
    """Where a crop of `shown` of `total` pixels begins; `axis` 0 is x, 1 is y."""
    low, high = 0, total - shown
    if focus is not None:
        near, far = focus[axis] * total, focus[axis + 2] * total - shown
        low = int(np.clip(min(near, far), 0, high))
        high = int(np.clip(max(near, far), low, high))
    return int(rng.integers(low, high + 1))


def _resize(frames: Tensor, hw: Hw) -> Tensor:
    if tuple(frames.shape[2:]) == hw:
        return frames
    # torch resizes bytes in place of floats only where time is the batch.
    resized = functional.interpolate(
        frames.transpose(0, 1), hw, mode="bilinear", antialias=True, align_corners=False
    )
    return resized.transpose(0, 1)


def _cut(frames: Tensor, plan: Geometry) -> Tensor:
    """The visible part, mirrored where the plan says so."""
    left, top, right, bottom = plan.visible_px()
    x = plan.crop_xy[0] + (plan.out_hw[1] - right if plan.flip else left)
    y = plan.crop_xy[1] + top
    part = frames[:, :, y : y + bottom - top, x : x + right - left]
    return part.flip(3) if plan.flip else part


def _recolour(frames: Tensor, augment: Augment, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast about the clip's mean grey, and saturation, as one linear map."""
    spread = np.array([augment.brightness, augment.contrast, augment.saturation])
    brightness, contrast, saturation = 1 + spread * rng.uniform(-1, 1, 3)
    if rng.random() < augment.grey:
        saturation = 0.0
    if not spread.any() and not augment.grey:
        return frames
    luma = torch.tensor(_LUMA)
    pixels = frames.reshape(3, -1).float()
    mean = float(luma @ pixels.mean(1))
    colour = saturation * torch.eye(3) + (1 - saturation) * luma.expand(3, 3)
    mixed = torch.mm(colour * (brightness * contrast), pixels)
    mixed += brightness * (1 - contrast) * mean
    if frames.dtype == torch.uint8:
        mixed.round_()
    return mixed.clamp_(0, 255).to(frames.dtype).reshape(frames.shape)


def _pad(frames: Tensor, hw: Hw, spec: InputSpec) -> Tensor:
    """Frames `(3, T, …)` filled up at the right and below to `hw`; a mean has fractions of grey
    levels, which bytes do not hold."""
    if spec.preprocessing.padding == "mean" and tuple(frames.shape[2:]) != hw:
        out = torch.empty(*frames.shape[:2], *hw)
        out[:] = 255 * torch.tensor(spec.mean).view(3, 1, 1, 1)
    else:
        out = frames.new_zeros(*frames.shape[:2], *hw)
    out[:, :, : frames.shape[2], : frames.shape[3]] = frames
    return out


def boxes_in_clip(
    boxes: Floats, geometry: Geometry, spec: InputSpec, min_visible: float = 0.25
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Source boxes `(N, 4)` in [0, 1] → clip pixels `(N, 4)`, placed as `spec` says and cut to what
    the clip shows, and a mask `(N,)` of those to keep: at least `min_visible` of the area and one
    pixel each way."""
    px = _place(boxes, geometry, spec.preprocessing)
    left, top, right, bottom = geometry.visible_px()
    if spec.preprocessing.box_edge == "last_pixel":
        right, bottom = right - 1, bottom - 1
    cut = np.clip(px, [left, top, left, top], [right, bottom, right, bottom]).astype(np.float32)
    whole = area(px)
    share = np.divide(area(cut), whole, out=np.zeros_like(whole), where=whole > 0)
    keep = (share >= min_visible) & (cut[:, 2:] - cut[:, :2] >= 1).all(axis=1)
    return cut, keep


def _place(boxes: Floats, geometry: Geometry, rules: Preprocessing) -> Floats:
    """Source boxes in [0, 1] → pixels of the clip, not yet cut to it."""
    if rules.box_scale == "axes" and rules.box_edge == "frame":
        return geometry.to_clip_px(boxes)
    source, resized = (np.array(hw[::-1] * 2) for hw in (geometry.source_hw, geometry.resized_hw))
    px = boxes.astype(np.float64) * source
    if rules.box_edge == "inclusive":
        px[:, 2:] = np.maximum(px[:, 2:] - 1, px[:, :2])
    if rules.box_edge != "frame":
        px = np.clip(px, 0, source - 1)
    long_side = int(source[1] > source[0])
    scale = resized / source
    px *= scale[long_side] if rules.box_scale == "long_side" else scale
    px -= np.array(geometry.crop_xy * 2)
    if geometry.flip:
        last = geometry.out_hw[1] - (rules.box_edge != "frame")
        px[:, [0, 2]] = last - px[:, [2, 0]]
    return np.asarray(px, np.float32)


def jitter_boxes(boxes: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """Boxes `(N, 4)` in [0, 1] with each edge moved by up to `amount` (below 0.5) of the box's
    width or height, cut to the frame."""
    if not 0 <= amount < 0.5:
        raise ConfigError("box jitter out of range", expected="[0, 0.5)", got=amount)
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return clip_unit((boxes + size * rng.uniform(-amount, amount, boxes.shape)).astype(np.float32))
