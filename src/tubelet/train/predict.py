"""Run a model over the keyframes of a dataset: the test half of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tubelet.batch import Sample, collate
from tubelet.data.dataset import ClipDataset
from tubelet.models.detector import ActionModel
from tubelet.models.memory.stream import scores_with_memory
from tubelet.train.groups import KeyframesByVideo
from tubelet.types import Detections, InputSpec


class _Keyframes(Dataset[Sample]):
    """Every sample of a dataset once, without augmentation."""

    def __init__(self, dataset: ClipDataset, spec: InputSpec) -> None:
        self._dataset, self._spec = dataset, spec

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset.sample(index, spec=self._spec)


def _as_list(samples: list[Sample]) -> list[Sample]:
    return samples


@torch.inference_mode()
def predict(
    model: ActionModel,
    dataset: ClipDataset,
    *,
    batch: int = 16,
    device: torch.device | None = None,
    bf16: bool = False,
    workers: int = 0,
) -> Iterator[Detections]:
    """Action scores of the annotated people (ground-truth boxes) of every keyframe, in order.

    A model with memory sees each video from start to end, one clip at a time.
    """
    device = device or torch.device("cpu")
    model = model.to(device).eval()
    if model.config.memory is not None:
        yield from _predict_with_memory(model, dataset, device=device, bf16=bf16)
        return
    loader: DataLoader[Sample] = DataLoader(
        _Keyframes(dataset, model.input),
        batch_size=batch,
        num_workers=workers,
        collate_fn=_as_list,
    )
    for samples in loader:
        together = collate(samples).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(together.frames, together.rois)
        scores = model.scores(logits).cpu()
        sizes = [len(s.people) for s in samples]
        for sample, part in zip(samples, torch.split(scores, sizes), strict=True):
            yield _detections(model, sample, part)


def _predict_with_memory(
    model: ActionModel, dataset: ClipDataset, *, device: torch.device, bf16: bool
) -> Iterator[Detections]:
    moments = KeyframesByVideo(dataset)
    for video in moments.videos():
        samples = (dataset.sample(i, spec=model.input) for i in moments.samples(video))
        for sample, scores in scores_with_memory(model, samples, device=device, bf16=bf16):
            yield _detections(model, sample, scores)


def _detections(model: ActionModel, sample: Sample, scores: Tensor) -> Detections:
    return Detections(
        key=sample.key,
        boxes=sample.people.boxes,
        person_scores=sample.people.scores,
        action_scores=scores.numpy(),
        track_ids=sample.people.track_ids,
        labels=model.labels,
    )
