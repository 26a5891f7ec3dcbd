"""The test half of a recipe: predictions on disk, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tubelet.data.annotations import Annotations
from tubelet.data.dataset import ClipDataset
from tubelet.data.joined import people_of
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError
from tubelet.evaluate.clip_scores import ClipScores
from tubelet.evaluate.scoring import detections_table
from tubelet.models.detector import ActionModel
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.parallel.processes import World
from tubelet.results import Detections
from tubelet.testing.config import Test
from tubelet.testing.outcome import Tested, keep
from tubelet.testing.predict import Item, Predictor, check_views, detections_of
from tubelet.types import Floats


def run_test(
    model: ActionModel,
    test: Test,
    *,
    root: Path,
    out: Path,
    device: torch.device,
    world: World,
    note: Callable[[str], None] | None = None,
    before: Sequence[Tested] = (),
) -> Tested | None:
    """Predict `test`'s data and score it. In the first process the result; elsewhere None.

    `before`: outcomes of the tests before, for one that is compared. Where labels are hidden there
    is a submission instead of a score. Each process predicts its share. Videos that cannot be
    decoded are reported to `note` and listed in the report as `skipped`: people in them count as
    missed, whole videos are left out.
    """
    dataset = test.data.build(root)
    _check(test, dataset, model)
    if test.metric == "boxes":
        people = people_of(dataset)
        if not world.first:
            return None
        return keep(test, dataset, people, out, {}, before=before, root=root)
    skipped: list[str] = []
    predictor = Predictor(
        model=model,
        dataset=dataset,
        views=test.views,
        batch=test.batch,
        device=device,
        precision=test.precision,
        workers=test.workers,
        remembered=remembered_by(model, test, root),
        shard=world,
        on_skip=skipped.append,
        on_note=note,
    )
    multiplied = test.person_scores == "multiplied"
    own = [(item.index, _result(predictor, item, multiplied)) for item in predictor.items()]
    shares = world.gather((own, skipped))
    if not world.first:
        return None
    in_order = sorted((pair for pairs, _ in shares for pair in pairs), key=lambda pair: pair[0])
    left_out = [reason for _, reasons in shares for reason in reasons]
    if note is not None:
        for reason in left_out:
            note(f"{test.name}: left out {reason}")
    found = [result for _, result in in_order]
    more = {"skipped": left_out}
    return keep(test, dataset, _table(dataset, found), out, more, before=before, root=root)


def remembered_by(model: ActionModel, test: Test, root: Path) -> ClipDataset | None:
    """The moments that a memory bank knows beside the test's; None for a model without one."""
    if test.bank_data is None or not isinstance(model.config.memory, MemoryBankConfig):
        return None
    return test.bank_data.build(root)


class _Video(NamedTuple):
    name: str
    scores: Floats


def _result(predictor: Predictor, item: Item, multiplied: bool) -> Detections | _Video:
    """What is sent to the first process: no tensors, and no frames."""
    if predictor.of_videos:
        return _Video(item.key.video, item.scores[0].numpy())
    return detections_of(predictor.model, item, multiplied=multiplied)


def _table(dataset: ClipDataset, found: Sequence[Detections | _Video]) -> Annotations | ClipScores:
    """Everything found as one table."""
    videos = [one for one in found if isinstance(one, _Video)]
    if not isinstance(dataset, WholeVideoDataset):
        return detections_table(one for one in found if isinstance(one, Detections))
    scores = np.zeros((len(videos), len(dataset.labels)))
    for row, video in enumerate(videos):
        scores[row] = video.scores
    return ClipScores(videos=tuple(v.name for v in videos), ids=dataset.labels.ids, scores=scores)


def check_test(test: Test, dataset: ClipDataset) -> None:
    """Raise ConfigError if metric or views do not suit what the dataset labels."""
    of_videos = isinstance(dataset, WholeVideoDataset)
    if of_videos == (test.metric in ("frame", "boxes")):
        raise ConfigError(
            f"{test.name!r} cannot be scored by {test.metric!r}",
            expected="topk or charades" if of_videos else "frame or boxes",
            got=f"{dataset.name!r}, which labels {'whole videos' if of_videos else 'people'}",
        )
    check_views(test.views, dataset)
    if test.metric == "boxes":
        people_of(dataset)


def _check(test: Test, dataset: ClipDataset, model: ActionModel) -> None:
    check_test(test, dataset)
    own, theirs = model.labels, dataset.labels
    if (own.ids, own.names) != (theirs.ids, theirs.names):
        raise ConfigError(
            f"the classes of {dataset.name!r} are not the model's",
            expected=", ".join(own.names[:6]),
            got=", ".join(theirs.names[:6]),
            hint="for a mixture, name the part whose model is to be tested",
        )
