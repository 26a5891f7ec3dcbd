"""A model with memory over a video: one pass, one clip at a time, with a bounded delay.

Each keyframe waits until its window is known and is then yielded with its scores, so memory does
not grow with the video. Features are computed once per keyframe, however many windows it is in.
Testing and detection both use this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tubelet.batch import FeatureMap, Memory, Rois, Sample, collate
from tubelet.errors import ConfigError
from tubelet.models.detector import ActionModel
from tubelet.models.inference import Inference
from tubelet.models.memory.bank import Remembered, as_memory
from tubelet.models.memory.collaborative import CollaborativeMemory, CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.window import Lookaround, Moment, clip_times

Scored = tuple[Sample, Tensor]


@torch.inference_mode()
def scores_with_memory(
    inference: Inference, samples: Iterable[Sample], *, abstain: bool = False
) -> Iterator[Scored]:
    """Samples of one video in time order, each with its people's action scores `(N, K)`;
    `abstain` as in `ActionModel.scores`.

    A sample comes out, without its frames, once the film has passed it by the window's reach, or
    has ended. Raises ConfigError for a model without memory, and where time does not advance.
    """
    model = inference.model
    stream = _stream_of(model, abstain=abstain)
    context: AbstractContextManager[object] = nullcontext()
    for sample in samples:
        one = collate([sample]).to(inference.device)
        # The sample waits without its frames, not even a view of them: a window's worth of clips
        # would not fit.
        waiting = replace(sample, frames=sample.frames.new_empty(3, sample.frames.shape[1], 0, 0))
        # The consumer of this generator must not run under its autocast.
        context = inference.autocast(one.frames)
        with context:
            ready = stream.push(waiting, one.rois, model.features(one.frames))
        yield from ready
    with context:
        ready = stream.flush()
    yield from ready


def _stream_of(model: ActionModel, *, abstain: bool) -> _Collaborating | _Banked:
    config = model.config.memory
    if isinstance(config, CollaborativeMemoryConfig) and model.memory is not None:
        return _Collaborating(model, model.memory, abstain=abstain)
    if isinstance(config, MemoryBankConfig):
        return _Banked(model, config, abstain=abstain)
    raise ConfigError(
        "this model has no memory",
        expected="memory=CollaborativeMemoryConfig(…) or MemoryBankConfig(…)",
        got=config,
    )


@dataclass(slots=True)
class _Seen:
    """What is kept of a clip: its contribution, and until it has its scores also its maps."""

    sample: Sample
    rois: Rois
    maps: tuple[FeatureMap, ...]
    pushed: Tensor


class _Collaborating:
    """Each clip with the N − 1 about it, as in training (004 §4.5).

    The row of clips moves inwards at either end of a film, so a moment's reach is N − 1 strides.
    """

    def __init__(self, model: ActionModel, memory: CollaborativeMemory, *, abstain: bool) -> None:
        self._model, self._memory, self._abstain = model, memory, abstain
        reach = (memory.config.clips - 1) * memory.config.stride_ms
        self._held: Lookaround[_Seen] = Lookaround(before_ms=reach, after_ms=reach)

    def push(self, sample: Sample, rois: Rois, maps: tuple[FeatureMap, ...]) -> list[Scored]:
        seen = _Seen(sample, rois, maps, self._memory.push(maps))
        return [self._score(*found) for found in self._held.push(sample.key.time_ms, seen)]

    def flush(self) -> list[Scored]:
        return [self._score(*found) for found in self._held.flush()]

    def _score(self, own: Moment[_Seen], near: Sequence[Moment[_Seen]]) -> Scored:
        config, seen = self._memory.config, own.value
        chosen = clip_times(
            [m.time_ms for m in near], own.time_ms, clips=config.clips, stride_ms=config.stride_ms
        )
        shared = torch.stack([near[i].value.pushed for i in chosen]).mean(dim=0)
        people = self._model.pool(self._memory.infuse(seen.maps, shared), seen.rois)
        logits = self._model.classify(people, seen.rois)
        seen.maps = ()  # later moments need only what this clip pushed
        return seen.sample, self._model.scores(logits, abstain=self._abstain).cpu()


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What is kept of a clip for a memory bank."""

    sample: Sample
    rois: Rois
    tokens: Tensor


class _Banked:
    """Each clip with the people of its window, who are remembered as the film goes by."""

    def __init__(self, model: ActionModel, config: MemoryBankConfig, *, abstain: bool) -> None:
        self._model, self._config, self._abstain = model, config, abstain
        self._held: Lookaround[_Tokens] = Lookaround(
            before_ms=config.before_ms, after_ms=config.after_ms
        )

    def push(self, sample: Sample, rois: Rois, maps: tuple[FeatureMap, ...]) -> list[Scored]:
        seen = _Tokens(sample, rois, self._model.pool(maps, rois))
        return [self._score(*found) for found in self._held.push(sample.key.time_ms, seen)]

    def flush(self) -> list[Scored]:
        return [self._score(*found) for found in self._held.flush()]

    def _score(self, own: Moment[_Tokens], near: Sequence[Moment[_Tokens]]) -> Scored:
        seen = own.value
        memory = _remembered(own, near, self._config.people).to(seen.tokens.device)
        logits = self._model.classify(seen.tokens, seen.rois, memory)
        return seen.sample, self._model.scores(logits, abstain=self._abstain).cpu()


def _remembered(own: Moment[_Tokens], near: Sequence[Moment[_Tokens]], people: int) -> Memory:
    """The people of `near` but not of `own` moment, as a bank on disk would give them."""
    positions, width = own.value.tokens.shape[1:]
    tokens = [own.value.tokens[:0].half()]
    delta = [torch.zeros(0, dtype=torch.int64)]
    for moment in near:
        if moment.time_ms == own.time_ms:
            continue
        who = moment.value.sample.people
        best = torch.from_numpy(np.argsort(-who.scores, kind="stable")[:people].copy())
        # Banks on disk are fp16; the same rounding here keeps both ways equal.
        tokens.append(moment.value.tokens[best.to(moment.value.tokens.device)].half())
        delta.append(torch.full((len(best),), moment.time_ms - own.time_ms, dtype=torch.int64))
    values, nothing = torch.cat(tokens), torch.zeros(0)
    found = Remembered(values, nothing, nothing, torch.cat(delta))
    return as_memory([found], positions=positions, width=width)
