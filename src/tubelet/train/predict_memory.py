"""Testing a model with memory over keyframes: one pass over each video, one clip at a time.

Each moment waits until its window is known and then leaves with its scores, so what is held does
not grow with the film. Frames are decoded and features computed once a moment, however many
windows it is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from tubelet.batch import FeatureMap, Memory, Rois, Sample, collate
from tubelet.models.detector import ActionModel
from tubelet.models.memory.bank import Remembered, as_memory
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.window import Lookaround, Moment, clip_times
from tubelet.types import ConfigError

Scored = tuple[Sample, Tensor]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a clip until its window is complete."""

    sample: Sample
    rois: Rois
    maps: tuple[FeatureMap, ...]
    pushed: Tensor


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The same for a memory bank: tokens instead of maps."""

    sample: Sample
    rois: Rois
    tokens: Tensor


def scores_with_memory(
    model: ActionModel,
    samples: Iterator[Sample],
    *,
    device: torch.device,
    bf16: bool = False,
) -> Iterator[Scored]:
    """Samples of one video in time order, each with its people's action scores `(N, K)`."""
    memory = model.config.memory
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        if isinstance(memory, CollaborativeMemoryConfig):
            yield from _collaborative(model, memory, samples, device)
        elif isinstance(memory, MemoryBankConfig):
            yield from _banked(model, memory, samples, device)
        else:
            raise ConfigError("this model has no memory", got=model.config.memory)


def _collaborative(
    model: ActionModel,
    memory: CollaborativeMemoryConfig,
    samples: Iterator[Sample],
    device: torch.device,
) -> Iterator[Scored]:
    """Each clip with the N − 1 about it, as in training (004 §4.5)."""
    assert model.memory is not None
    reach = (memory.clips - 1) * memory.stride_ms
    stream: Lookaround[_Seen] = Lookaround(before_ms=reach, after_ms=reach)
    for sample, seen in chain(_each(model, samples, device), [(None, None)]):
        if sample is None or seen is None:
            ready = stream.flush()
        else:
            kept = _Seen(sample, seen[0], seen[1], model.memory.push(seen[1]))
            ready = stream.push(sample.key.time_ms, kept)
        for own, near in ready:
            times = [m.time_ms for m in near]
            chosen = clip_times(times, own.time_ms, clips=memory.clips, stride_ms=memory.stride_ms)
            shared = torch.stack([near[i].value.pushed for i in chosen]).mean(dim=0)
            maps = model.memory.infuse(own.value.maps, shared)
            people = model.pool(maps, own.value.rois)
            yield own.value.sample, model.scores(model.classify(people, own.value.rois)).cpu()


def _banked(
    model: ActionModel, memory: MemoryBankConfig, samples: Iterator[Sample], device: torch.device
) -> Iterator[Scored]:
    """Each clip with the people of its window, who are remembered as the film goes by."""
    stream: Lookaround[_Tokens] = Lookaround(before_ms=memory.before_ms, after_ms=memory.after_ms)
    for sample, seen in chain(_each(model, samples, device), [(None, None)]):
        if sample is None or seen is None:
            ready = stream.flush()
        else:
            kept = _Tokens(sample, seen[0], model.pool(seen[1], seen[0]))
            ready = stream.push(sample.key.time_ms, kept)
        for own, near in ready:
            found = _remembered(own, near, memory.people).to(device)
            people, rois = own.value.tokens, own.value.rois
            yield own.value.sample, model.scores(model.classify(people, rois, found)).cpu()


def _remembered(own: Moment[_Tokens], near: list[Moment[_Tokens]], people: int) -> Memory:
    found = []
    for moment in near:
        if moment.time_ms == own.time_ms:
            continue
        who = moment.value.sample.people
        best = torch.from_numpy(np.argsort(-who.scores, kind="stable")[:people].copy())
        delta = torch.full((len(best),), moment.time_ms - own.time_ms, dtype=torch.int64)
        # Banks on disk are fp16; the same rounding here keeps both ways equal.
        tokens = moment.value.tokens[best.to(moment.value.tokens.device)].half()
        found.append(Remembered(tokens, torch.zeros(0), torch.zeros(0), delta))
    positions, width = own.value.tokens.shape[1:]
    joined = [] if not found else [
        Remembered(*(torch.cat([getattr(r, f) for r in found]) for f in Remembered._fields))
    ]  # fmt: skip
    if not joined:
        tokens = own.value.tokens.new_zeros(0, positions, width)
        joined = [Remembered(tokens, tokens, tokens, torch.zeros(0, dtype=torch.int64))]
    return as_memory(joined, positions=positions, width=width)


def _each(
    model: ActionModel, samples: Iterator[Sample], device: torch.device
) -> Iterator[tuple[Sample, tuple[Rois, tuple[FeatureMap, ...]]]]:
    for sample in samples:
        one = collate([sample]).to(device)
        maps = model.features(one.frames)
        # The sample waits without its frames: a film's worth of clips would not fit.
        yield replace(sample, frames=sample.frames[:, :, :0, :0]), (one.rois, maps)
