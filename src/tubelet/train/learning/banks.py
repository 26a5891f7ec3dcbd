"""Memory banks from datasets: built by a frozen model, or opened empty for training to fill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tubelet.batch import Sample, collate
from tubelet.config import encode
from tubelet.data.dataset import ClipDataset
from tubelet.data.keyframes import KeyframesByVideo
from tubelet.errors import ConfigError, VideoError
from tubelet.models.detector import ActionModel
from tubelet.models.heads.base import Head
from tubelet.models.inference import Inference
from tubelet.models.memory.bank import BankStamp, BankWriter, MemoryBank
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import OnlineBank, SharedBank
from tubelet.models.shapes import meta_twin, one_person
from tubelet.models.weights import weights_hash
from tubelet.numerics.choices import PrecisionChoice
from tubelet.types import InputSpec

Note = Callable[[str], None]


def recipe_hash(recipe: object) -> str:
    """sha256 of a recipe, or of any configuration, as it is written to files."""
    return hashlib.sha256(json.dumps(encode(recipe), sort_keys=True).encode()).hexdigest()


def bank_stamp(model: ActionModel, *, recipe: str, trained: bool = True) -> BankStamp:
    """The stamp of a bank that `model` makes; `trained` False for one made while it trains.

    Raises ConfigError for a model whose head has no tokens to remember.
    """
    head = model.head
    if not model.config.head.remembers:
        raise ConfigError(
            "this model has no tokens for a memory bank",
            expected="the temporal_relation head",
            got=type(head).__name__,
        )
    spec = model.input
    # One person of one clip on the meta device shows the number and width of tokens.
    twin, side = meta_twin(model.config), 32 * max(1, spec.multiple)
    with torch.no_grad():
        maps = twin.backbone(torch.zeros(1, 3, spec.frames, side, side, device="meta"))
        _, positions, width = twin.pool(maps, one_person()).shape
    return BankStamp(
        weights=_tokens_hash(model, head) if trained else "",
        recipe=recipe,
        positions=positions,
        width=width,
    )


def _tokens_hash(model: ActionModel, head: Head) -> str:
    """sha256 of whatever decides a token; the head's later layers may go on learning."""
    parts = [weights_hash(model.backbone), recipe_hash(model.input)]
    parts += [weights_hash(layer) for layer in head.token_layers()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def bank_of(model: ActionModel, folder: Path) -> MemoryBank:
    """The finished bank in `folder`. Raises CheckpointError unless this model's weights made it,
    and InputError if there is none."""
    bank = MemoryBank(folder)
    return MemoryBank(folder, expected=bank_stamp(model, recipe=bank.stamp.recipe))


def online_bank(
    model: ActionModel, dataset: ClipDataset, folder: Path, *, recipe: str
) -> OnlineBank | SharedBank:
    """The bank in `folder` that training on `dataset` fills; made empty if it is not there.

    In a distributed training it is one bank for all processes, and every process makes this call.
    """
    memory = model.config.memory
    people = memory.people if isinstance(memory, MemoryBankConfig) else 5
    keys = [dataset.key(i) for i in range(len(dataset))]
    stamp = bank_stamp(model, recipe=recipe, trained=False)

    def opened(where: Path) -> OnlineBank:
        return OnlineBank(where, keys=keys, stamp=stamp, people=people)

    return SharedBank(folder, opened) if _processes() > 1 else opened(folder)


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.inference_mode()
def build_bank(
    model: ActionModel,
    dataset: ClipDataset,
    folder: Path,
    *,
    recipe: str,
    batch: int = 8,
    device: torch.device | None = None,
    precision: PrecisionChoice = "fp32",
    note: Note | None = None,
) -> MemoryBank:
    """Extract the people of every keyframe of `dataset` with a frozen model, video by video.

    A build that was killed goes on where it stopped. The processes of a distributed training share
    the work: each begins elsewhere, and leaves when nothing is missing. A video that cannot be
    decoded is left out and noted. Raises CheckpointError if the folder holds another model's bank.
    """
    inference = Inference(
        model, device=device or torch.device("cpu"), precision=precision, note=note
    )
    writer = BankWriter(folder, bank_stamp(model, recipe=recipe))
    moments = KeyframesByVideo(dataset)
    videos = moments.videos()
    first = dist.get_rank() * len(videos) // _processes() if _processes() > 1 else 0
    for video in videos[first:] + videos[:first]:
        if writer.done(video):
            continue
        try:
            _write(inference, dataset, moments.samples(video), writer, video, batch)
        except VideoError as error:
            if note is not None:
                note(f"left out {video}: {error.what} ({error.got})")
    return MemoryBank(folder)


def _write(
    inference: Inference,
    dataset: ClipDataset,
    samples: Sequence[int],
    writer: BankWriter,
    video: str,
    batch: int,
) -> None:
    model = inference.model
    tokens: list[Tensor] = []
    boxes: list[Tensor] = []
    scores: list[Tensor] = []
    counts: list[int] = []
    for some in _chunks(dataset, samples, model.input, batch):
        together = collate(some).to(inference.device)
        with inference.autocast(together.frames):
            found = model.pool(model.features(together.frames), together.rois).half().cpu()
        for sample, own in zip(
            some, torch.split(found, [len(s.people) for s in some]), strict=True
        ):
            best = np.argsort(-sample.people.scores, kind="stable")
            tokens.append(own[torch.from_numpy(best)])
            boxes.append(torch.from_numpy(sample.people.boxes[best]))
            scores.append(torch.from_numpy(sample.people.scores[best]))
            counts.append(len(best))
    writer.write(
        video,
        times_ms=np.array([dataset.key(i).time_ms for i in samples], np.int64),
        counts=counts,
        tokens=torch.cat(tokens),
        boxes=torch.cat(boxes),
        scores=torch.cat(scores),
    )


def _chunks(
    dataset: ClipDataset, samples: Sequence[int], spec: InputSpec, batch: int
) -> Iterator[list[Sample]]:
    for start in range(0, len(samples), batch):
        yield [dataset.sample(i, spec=spec) for i in samples[start : start + batch]]
