"""Ensembles: of recipes whose predictions are on disk, and of models that run now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.data.predictions import read_predictions
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError, InputError
from tubelet.evaluate.clip_scores import ClipScores, read_clip_scores
from tubelet.evaluate.ensemble import Coverage, join_clips, join_detections, normalised
from tubelet.testing.config import Ensemble, Test
from tubelet.testing.outcome import Tested, folder_of, keep, write_figures
from tubelet.testing.predict import Item, Predictor
from tubelet.testing.run_test import check_test


def run_ensemble(
    ensemble: Ensemble,
    *,
    runs: Path,
    out: Path,
    root: Path,
    note: Callable[[str], None] | None = None,
) -> tuple[Tested, ...]:
    """Join what the members' runs in `runs/<member>` predicted on each of the ensemble's tests, and
    score it. `note` is called for each member that is missing people or videos that others have.

    Raises InputError naming every member whose predictions are missing and how to make them.
    """
    done: list[Tested] = []
    for test in ensemble.tests:
        done.append(_join(ensemble, test, done, runs=runs, out=out, root=root, note=note))
    write_figures(done, out)
    return tuple(done)


def _join(
    ensemble: Ensemble,
    test: Test,
    before: Sequence[Tested],
    *,
    runs: Path,
    out: Path,
    root: Path,
    note: Callable[[str], None] | None,
) -> Tested:
    weights = normalised(ensemble.weights, len(ensemble.members))
    files = _files(ensemble, test, runs)
    dataset = test.data.build(root)
    check_test(test, dataset)
    found: Annotations | ClipScores
    if isinstance(dataset, WholeVideoDataset):
        found, coverage = join_clips((read_clip_scores(path) for path in files), weights)
    else:
        found, coverage = join_detections((read_predictions(path) for path in files), weights)
    if note is not None:
        for line in coverage.notes(ensemble.members):
            note(line)
    more = {"members": _members(ensemble, weights, coverage)}
    return keep(test, dataset, found, out, more, before=before, root=root)


def _files(ensemble: Ensemble, test: Test, runs: Path) -> list[Path]:
    """The members' predictions, CSV or Parquet."""
    found, absent = [], []
    for member in ensemble.members:
        folder = folder_of(test, runs / member)
        files = [folder / f"predictions.{form}" for form in ("csv", "parquet")]
        there = [path for path in files if path.is_file()]
        found += there[:1]
        absent += [] if there else [member]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(ensemble.members)} members of {ensemble.name!r} have no "
            f"predictions of {test.name!r}: {', '.join(absent)}",
            where=runs,
            expected=f"{folder_of(test, runs / absent[0]) / 'predictions.csv'}",
            hint=f"train them first, each into {runs}/<member>",
        )
    return found


def _members(
    ensemble: Ensemble, weights: Sequence[float], coverage: Coverage
) -> list[dict[str, object]]:
    return [
        {"name": name, "weight": weight, "missing": coverage.total - count}
        for name, weight, count in zip(ensemble.members, weights, coverage.of_members, strict=True)
    ]


def predict_ensemble(predictors: Sequence[Predictor], weights: Sequence[float] = ()) -> list[Item]:
    """Weighted mean of the scores of several models on one dataset, each run in its own way.

    One model runs after the other. A sample that some of them could not decode is averaged over
    the others. Raises ConfigError where datasets, shares or classes differ.
    """
    shares = normalised(weights, len(predictors))
    first = predictors[0]
    found: dict[int, Item] = {}
    mass: dict[int, float] = {}
    for predictor, weight in zip(predictors, shares, strict=True):
        if (
            predictor.dataset is not first.dataset
            or predictor.shard != first.shard
            or predictor.model.labels != first.model.labels
        ):
            raise ConfigError(
                "the models of an ensemble need one dataset, one share of it and the same classes",
                got=f"{predictor.dataset.name!r}, {len(predictor.model.labels)} classes",
            )
        for item in predictor.items():
            before = found.get(item.index)
            scores = item.scores * weight + (0 if before is None else before.scores)
            found[item.index] = replace(item, scores=scores)
            mass[item.index] = mass.get(item.index, 0.0) + weight
    return [replace(found[i], scores=found[i].scores / mass[i]) for i in sorted(found)]
