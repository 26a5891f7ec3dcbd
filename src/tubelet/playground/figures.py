"""Articulated people: a pose in, the tapered capsules of a body on the screen out.

Shape legend: T moments, P parts of a body. Lengths are in frame heights; x runs right, y down.
Body axes: 0 to the person's left, 1 forward, 2 up. A part is a capsule from `a` to `b` with a
radius at each end; a disc is a capsule of no length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.playground.actions import COLUMN, Array

_TILT = np.radians(9)
"""The camera looks down a little, so that nearer feet are lower on the screen."""

_SKIN = ((0.98, 0.84, 0.72), (0.90, 0.70, 0.55), (0.76, 0.55, 0.40), (0.55, 0.38, 0.27),
         (0.38, 0.26, 0.19))  # fmt: skip
_HAIR = ((0.10, 0.08, 0.07), (0.30, 0.18, 0.10), (0.55, 0.35, 0.15), (0.85, 0.70, 0.40),
         (0.62, 0.62, 0.64), (0.55, 0.20, 0.10))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Proportions (shares of the height), build and colours of one person."""

    height: float
    leg: float
    trunk: float
    arm: float
    build: float
    head: float
    long_hair: bool
    sleeves: bool
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    shirt: tuple[float, float, float]
    trousers: tuple[float, float, float]
    shoes: tuple[float, float, float]
    badge: tuple[float, float, float]


def draw_body(rng: np.random.Generator, height: float) -> Body:
    """A person of `height` frame heights with random build, clothes and hair."""
    shirt = _cloth(rng, 0.35, 1.0)
    return Body(
        height=height,
        leg=rng.uniform(0.235, 0.255),
        trunk=rng.uniform(0.285, 0.315),
        arm=rng.uniform(0.160, 0.175),
        build=rng.uniform(0.88, 1.22),
        head=rng.uniform(0.066, 0.078),
        long_hair=bool(rng.random() < 0.4),
        sleeves=bool(rng.random() < 0.5),
        skin=_SKIN[rng.integers(len(_SKIN))],
        hair=_HAIR[rng.integers(len(_HAIR))],
        shirt=shirt,
        trousers=_cloth(rng, 0.12, 0.6),
        shoes=_cloth(rng, 0.08, 0.4),
        badge=(1 - 0.9 * shirt[0], 1 - 0.9 * shirt[1], 1 - 0.9 * shirt[2]),
    )


def _cloth(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    value, grey = rng.uniform(low, high), rng.uniform(0.0, 0.7)
    hue = np.clip(np.abs((rng.random() * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    r, g, b = value * (grey + (1 - grey) * hue)
    return float(r), float(g), float(b)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """The capsules of one figure at T moments, in frame heights on the ground plane's screen.

    `a`, `b (T, P, 2)` xy; `radii (P, 2)`; `near (T, P)` larger is nearer; `colours (P, 3)` in
    [0, 1]; `opacity (P,)`; `body bool (P,)`: False for the shadow and the stool.
    """

    a: Array
    b: Array
    radii: Array
    near: Array
    colours: Array
    opacity: Array
    body: npt.NDArray[np.bool_]

    def extent(self) -> Array:
        """The body's tight box `(T, 4)` xyxy, in frame heights and not clipped."""
        a, b, r = self.a[:, self.body], self.b[:, self.body], self.radii[self.body]
        low = np.minimum(a - r[:, :1], b - r[:, 1:]).min(axis=1)
        high = np.maximum(a + r[:, :1], b + r[:, 1:]).max(axis=1)
        return np.concatenate([low, high], axis=1)


def _segment(pose: Array, name: str, side: int) -> Array:
    """Unit direction `(T, 3)` of a limb segment in its parent's axes."""
    flex, out = pose[:, COLUMN[f"{name}_flex"]], pose[:, COLUMN[f"{name}_out"]]
    return np.stack(
        [side * np.sin(out), np.cos(out) * np.sin(flex), -np.cos(out) * np.cos(flex)], axis=1
    )


def _tip(points: Array, angle: Array) -> Array:
    """Rotate `(T, …, 3)` forward about the left–right axis by `angle (T,)`."""
    shape = (-1,) + (1,) * (points.ndim - 2)
    cos, sin = np.cos(angle).reshape(shape), np.sin(angle).reshape(shape)
    out = points.copy()
    out[..., 1] = points[..., 1] * cos + points[..., 2] * sin
    out[..., 2] = points[..., 2] * cos - points[..., 1] * sin
    return out


_JOINTS = ("chest", "waist", "neck", "head", "crown", "face", "l_eye", "r_eye", "badge", "nape",
           "l_shoulder", "l_elbow", "l_hand", "r_shoulder", "r_elbow", "r_hand",
           "l_hip", "l_knee", "l_foot", "l_toe", "r_hip", "r_knee", "r_foot", "r_toe")  # fmt: skip
_J = {name: index for index, name in enumerate(_JOINTS)}


def _upper_body(pose: Array, body: Body, points: Array) -> None:
    """Fill `points` with the joints above the hips, the trunk's lean applied."""
    wide, up = 0.098 * body.build, body.trunk
    for name, at in (("chest", (0, 0, 0.86 * up)), ("waist", (0, 0, 0.10 * up)),
                     ("badge", (0, 0.062 * body.build, 0.72 * up)),
                     ("neck", (0, 0.005, up + 0.02))):  # fmt: skip
        points[:, _J[name]] = at
    nod = pose[:, COLUMN["nod"]]
    r = body.head
    face = np.array([(0, 0, 0), (0, -0.34 * r, 0.34 * r), (0, 0.22 * r, -0.18 * r),
                     (0.36 * r, 0.86 * r, 0.05 * r), (-0.36 * r, 0.86 * r, 0.05 * r),
                     (0, -0.5 * r, -0.9 * r)])  # fmt: skip
    tilted = _tip(np.repeat(face[None], len(pose), 0), nod)
    centre = np.array([0, 0.012, up + 0.03 + 1.02 * r])
    for k, name in enumerate(("head", "crown", "face", "l_eye", "r_eye", "nape")):
        points[:, _J[name]] = tilted[:, k] + centre
    for side, sign in (("l", 1), ("r", -1)):
        shoulder = np.array([sign * wide, 0, 0.93 * up])
        elbow = shoulder + body.arm * _segment(pose, f"{side}_upper", sign)
        hand = elbow + 0.97 * body.arm * _segment(pose, f"{side}_fore", sign)
        points[:, _J[f"{side}_shoulder"]] = shoulder
        points[:, _J[f"{side}_elbow"]] = elbow
        points[:, _J[f"{side}_hand"]] = hand
    above = slice(0, _J["l_hip"])
    points[:, above] = _tip(points[:, above], pose[:, COLUMN["lean"]])


def joints(pose: Array, body: Body) -> Array:
    """Joint places `(T, J, 3)` in body axes and body heights, the lowest part on the ground."""
    points = np.zeros((len(pose), len(_JOINTS), 3))
    _upper_body(pose, body, points)
    for side, sign in (("l", 1), ("r", -1)):
        hip = np.array([sign * 0.047 * body.build, 0, 0])
        shin = _segment(pose, f"{side}_shin", sign)
        knee = hip + body.leg * _segment(pose, f"{side}_thigh", sign)
        foot = knee + body.leg * 0.94 * shin
        forward = np.stack([0 * shin[:, 0], -shin[:, 2], shin[:, 1]], axis=1)
        points[:, _J[f"{side}_hip"]] = hip
        points[:, _J[f"{side}_knee"]] = knee
        points[:, _J[f"{side}_foot"]] = foot
        points[:, _J[f"{side}_toe"]] = foot + 0.052 * forward
    points = _tip(points, pose[:, COLUMN["pitch"]])
    feet = points[:, [_J["l_foot"], _J["r_foot"]], 1].mean(axis=1)
    points[..., 1] -= (pose[:, COLUMN["feet"]] * feet)[:, None]
    lowest = points[..., 2].min(axis=1) - 0.026
    points[..., 2] += (pose[:, COLUMN["hop"]] - lowest)[:, None]
    return points


def _skeleton(body: Body) -> list[tuple[str, str, float, float, tuple[float, float, float], float]]:
    """Rows (from, to, radius, radius, colour, how much nearer than its middle it is drawn)."""
    b = body.build
    sleeve = body.shirt if body.sleeves else body.skin
    rows = [
        ("neck", "head", 0.030, 0.030, body.skin, -0.02),
        ("chest", "waist", 0.068 * b, 0.060 * b, body.shirt, -0.006),
        ("badge", "badge", 0.030 * b, 0.030 * b, body.badge, 0.012),
        ("head", "face", 0.94 * body.head, 0.80 * body.head, body.skin, 0.0),
        ("crown", "crown", 0.93 * body.head, 0.93 * body.head, body.hair, 0.12 * body.head),
        ("l_eye", "l_eye", 0.0085, 0.0085, (0.06, 0.05, 0.05), 0.004),
        ("r_eye", "r_eye", 0.0085, 0.0085, (0.06, 0.05, 0.05), 0.004),
    ]
    if body.long_hair:
        rows.append(("crown", "nape", 0.9 * body.head, 0.75 * body.head, body.hair, -0.01))
    for s in "lr":
        rows += [
            (f"{s}_shoulder", f"{s}_hip", 0.052 * b, 0.058 * b, body.shirt, 0.0),
            (f"{s}_shoulder", f"{s}_elbow", 0.036 * b, 0.030 * b, body.shirt, 0.012),
            (f"{s}_elbow", f"{s}_hand", 0.029 * b, 0.022 * b, sleeve, 0.014),
            (f"{s}_hand", f"{s}_hand", 0.028, 0.028, body.skin, 0.016),
            (f"{s}_hip", f"{s}_knee", 0.056 * b, 0.041 * b, body.trousers, -0.002),
            (f"{s}_knee", f"{s}_foot", 0.040 * b, 0.028 * b, body.trousers, 0.0),
            (f"{s}_foot", f"{s}_toe", 0.028, 0.024, body.shoes, 0.006),
        ]
    return rows


def stool_seat(body: Body) -> tuple[float, float]:
    """Position of a stool, in body heights: distance behind the feet, height of its top."""
    return body.leg * 0.96, 0.94 * body.leg - 0.03 * body.build


def figure(
    pose: Array, body: Body, ground_y: float, *, stool: float | None, stool_x: float = 0.0
) -> Parts:
    """The drawn parts of `body` in `pose (T, D)`, its feet on the line `ground_y`.

    `stool` is the yaw (radians) of someone who would sit on it, None for no stool; its owner's
    feet belong at `stool_x`.
    """
    points = joints(pose, body)
    rows = _skeleton(body)
    at = points[:, [[_J[r[0]] for r in rows], [_J[r[1]] for r in rows]]]
    yaw = pose[:, COLUMN["yaw"]]
    ends, near = _project(at, yaw[:, None, None], body.height)
    ends[..., 0] += pose[:, COLUMN["x"], None, None]
    near = near.mean(axis=1) + np.array([r[5] for r in rows]) * body.height
    radii = np.array([r[2:4] for r in rows]) * body.height
    colours = np.array([r[4] for r in rows])
    extras = _ground_parts(points, ends, body, stool, stool_x)
    a = np.concatenate([ends[:, 0], extras[0]], axis=1)
    b = np.concatenate([ends[:, 1], extras[1]], axis=1)
    a[..., 1] += ground_y
    b[..., 1] += ground_y
    count = len(extras[2])
    return Parts(
        a=a,
        b=b,
        radii=np.concatenate([radii, extras[2]]),
        near=np.concatenate([near, extras[3]], axis=1),
        colours=np.concatenate([colours, extras[4]]),
        opacity=np.r_[np.ones(len(rows)), extras[5]],
        body=np.r_[np.ones(len(rows), bool), np.zeros(count, bool)],
    )


def _project(points: Array, yaw: npt.ArrayLike, height: float) -> tuple[Array, Array]:
    """Body axes `(…, 3)` → screen xy `(…, 2)` with y down from the feet, and nearness `(…,)`."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    left, forward, up = points[..., 0], points[..., 1], points[..., 2]
    near = forward * cos - left * sin
    screen_y = near * np.sin(_TILT) - up * np.cos(_TILT)
    xy = np.stack([left * cos + forward * sin, screen_y], axis=-1) * height
    return xy, np.asarray(near * height)


def _ground_parts(
    points: Array, ends: Array, body: Body, stool: float | None, stool_x: float
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The shadow on the ground and the stool, if any: (a, b, radii, near, colours, opacity)."""
    moments, h = len(points), body.height
    lift = np.clip(points[..., 2].min(axis=1) - 0.03, 0, None)[:, None]
    middle, half = ends[..., 0].mean(axis=(1, 2))[:, None], (0.11 - 0.2 * lift) * h
    spread = ends[..., 0].std(axis=(1, 2))[:, None] * 0.9
    ground = np.full_like(middle, 0.004 * h)
    a = [np.stack([middle - half - spread, ground], axis=-1)]
    b = [np.stack([middle + half + spread, ground], axis=-1)]
    radii, near, colours, opacity = [(0.026 * h,) * 2], [-9.0], [(0.03, 0.03, 0.05)], [0.38]
    if stool is not None:
        back, top = stool_seat(body)
        wood = (0.48, 0.33, 0.20)
        seat = np.array([(x, -back + y, z) for x, y, z in (
            (-0.07, 0, top), (0.07, 0, top), (-0.07, 0, 0.01), (0.07, 0, 0.01),
            (0, -0.07, top), (0, 0.07, top), (0, -0.07, 0.01), (0, 0.07, 0.01))])  # fmt: skip
        xy, depth = _project(seat, stool, h)
        xy[:, 0] += stool_x
        for i, j, r in ((0, 2, 0.014), (1, 3, 0.014), (4, 6, 0.014), (5, 7, 0.014),
                        (0, 1, 0.026), (4, 5, 0.026)):  # fmt: skip
            a.append(np.broadcast_to(xy[i], (moments, 1, 2)))
            b.append(np.broadcast_to(xy[j], (moments, 1, 2)))
            radii.append((r * h,) * 2)
            near.append(float(depth[[i, j]].mean()) - 0.045 * h)
            colours.append(wood if r > 0.02 else (0.30, 0.21, 0.13))
            opacity.append(1.0)
    nearness = np.broadcast_to(np.array(near), (moments, len(near)))
    return (
        np.concatenate(a, axis=1), np.concatenate(b, axis=1), np.array(radii), nearness,
        np.array(colours), np.array(opacity),
    )  # fmt: skip
