"""What a test leaves: predictions, the truth or a submission, the report, and the figures in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.annotations import Annotations
from tubelet.data.clips import write_clip_list
from tubelet.data.dataset import ClipDataset
from tubelet.data.predictions import write_predictions
from tubelet.data.tables import write_ava_csv
from tubelet.data.unlabelled import keyframes_of
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import DataError, InputError
from tubelet.evaluate.clip_scores import (
    ClipScores,
    evaluate_multilabel,
    evaluate_topk,
    write_clip_scores,
)
from tubelet.evaluate.from_annotations import box_table
from tubelet.evaluate.longtail import frequency_groups, group_means, label_counts
from tubelet.evaluate.people import evaluate_people
from tubelet.evaluate.report import FrameReport, jsonable
from tubelet.evaluate.scoring import evaluate_tables
from tubelet.files import write_text
from tubelet.testing.config import Test
from tubelet.testing.figures import Figures, differences, figures_of, keys
from tubelet.testing.submission import write_kinetics_submission, write_submission

MAIN = "test"  # the test whose files lie in the run's own folder
REPORT, FIGURES = "report.json", "figures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """The outcome of one test: files, the report as JSON-ready data, and its main figures in a
    sentence. Either there is a `truth` that was scored against, or, where labels are hidden, a
    `submission` for the set's server."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    name: str
    predictions: Path
    truth: Path | None
    submission: Path | None
    report: dict[str, Any]
    line: str

    @property
    def figures(self) -> Figures:
        """Every figure of the report in percent, as `testing.figures` names them."""
        found: Figures = self.report["figures"]
        return found


def folder_of(test: Test, out: Path) -> Path:
    """Where a run in `out` keeps the files of `test`."""
    return out if test.name == MAIN else out / test.name


def keep(
    test: Test,
    dataset: ClipDataset,
    found: Annotations | ClipScores,
    out: Path,
    more: Mapping[str, Any],
    *,
    before: Sequence[Tested] = (),
    root: Path,
) -> Tested:
    """Score what was found in `dataset`; write it, the truth and the report, which has `more`.

    `before`: the outcomes of the tests before, with one of which this one may be compared.
    `tubelet evaluate` of the two files gives the same figures. Where labels are hidden, what is
    found is written for the set's server instead, and nothing is scored.
    """
    folder = folder_of(test, out)
    predictions, truth = _predictions_file(test, folder), folder / "truth.csv"
    submission: Path | None = None
    if isinstance(found, ClipScores):
        write_clip_scores(predictions, found)
        truth = folder / "truth.tsv"
    elif test.metric != "boxes":
        write_predictions(predictions, found)
    if test.data.hidden:
        report, line, submission = _submit(dataset, found, folder)
    elif isinstance(found, ClipScores):
        report, line = _score_videos(test, dataset, found, truth)
    elif test.metric == "boxes":
        write_ava_csv(predictions, found, kind="proposals")
        report, line = _score_boxes(dataset, found, truth)
    else:
        report, line = _score_people(test, dataset, found, truth, root)
    report |= more
    report |= {"figures": _figures(test, report, before), "line": line}
    write_text(folder / REPORT, json.dumps(report, indent=2) + "\n")
    return Tested(
        name=test.name,
        predictions=predictions,
        truth=None if test.data.hidden else truth,
        submission=submission,
        report=report,
        line=line,
    )


def read_tested(test: Test, dataset: ClipDataset, out: Path) -> Tested:
    """The outcome that an earlier process left under `out`. Raises InputError if there is none."""
    folder = folder_of(test, out)
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        line = str(report["line"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"test {test.name!r} of an earlier stage has left no report, and its model is gone",
            where=folder / REPORT,
            got=error,
            hint="train this recipe afresh in another output folder",
            arguments=("out",),
        ) from error
    of_videos = isinstance(dataset, WholeVideoDataset)
    truth = folder / ("truth.tsv" if of_videos else "truth.csv")
    return Tested(
        name=test.name,
        predictions=_predictions_file(test, folder),
        truth=None if test.data.hidden else truth,
        submission=_submission_file(folder, of_videos) if test.data.hidden else None,
        report=report,
        line=line,
    )


def run_figures(tests: Sequence[Tested]) -> Figures:
    """Every figure of a run, by its key in a recipe's `published` and `reproduced`."""
    found: Figures = {}
    for tested in tests:
        found |= dict(zip(keys(tested.name, tested.figures), tested.figures.values(), strict=True))
    return found


def write_figures(tests: Sequence[Tested], out: Path) -> None:
    """`figures.json`: every figure of a run, named as a recipe's `reproduced` has them."""
    write_text(out / FIGURES, json.dumps(run_figures(tests), indent=2) + "\n")


def _figures(test: Test, report: Mapping[str, Any], before: Sequence[Tested]) -> Figures:
    found = figures_of(test, report)
    if test.against is None:
        return found
    other = next(tested for tested in before if tested.name == test.against)
    return found | differences(found, other.figures)


def _predictions_file(test: Test, folder: Path) -> Path:
    """Boxes without actions have AVA's form of proposals, a CSV."""
    form = "csv" if test.metric == "boxes" else test.predictions
    return folder / f"predictions.{form}"


def _submission_file(folder: Path, of_videos: bool) -> Path:
    return folder / ("submission.json" if of_videos else "submission.csv")


def _submit(
    dataset: ClipDataset, found: Annotations | ClipScores, folder: Path
) -> tuple[dict[str, Any], str, Path]:
    """The file for the set's server, and beside it the keyframes that it was checked against."""
    path = _submission_file(folder, isinstance(found, ClipScores))
    if isinstance(found, ClipScores):
        clips = write_kinetics_submission(path, found, dataset.labels)
        return {"metric": "submission", **clips.to_json()}, "; ".join(clips.lines()), path
    keyframes = keyframes_of(dataset)
    write_ava_csv(folder / "keyframes.csv", keyframes, kind="truth")
    people = write_submission(path, found, keyframes, dataset.labels)
    return {"metric": "submission", **people.to_json()}, "; ".join(people.lines()), path


def _score_people(
    test: Test, dataset: ClipDataset, found: Annotations, path: Path, root: Path
) -> tuple[dict[str, Any], str]:
    truth = _people_truth(dataset)
    write_ava_csv(path, truth, kind="truth")
    report = evaluate_tables(found, truth, dataset.labels)
    plain = {"metric": "frame", **report.to_json()}
    if test.training is not None:
        plain["frequency"] = jsonable(_frequency(report, test.training.build(root), dataset))
    return plain, f"frame mAP@0.5 {report.map:.4f}"


def _frequency(
    report: FrameReport, training: ClipDataset, dataset: ClipDataset
) -> dict[str, float]:
    """Mean AP of the evaluated classes by how often `training` labels them."""
    labels = dataset.labels
    counts = label_counts(box_table(_people_truth(training)), labels.evaluated or labels.ids)
    return group_means(report, frequency_groups(counts))


def _score_boxes(
    dataset: ClipDataset, found: Annotations, path: Path
) -> tuple[dict[str, Any], str]:
    """AP of the people by themselves, whatever they do."""
    truth = _people_truth(dataset)
    write_ava_csv(path, truth, kind="truth")
    people = evaluate_people(box_table(found), box_table(truth))
    plain = {
        name: getattr(people, name)
        for name in ("ap", "recall", "precision", "people", "boxes", "frames", "iou", "warnings")
    }
    line = f"boxes alone: AP@{people.iou:g} {people.ap:.4f}, recall {people.recall:.4f}"
    return {"metric": "boxes", **{name: jsonable(value) for name, value in plain.items()}}, line


def _people_truth(dataset: ClipDataset) -> Annotations:
    truth = dataset.truth()
    if not isinstance(truth, Annotations):
        raise DataError(
            f"{dataset.name!r} labels whole videos", expected="labelled people", got="clips"
        )
    return truth


def _score_videos(
    test: Test, dataset: ClipDataset, found: ClipScores, path: Path
) -> tuple[dict[str, Any], str]:
    assert isinstance(dataset, WholeVideoDataset)  # as `check_test` made sure
    truth = dataset.truth().of_videos(found.videos)
    write_clip_list(path, truth)
    if test.metric == "topk":
        accuracy = evaluate_topk(found, truth)
        return accuracy.to_json(), accuracy.line()
    report = evaluate_multilabel(found, truth)
    return report.to_json(dataset.labels), report.line()
