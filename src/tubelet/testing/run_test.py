"""The test half of a recipe: predictions on disk, and what they score."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tubelet.data.annotations import Annotations
from tubelet.data.clips import write_clip_list
from tubelet.data.dataset import ClipDataset
from tubelet.data.predictions import write_predictions
from tubelet.data.tables import write_ava_csv
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError
from tubelet.evaluate.clip_scores import (
    ClipScores,
    evaluate_multilabel,
    evaluate_topk,
    write_clip_scores,
)
from tubelet.evaluate.scoring import detections_table, evaluate_tables
from tubelet.files import write_text
from tubelet.models.detector import ActionModel
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.parallel.processes import World
from tubelet.results import Detections
from tubelet.testing.config import Test
from tubelet.testing.predict import Item, Predictor, check_views, detections_of
from tubelet.types import Floats

MAIN = "test"  # the test whose files lie in the run's own folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """The outcome of one test: files, the report as JSON-ready data, and its main figures in a
    sentence."""

    name: str
    predictions: Path
    truth: Path
    report: dict[str, Any]
    line: str


def run_test(
    model: ActionModel,
    test: Test,
    *,
    root: Path,
    out: Path,
    device: torch.device,
    world: World,
    note: Callable[[str], None] | None = None,
) -> Tested | None:
    """Predict `test`'s data and score it. In the first process the result; elsewhere None.

    Each process predicts its share. Videos that cannot be decoded are reported to `note` and listed
    in the report as `skipped`: people in them count as missed, whole videos are left out.
    """
    dataset = test.data.build(root)
    _check(test, dataset, model)
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
    return keep(test, dataset, _table(dataset, found), out, {"skipped": left_out})


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


def folder_of(test: Test, out: Path) -> Path:
    """Where a run in `out` keeps the files of `test`."""
    return out if test.name == MAIN else out / test.name


def keep(
    test: Test,
    dataset: ClipDataset,
    found: Annotations | ClipScores,
    out: Path,
    more: dict[str, Any],
) -> Tested:
    """Score what was found in `dataset`; write it, the truth and the report, which has `more`.

    `tubelet evaluate` of the two files gives the same figures.
    """
    folder = folder_of(test, out)
    predictions = folder / f"predictions.{test.predictions}"
    truth = folder / ("truth.csv" if isinstance(found, Annotations) else "truth.tsv")
    if isinstance(found, Annotations):
        write_predictions(predictions, found)
        report, line = _score_people(dataset, found, truth)
    else:
        write_clip_scores(predictions, found)
        report, line = _score_videos(test, dataset, found, truth)
    report |= more
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    return Tested(name=test.name, predictions=predictions, truth=truth, report=report, line=line)


def _score_people(
    dataset: ClipDataset, found: Annotations, path: Path
) -> tuple[dict[str, Any], str]:
    truth = dataset.truth()
    assert isinstance(truth, Annotations)  # as `_check` made sure
    write_ava_csv(path, truth, kind="truth")
    report = evaluate_tables(found, truth, dataset.labels)
    return {"metric": "frame", **report.to_json()}, f"frame mAP@0.5 {report.map:.4f}"


def _score_videos(
    test: Test, dataset: ClipDataset, found: ClipScores, path: Path
) -> tuple[dict[str, Any], str]:
    assert isinstance(dataset, WholeVideoDataset)  # as `_check` made sure
    truth = dataset.truth().of_videos(found.videos)
    write_clip_list(path, truth)
    if test.metric == "topk":
        accuracy = evaluate_topk(found, truth)
        return accuracy.to_json(), accuracy.line()
    report = evaluate_multilabel(found, truth)
    return report.to_json(dataset.labels), report.line()


def check_test(test: Test, dataset: ClipDataset) -> None:
    """Raise ConfigError if metric or views do not suit what the dataset labels."""
    of_videos = isinstance(dataset, WholeVideoDataset)
    if of_videos == (test.metric == "frame"):
        raise ConfigError(
            f"{test.name!r} cannot be scored by {test.metric!r}",
            expected="topk or charades" if of_videos else "frame",
            got=f"{dataset.name!r}, which labels {'whole videos' if of_videos else 'people'}",
        )
    check_views(test.views, dataset)


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
