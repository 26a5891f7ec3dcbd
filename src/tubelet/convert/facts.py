"""What a checkpoint's tensors do not determine, which source states it, and what is asked if none
does.

Names and shapes give an architecture, not its strides, its pooling, its colour order or whether its
scores are a softmax. Such facts are stated by a release's row, by the config inside the checkpoint,
by a config file or by the user; what is still open is asked, never guessed.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tubelet.config import decode, encode
from tubelet.errors import CheckpointError, ConfigError, InputError
from tubelet.labels import LabelSpace
from tubelet.types import Preprocessing

Task = Literal["detection", "classification"]
Colour = Literal["rgb", "bgr"]
Join = Literal["slow_fast", "fast_slow"]
Pool = Literal["mean", "max"]
SlowSelect = Literal["linspace", "stride"]
Context = Literal["frame", "feature_bank"]
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts about one checkpoint; None is "not said".

    `exclusive`: scores are a softmax, else sigmoids. `background`: the classifier's column 0 is a
    background class, which is left out. `colour`: the channel order the network was trained on.
    `frames`, `stride`: the clip, in source frames (a SlowFast's Fast pathway). `alpha`: frames of
    Fast for one of Slow. `join`: the order in which a SlowFast classifier joins its pathways.
    `time_strides`: temporal strides of the stem's convolution, of its pool, and of the pool after
    res2. `temporal_pool`, `aligned`, `roi_bins`: how a detector pools a person. `context`: what
    stands beside a person's features in a classifier that is twice as wide. `pose_softmax`: the
    first 13 classes are poses, of which a person has exactly one. `train_crop`: the
    classifier averages windows of `train_crop // 32` cells per side. `fps`, `short_side`, `crop`,
    `preprocessing`, `mean` and `std` as in `InputSpec`, mean and std in the order of `colour`.
    `nonlocal_kind`, `nonlocal_pool`, `norm_eps`, `res5_dilation`, `heads`, `positions`,
    `slow_select` as in the backbones' configs. `labels`: the classes by name; their own `exclusive`
    is not read. `weights`: which of several sets in the file, by its key.
    """

    task: Task | None = None
    exclusive: bool | None = None
    background: bool | None = None
    colour: Colour | None = None
    frames: int | None = None
    stride: int | None = None
    fps: float | None = None
    alpha: int | None = None
    join: Join | None = None
    slow_select: SlowSelect | None = None
    time_strides: Triple | None = None
    temporal_pool: Pool | None = None
    aligned: bool | None = None
    context: Context | None = None
    pose_softmax: bool | None = None
    roi_bins: int | None = None
    nonlocal_kind: str | None = None
    nonlocal_pool: Triple | None = None
    norm_eps: float | None = None
    res5_dilation: int | None = None
    heads: int | None = None
    positions: Triple | None = None
    train_crop: int | None = None
    short_side: int | None = None
    crop: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    preprocessing: Preprocessing | None = None
    labels: LabelSpace | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        for key, value in self.given().items():
            numbers = value if isinstance(value, tuple) else (value,)
            if any(
                isinstance(n, (int, float)) and not isinstance(n, bool) and n <= 0 for n in numbers
            ):
                raise ConfigError(f"{key} must be positive", got=value)

    def given(self) -> dict[str, Any]:
        """The facts that are said, by key."""
        fields = (field.name for field in dataclasses.fields(self))
        return {key: value for key in fields if (value := getattr(self, key)) is not None}


KEYS = tuple(field.name for field in dataclasses.fields(Facts))
_RECORDS = ("preprocessing", "labels")
"""Facts that no KEY=VALUE spells; the model's configuration holds them whole."""
ASSUMED = "assumption"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Facts and who says them: "the release row …", "the config in the checkpoint", …"""

    source: str
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """All statements in one: the facts and, by key, who said each. `against`: facts that an
    assumption overruled, as sentences."""

    facts: Facts
    sources: Mapping[str, str]
    against: tuple[str, ...] = ()


def settle(said: Iterable[Said]) -> Settled:
    """Join statements. An assumption has the last word, and is told; among others the first
    speaker counts and a contradiction raises CheckpointError: one of the two is wrong."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    against: list[str] = []
    for statement in sorted(said, key=lambda s: s.source == ASSUMED):
        for key, value in statement.facts.given().items():
            if key in values and not _same(key, values[key], value):
                told = f"{key} is {spell(values[key])} by {sources[key]}"
                if statement.source != ASSUMED:
                    raise CheckpointError(
                        "two sources contradict each other about this checkpoint",
                        expected=told,
                        got=f"{key} is {spell(value)} by {statement.source}",
                        hint=f"decide with {key}=…",
                        arguments=("assume",),
                    )
                against.append(f"assumed {key} = {spell(value)}, although {told}")
            elif key in values:
                continue
            values[key], sources[key] = value, statement.source
    return Settled(facts=Facts(**values), sources=sources, against=tuple(against))


def _same(key: str, one: Any, other: Any) -> bool:
    """Whether two statements agree. Means come as 123.675/255 or as 0.485; class names are spelt in
    many ways, and the first speaker's are kept."""
    if key == "labels":
        return True
    if key in ("mean", "std", "norm_eps"):
        pairs = zip(one, other, strict=True) if isinstance(one, tuple) else ((one, other),)
        return all(math.isclose(a, b, rel_tol=2e-3) for a, b in pairs)
    return bool(one == other)


def assumptions(texts: Sequence[str]) -> Facts:
    """The facts of `KEY=VALUE` texts, as people write them: `frames=32`, `aligned=false`,
    `time_strides=2,2,2`. Raises InputError listing the keys."""
    data: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or key not in KEYS or key in _RECORDS:
            known = ", ".join(k for k in KEYS if k not in _RECORDS)
            raise InputError(
                "cannot read this assumption",
                expected=f"KEY=VALUE with {known}",
                got=text,
                arguments=("assume",),
            )
        if key in data and data[key] != _value(value):
            raise InputError(f"{key} is assumed twice, and differently", got=text)
        data[key] = _value(value)
    try:
        return decode(Facts, data, where=ASSUMED)
    except ConfigError as error:
        raise InputError(
            "cannot read this assumption", where=error.where, expected=error.expected, got=error.got
        ) from error


def _value(text: str) -> Any:
    text = text.strip()
    if "," in text and not text.startswith("["):
        text = f"[{text}]"
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text


def spell(value: object) -> str:
    """A fact's value as `assumptions` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    if isinstance(value, LabelSpace):
        return f"{len(value)} classes: {', '.join(value.names[:3])}, …"
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One fact that no source states. `choices`: value → when it is so; empty for a number.
    `usual`: what most published files of this family have, for the reader, never taken."""

    key: str
    text: str
    choices: Mapping[str, str]
    usual: str

    def __str__(self) -> str:
        lines = [f"{self.key}: {self.text}"]
        if self.choices:
            lines += [f"    {self.key}={v}   {why}" for v, why in self.choices.items()]
            lines += [f"    (published ones: mostly {self.usual})"] if self.usual else []
        else:
            lines += [f"    {self.key}={self.usual or 'N'}   or another"]
        return "\n".join(lines)


def recorded(settled: Settled) -> dict[str, Any]:
    """What goes into a weights file's header: every fact with who said it, what was assumed, and
    what an assumption overruled."""
    facts = {
        key: {"value": encode(value), "from": settled.sources[key]}
        for key, value in settled.facts.given().items()
        if key not in _RECORDS
    }
    assumed = [f"{k} = {spell(f['value'])}" for k, f in facts.items() if f["from"] == ASSUMED]
    return {"facts": facts, "assumed": assumed, "against": list(settled.against)}
