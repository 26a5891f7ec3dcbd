"""Training on N clips of each video at once: batch reduction and multi-iteration (004 §3.1, §3.3).

Both compute the gradient of the same loss. Batch reduction holds all clips at once. Multi-iteration
holds one clip of each video at a time: a first scan makes features without a graph, the memory and
the head run on these, which leaves a gradient on each feature map, and a second scan recomputes the
features with a graph and sends the cached gradients through it. Nothing is approximated.

Shape legend: B clips of V videos, R rows (people, or clips in classification), K classes, slot n:
the n-th clip of its video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from tubelet.batch import Batch, FeatureMap, Rois
from tubelet.errors import ConfigError, ShapeError
from tubelet.models.detector import ActionModel
from tubelet.models.memory.collaborative import CollaborativeMemory
from tubelet.train.learning.batch_loss import LogitLoss
from tubelet.train.model.norms import batch_norms, normalised_by, unchanged_statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class CollaborativeTraining:
    """`mode`: all clips at once, or one slot at a time. `video_weight`: α of Eq. 1, the weight of
    the loss of the video's mean prediction (classification only). `clips`: so many clips of each
    video for a model without the memory, which says it itself (004 Table 2a: multi-clip alone)."""

    mode: Literal["batch_reduction", "multi_iteration"] = "batch_reduction"
    video_weight: float = 0.0
    clips: int = 1


def clip_slots(group: Tensor) -> Tensor:
    """`group (B,)` → for each clip, how many earlier clips of the batch are of its video."""
    seen: dict[int, int] = {}
    slots = []
    for number in group.tolist():
        slots.append(seen.get(number, 0))
        seen[number] = slots[-1] + 1
    return torch.tensor(slots, dtype=torch.int64, device=group.device)


def batch_reduction(model: ActionModel, batch: Batch, loss: LogitLoss) -> Tensor:
    """Forward and backward of all clips at once; gradients are added to the parameters' own.

    While norms are training, they take their statistics slot by slot, so that no two clips of one
    video share a statistic. Returns the detached loss.
    """
    slots = clip_slots(batch.group)
    with ExitStack() as by_slot:
        by_slot.enter_context(norms_by_slot(model.backbone, slots))
        if model.memory is not None:
            by_slot.enter_context(norms_by_slot(model.memory, slots))
        rows = slots if model.task == "classification" else slots[batch.rois.clip]
        by_slot.enter_context(norms_by_slot(model.head, rows))
        value = loss(model(batch.frames, batch.rois, group=batch.group))
        value.backward()
    return value.detach()


def multi_iteration(model: ActionModel, batch: Batch, loss: LogitLoss) -> Tensor:
    """The gradients of `batch_reduction` with the activations of one slot at a time.

    Memory grows by one feature map and its gradient per clip. Returns the detached loss.
    """
    memory = model.memory
    if memory is None:
        raise ConfigError("multi-iteration requires a model with collaborative memory")
    parts = _parts(batch)
    _, video, count = torch.unique(batch.group, return_inverse=True, return_counts=True)
    with torch.no_grad(), unchanged_statistics(model):
        for part in parts:
            part.features_replay.mark()
            part.maps = model.features(part.frames)
        total = _sum_pushed(memory, parts, video, len(count))
        shared = total / count.view(-1, 1, 1).to(total.dtype)
        logits = _all_logits(model, parts, shared, video, len(batch.known))
    # Autocast keeps the weights it has cast; those cast above would never see a gradient.
    torch.clear_autocast_cache()
    value = _seed_logits(logits, loss)
    _backward_heads(model, parts, shared, video, logits.grad)
    for part in parts:
        _backward_push(memory, part, shared.grad, video, count)
    for part in parts:
        with part.features_replay.again():
            maps = model.features(part.frames)
        torch.autograd.backward([m.values for m in maps], part.gradients)
        part.gradients = []
    return value


@dataclass(slots=True)
class _Part:
    """The clips of one slot: their numbers in the batch, and the rows that are theirs."""

    clips: Tensor
    rows: Tensor
    frames: Tensor
    rois: Rois
    features_replay: Replay
    head_replay: Replay
    maps: tuple[FeatureMap, ...] = ()
    gradients: list[Tensor] = field(default_factory=list)


class Replay:
    """The random state at one point, to be returned to: dropout of the second
    scan must fall as in the first."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.mark()

    def mark(self) -> None:
        """Captures the current state."""
        device = self._device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @contextmanager
    def again(self) -> Iterator[None]:
        """Random numbers as at that point; those outside continue unchanged."""
        with torch.random.fork_rng([self._device] if self._cuda is not None else []):
            torch.set_rng_state(self._cpu)
            if self._cuda is not None:
                torch.cuda.set_rng_state(self._cuda, self._device)
            yield


def norms_by_slot(module: nn.Module, slots: Tensor) -> AbstractContextManager[None]:
    """Training batch norms normalise the rows of each slot by themselves, inside the block.

    This is what multi-iteration's scans do, so the two stay equal with norms that train.
    """
    rows = [(slots == s).nonzero()[:, 0] for s in torch.unique(slots)]
    return normalised_by([m for m in batch_norms(module) if m.training], rows)


def _parts(batch: Batch) -> list[_Part]:
    slots = clip_slots(batch.group)
    rois = batch.rois
    parts = []
    for slot in torch.unique(slots):
        clips = (slots == slot).nonzero()[:, 0]
        place = torch.full((len(batch),), -1, dtype=torch.int64, device=clips.device)
        place[clips] = torch.arange(len(clips), device=clips.device)
        rows = (place[rois.clip] >= 0).nonzero()[:, 0]
        parts.append(
            _Part(
                clips=clips,
                rows=rows,
                frames=batch.frames[clips],
                features_replay=Replay(clips.device),
                head_replay=Replay(clips.device),
                rois=replace(
                    rois,
                    boxes_px=rois.boxes_px[rows],
                    boxes_norm=rois.boxes_norm[rows],
                    clip=place[rois.clip[rows]],
                    picture_px=None if rois.picture_px is None else rois.picture_px[rows],
                ),
            )
        )
    return parts


def _sum_pushed(
    memory: CollaborativeMemory, parts: Sequence[_Part], video: Tensor, videos: int
) -> Tensor:
    total: Tensor | None = None
    for part in parts:
        pushed = memory.push(part.maps)
        if total is None:
            total = pushed.new_zeros(videos, *pushed.shape[1:])
        total.index_add_(0, video[part.clips], pushed)
    if total is None:
        raise ShapeError("a batch needs at least one clip")
    return total


def _head(model: ActionModel, part: _Part, shared: Tensor, video: Tensor) -> Tensor:
    assert model.memory is not None
    maps = model.memory.infuse(part.maps, shared[video[part.clips]])
    return model.classify(model.pool(maps, part.rois), part.rois)


def _all_logits(
    model: ActionModel, parts: Sequence[_Part], shared: Tensor, video: Tensor, rows: int
) -> Tensor:
    """Logits of the whole batch, in its order."""
    found = []
    for part in parts:
        part.head_replay.mark()
        found.append(_head(model, part, shared, video).float())
    if model.task == "classification":
        order = torch.cat([part.clips for part in parts])
    else:
        order = torch.cat([part.rows for part in parts])
    return torch.cat(found)[torch.argsort(order)]


def _seed_logits(logits: Tensor, loss: LogitLoss) -> Tensor:
    """The loss; its gradient is left in `logits.grad`."""
    logits.requires_grad_()
    with torch.enable_grad():
        value = loss(logits)
        value.backward()
    return value.detach()


def _backward_heads(
    model: ActionModel,
    parts: Sequence[_Part],
    shared: Tensor,
    video: Tensor,
    seeds: Tensor | None,
) -> None:
    """Gradients of head and infusion, of the feature maps, and of the shared memory."""
    shared.requires_grad_()
    assert seeds is not None
    for part in parts:
        part.maps = tuple(replace(m, values=m.values.detach().requires_grad_()) for m in part.maps)
        with part.head_replay.again():
            logits = _head(model, part, shared, video)
        rows = part.clips if model.task == "classification" else part.rows
        torch.autograd.backward([logits], [seeds[rows].to(logits.dtype)])


def _backward_push(
    memory: CollaborativeMemory,
    part: _Part,
    gradient: Tensor | None,
    video: Tensor,
    count: Tensor,
) -> None:
    """What the part's clips contributed to the memory, and so to every other clip's loss."""
    number = video[part.clips]
    if gradient is not None:
        pushed = memory.push(part.maps)
        seed = gradient[number] / count[number].view(-1, 1, 1).to(gradient.dtype)
        torch.autograd.backward([pushed], [seed.to(pushed.dtype)])
    part.gradients = [
        m.values.grad if m.values.grad is not None else torch.zeros_like(m.values)
        for m in part.maps
    ]
    part.maps = ()
