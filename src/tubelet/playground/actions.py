"""What playground people can do: the label space and the body pose of each action in time.

Shape legend: T moments, D numbers of a pose (`POSE` names them). All angles are radians.
Every action is a closed form of time, so any frame can be drawn without those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace

Array = npt.NDArray[np.float64]

POSES = (
    "stand",
    "sit",
    "walk",
    "run/jog",
    "jump/leap",
    "bend/bow (at the waist)",
    "lie/sleep",
    "sit down",
    "get up",
    "turn around",
)
ARMS = ("hand wave", "raise hand", "hand clap", "point to (an object)")
PAIRS = ("hand shake", "push (another person)", "hug (a person)")
_NAMES = POSES + ARMS + PAIRS


def _ids(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(_NAMES.index(name) + 1 for name in names)


LABELS = LabelSpace(
    ids=tuple(range(1, len(_NAMES) + 1)),
    names=_NAMES,
    groups={
        "pose": _ids(POSES),
        "arm": _ids(ARMS),
        "person-person": _ids(PAIRS),
    },
)
"""Multi-label as in AVA: one pose per person, at most one arm action, at most one interaction."""

MOTION_ACTIONS = ("sit down", "get up", "turn around", "hand wave")
"""Not decidable from one frame: `sit down` is `get up` backwards, `turn around` is standing at
some angle, and a waving arm is at any one moment a raised hand."""

_LIMBS = [f"{side}_{part}" for side in "lr" for part in ("thigh", "shin", "upper", "fore")]
_TRUNK = ("pitch", "lean", "yaw", "hop", "feet", "nod", "x")
POSE = (*_TRUNK, *(f"{limb}_{axis}" for limb in _LIMBS for axis in ("flex", "out")))
"""Names of the D columns. `pitch` tips the whole body forward, `lean` the trunk from the hips;
`yaw` 0 faces the camera, +90° the right edge; `hop` is height off the ground in body heights;
`feet` 1 anchors the body at its feet and 0 at its hips; `x` is the place on the ground line.
A limb segment hangs down at 0; `flex` swings it forward, `out` away from the body."""
COLUMN = {name: index for index, name in enumerate(POSE)}
ARM_COLUMNS = np.array([i for i, n in enumerate(POSE) if "upper" in n or "fore" in n])


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one person does one action: drawn once, so that a pose stays a function of time.

    `side` +1 acts with the left arm, −1 with the right; `rate` scales the action's frequency;
    `phase` in [0, 1) of a cycle; `lift` and `angle` in [−1, 1] vary where arms are held;
    `reach` is the direction from shoulder to the other person's hand (radians from hanging down).
    """

    side: int = 1
    rate: float = 1.0
    phase: float = 0.0
    lift: float = 0.0
    angle: float = 0.0
    reach: float = 1.2


def pose_of(count: int, **degrees: npt.ArrayLike) -> Array:
    """`(count, D)`: zeros but for the columns given, angles in degrees (hop, feet, x as they are).

    A name without its side ("thigh_flex") sets both sides.
    """
    pose = np.zeros((count, len(POSE)))
    for name, value in degrees.items():
        plain = name in ("hop", "feet", "x")
        values = np.asarray(value, np.float64) * (1.0 if plain else np.pi / 180)
        for column in [name] if name in COLUMN else [f"l_{name}", f"r_{name}"]:
            pose[:, COLUMN[column]] = values
    return pose


def _stand(t: Array, p: Array, s: Style) -> Array:
    sway = np.sin(2 * np.pi * (0.4 * t + s.phase))
    return pose_of(
        len(t), lean=1.5 * sway, thigh_out=4 + 2 * s.angle, shin_out=3, upper_out=10 + 3 * s.lift,
        upper_flex=2 * sway, fore_flex=12, fore_out=5, nod=6 * s.lift, feet=1.0,
    )  # fmt: skip


def _seat(p: Array, s: Style) -> Array:
    """Between standing (p = 0) and sitting (p = 1); `sit down` and `get up` both walk along p."""
    hurry = np.sin(np.pi * p)
    return pose_of(
        len(p), lean=4 * p + 38 * hurry, thigh_flex=86 * p, thigh_out=4 + 4 * p,
        shin_flex=-16 * hurry - 2 * p, shin_out=3, upper_flex=22 * p + 40 * hurry,
        upper_out=10 - 3 * p, fore_flex=12 + 48 * p + 30 * hurry, fore_out=5, nod=6 * s.lift,
        feet=1.0,
    )  # fmt: skip


def _gait(t: Array, s: Style, *, run: bool) -> Array:
    hz = (1.5 if run else 0.95) * s.rate
    phi = 2 * np.pi * (hz * t + s.phase)
    swing = np.stack([np.sin(phi), -np.sin(phi)])
    lifted = np.clip(np.stack([np.cos(phi), -np.cos(phi)]), 0, None)
    thigh = (46 if run else 29) * swing + (14 if run else 4)
    shin = thigh - ((22 + 85 * lifted) if run else (6 + 48 * lifted))
    upper = -(48 if run else 30) * swing + (5 if run else 0)
    fore = upper + (88 if run else 18)
    return pose_of(
        len(t), lean=14 if run else 3, hop=0.05 * np.abs(np.cos(phi)) if run else 0.0,
        l_thigh_flex=thigh[0], r_thigh_flex=thigh[1], l_shin_flex=shin[0], r_shin_flex=shin[1],
        l_upper_flex=upper[0], r_upper_flex=upper[1], l_fore_flex=fore[0], r_fore_flex=fore[1],
        upper_out=9, thigh_out=2, fore_out=4,
    )  # fmt: skip


def _jump(t: Array, p: Array, s: Style) -> Array:
    cycle = (1.25 * s.rate * t + s.phase) % 1.0
    air = np.clip(np.sin(np.pi * (cycle - 0.4) / 0.6), 0, None) * (cycle > 0.4)
    dip = np.clip(np.sin(np.pi * cycle / 0.4), 0, None) * (cycle <= 0.4)
    return pose_of(
        len(t), hop=0.20 * air, lean=24 * dip, thigh_flex=52 * dip + 12 * air,
        shin_flex=-46 * dip - 30 * air, thigh_out=5 + 10 * air, shin_out=5 + 6 * air,
        upper_flex=-35 * dip + 10 * air, upper_out=15 + 110 * air, fore_flex=-20 * dip,
        fore_out=12 + 135 * air,
    )  # fmt: skip


def _bend(t: Array, p: Array, s: Style) -> Array:
    lean = 74 + 8 * s.angle + 5 * np.sin(2 * np.pi * (0.5 * t + s.phase))
    return pose_of(
        len(t), lean=lean, thigh_flex=-6, thigh_out=4, shin_flex=-4, upper_flex=0.8 * lean,
        fore_flex=0.8 * lean + 8, upper_out=6, fore_out=2, nod=15, feet=1.0,
    )  # fmt: skip


def _lie(t: Array, p: Array, s: Style) -> Array:
    breath = np.sin(2 * np.pi * (0.3 * t + s.phase))
    knee = 22 * max(0.0, s.angle)
    return pose_of(
        len(t), pitch=-88 + breath, l_thigh_flex=knee * 2, l_shin_flex=-knee * 1.4, thigh_out=6,
        shin_out=5, upper_out=14 + 4 * s.lift, upper_flex=4, fore_flex=20 + 2 * breath,
        fore_out=-8,
    )  # fmt: skip


def _turn(t: Array, p: Array, s: Style) -> Array:
    step = np.sin(2 * np.pi * 1.6 * t)
    pose = _stand(t, p, s) + pose_of(
        len(t), l_thigh_flex=9 * np.clip(step, 0, None), l_shin_flex=-9 * np.clip(step, 0, None),
        r_thigh_flex=9 * np.clip(-step, 0, None), r_shin_flex=-9 * np.clip(-step, 0, None),
    )  # fmt: skip
    pose[:, COLUMN["yaw"]] = s.side * TURN_RATE * s.rate * t
    return pose


TURN_RATE = np.pi
"""Radians per second of `turn around`: half a turn every second."""

_POSES: dict[str, Callable[[Array, Array, Style], Array]] = {
    "stand": _stand,
    "sit": lambda t, p, s: _seat(np.ones_like(p), s),
    "walk": lambda t, p, s: _gait(t, s, run=False),
    "run/jog": lambda t, p, s: _gait(t, s, run=True),
    "jump/leap": _jump,
    "bend/bow (at the waist)": _bend,
    "lie/sleep": _lie,
    "sit down": lambda t, p, s: _seat(p, s),
    "get up": lambda t, p, s: _seat(1 - p, s),
    "turn around": _turn,
}


def _raised(count: int, s: Style, beat: npt.ArrayLike) -> Array:
    """The raised arm of `hand wave` and `raise hand`; `beat` in [−1, 1] tips the forearm."""
    side = "l" if s.side > 0 else "r"
    angles: dict[str, npt.ArrayLike] = {
        f"{side}_upper_out": 108 + 16 * s.lift,
        f"{side}_fore_out": 172 + 40 * np.asarray(beat),
    }
    return pose_of(count, **angles)


def _arms(name: str, t: Array, s: Style) -> tuple[Array, Array]:
    """An arm action's angles `(T, D)` and the columns it decides."""
    n, side = len(t), "l" if s.side > 0 else "r"
    one = np.array([c for c in ARM_COLUMNS if POSE[c].startswith(side)])
    beat = np.sin(2 * np.pi * (2.0 * s.rate * t + s.phase))
    if name == "hand wave":
        return _raised(n, s, beat), one
    if name == "raise hand":
        return _raised(n, s, np.sin(2 * np.pi * s.phase)), one
    if name == "hand clap":
        apart = 0.5 + 0.5 * np.sin(2 * np.pi * (1.9 * s.rate * t + s.phase))
        pose = pose_of(n, upper_flex=48 + 6 * s.lift, upper_out=2 + 30 * apart,
                       fore_flex=100 + 8 * s.lift, fore_out=-48 + 64 * apart)  # fmt: skip
        return pose, ARM_COLUMNS
    if name == "point to (an object)":
        out, flex = 55 + 30 * s.angle, 92 + 10 * s.lift
        return pose_of(n, upper_out=out, fore_out=out, upper_flex=flex, fore_flex=flex), one
    if name == "hand shake":
        reach = np.degrees(s.reach) + 9 * np.sin(2 * np.pi * 1.9 * t)
        pose = pose_of(n, r_upper_flex=np.degrees(s.reach) - 12, r_fore_flex=reach + 9,
                       r_upper_out=-10, r_fore_out=-12)  # fmt: skip
        return pose, np.array([c for c in ARM_COLUMNS if POSE[c].startswith("r")])
    if name == "hug (a person)":
        squeeze = 4 * np.sin(2 * np.pi * (0.7 * t + s.phase))
        high = 12 * s.side
        return pose_of(n, lean=6, upper_flex=74 + high, upper_out=8, fore_flex=84 + high + squeeze,
                       fore_out=-26), np.r_[ARM_COLUMNS, COLUMN["lean"]]  # fmt: skip
    thrust = _thrust(t, s)
    if name == "push (another person)":
        pose = pose_of(n, lean=2 + 14 * thrust, upper_flex=-18 + 98 * thrust,
                       fore_flex=98 - 12 * thrust, upper_out=4, r_thigh_flex=-4 - 22 * thrust,
                       r_shin_flex=-6 - 20 * thrust, l_thigh_flex=16 * thrust)  # fmt: skip
        legs = [COLUMN[c] for c in ("lean", "r_thigh_flex", "r_shin_flex", "l_thigh_flex")]
        return pose, np.r_[ARM_COLUMNS, legs]
    if name == PUSHED:
        pose = pose_of(n, lean=-20 * thrust, upper_flex=34 * thrust, upper_out=12 + 22 * thrust,
                       fore_flex=14 + 44 * thrust, r_thigh_flex=-16 * thrust)  # fmt: skip
        legs = [COLUMN["lean"], COLUMN["r_thigh_flex"]]
        return pose, np.r_[ARM_COLUMNS, legs]
    raise ConfigError(f"unknown playground action {name!r}", expected=", ".join(_NAMES))


PUSHED = "pushed"
"""The role of the person being pushed: seen, but not a label (AVA labels the doer)."""


def _thrust(t: Array, s: Style) -> Array:
    """0 with drawn arms, 1 with stretched ones; both people of a push follow the same curve."""
    cycle = (1.1 * t) % 1.0
    return np.asarray(np.where(cycle < 0.35, cycle / 0.35, 1 - (cycle - 0.35) / 0.65)) ** 1.5


def action_pose(
    pose: str, arms: str | None, times_s: Array, span_s: tuple[float, float], style: Style
) -> Array:
    """The body `(T, D)` at `times_s` of someone doing `pose` (and `arms`) during `span_s`.

    Progress through `span_s` drives the one-way actions (sit down, get up); cyclic ones run on
    the time since its start. Raises ConfigError for an unknown action.
    """
    if pose not in _POSES:
        raise ConfigError(f"unknown playground pose {pose!r}", expected=", ".join(POSES))
    start, end = span_s
    since = times_s - start
    progress = np.clip(since / (end - start), 0, 1)
    body = _POSES[pose](since, progress, style)
    if arms is not None:
        values, columns = _arms(arms, since, style)
        body[:, columns] = values[:, columns]
    return body
