"""Run a model over the keyframes of a dataset: the test half of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from tubelet.batch import Sample, collate
from tubelet.data.dataset import ClipDataset
from tubelet.models.detector import ActionModel
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
    """Action scores of the annotated people (ground-truth boxes) of every keyframe, in order."""
    device = device or torch.device("cpu")
    model = model.to(device).eval()
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
            yield Detections(
                key=sample.key,
                boxes=sample.people.boxes,
                person_scores=sample.people.scores,
                action_scores=part.numpy(),
                track_ids=sample.people.track_ids,
                labels=model.labels,
            )
