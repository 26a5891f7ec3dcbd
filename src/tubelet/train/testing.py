"""The test half of a recipe: predictions on disk, and what they score."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tubelet.data.annotations import Annotations
from tubelet.data.tables import write_ava_csv
from tubelet.files import write_text
from tubelet.models.detector import ActionModel
from tubelet.scoring import detections_table, evaluate_tables
from tubelet.train.distributed import World
from tubelet.train.predict import predict
from tubelet.train.recipe import Test
from tubelet.types import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What one test left behind: files, and the report as JSON-ready data."""

    name: str
    predictions: Path
    truth: Path
    report: dict[str, Any]


def run_test(
    model: ActionModel, test: Test, *, root: Path, out: Path, device: torch.device, world: World
) -> Tested | None:
    """Predict `test`'s data and score it. In the first process the result; elsewhere None."""
    dataset = test.data.build(root)
    truth = dataset.truth()
    if test.metric != "frame" or not isinstance(truth, Annotations):
        raise ConfigError(
            f"{test.name!r} cannot be scored by {test.metric!r}", got=type(truth).__name__
        )
    detections = detections_table(predict(model, dataset, device=device))
    folder = out if test.name == "test" else out / test.name
    predictions, truth_file = folder / "predictions.csv", folder / "truth.csv"
    write_ava_csv(predictions, detections, kind="detections")
    write_ava_csv(truth_file, truth, kind="truth")
    report = evaluate_tables(detections, truth, dataset.labels).to_json()
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    return Tested(name=test.name, predictions=predictions, truth=truth_file, report=report)
