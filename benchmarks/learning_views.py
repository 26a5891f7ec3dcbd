"""What testing adds for `benchmarks.learning`: views and ensembles, of models that are trained."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.learning_studies import MEMBERS, Place, Scores, boxes_source, report_of, slug

from tubelet.evaluate.bootstrap import resampled_maps
from tubelet.evaluate.boxtable import F64
from tubelet.models.weights import load_model
from tubelet.parallel.processes import World
from tubelet.recipes.jhmdb import LABELS as JHMDB
from tubelet.recipes.jhmdb import jhmdb21_small
from tubelet.releases.table import weights_path
from tubelet.testing.config import Ensemble, Test
from tubelet.testing.ensembles import run_ensemble
from tubelet.testing.run_test import run_test
from tubelet.testing.views import Views

# Views and ensembles: `views`

VIEWS = Views(scales=(42, 48, 54), flip=True)


def _joint_runs(place: Place) -> Path:
    return place.out.parent.parent / "joint"


def one_view(place: Place, *members: str) -> Scores:
    """The mean of what the models of `joint` scored, each by itself."""
    files = [_joint_runs(place) / slug(m) / "report.json" for m in members]
    return {
        "mAP": statistics.fmean(json.loads(f.read_text(encoding="utf-8"))["map"] for f in files)
    }


def more_views(place: Place, member: str) -> Scores:
    """One model of `joint` in every view."""
    model = load_model(_joint_runs(place) / slug(member) / "model.safetensors")
    tested = run_test(
        model, Test(data=boxes_source(place, "test"), views=VIEWS), root=place.root, out=place.out,
        device=torch.device("cpu"), world=World(),
    )  # fmt: skip
    assert tested is not None  # there is one process
    return {"mAP": tested.report["map"]}


def together(place: Place) -> Scores:
    """The three models of `joint` of one seed, and so of the same boxes, as an ensemble."""
    ensemble = Ensemble(
        name="three",
        summary="three ways of training",
        members=tuple(map(slug, MEMBERS)),
        tests=(Test(data=boxes_source(place, "test")),),
    )
    [tested] = run_ensemble(ensemble, runs=_joint_runs(place), out=place.out, root=place.root)
    return {"mAP": tested.report["map"]}


def views() -> dict[str, Callable[[Place], Scores]]:
    return {
        "co-finetuned, one view": lambda p: one_view(p, MEMBERS[1]),
        "co-finetuned, flip and 3 scales": lambda p: more_views(p, MEMBERS[1]),
        "three models, mean of their figures": lambda p: one_view(p, *MEMBERS),
        "three models, ensemble": together,
    }


# The shipped model: `shipped`

SHIPPED_VIEWS = Views(scales=(84, 96, 108), flip=True)
RESAMPLES = 2000


def shipped_report(place: Place, views: Views) -> Scores:
    """The released jhmdb21_small on the whole of split 1's keyframes, with its own interval."""
    test = replace(jhmdb21_small().tests[0], views=views)
    run_test(
        load_model(weights_path("jhmdb21_small")), test, root=place.data, out=place.out,
        device=torch.device("cpu"), world=World(),
    )  # fmt: skip
    return _spread(_resampled(place.out))


def shipped_gain(place: Place) -> Scores:
    """The difference, on the same draws of videos."""
    one, more = (_resampled(place.out.parent / slug(name)) for name in list(shipped())[:2])
    return _spread(more - one)


def _spread(maps: F64) -> Scores:
    low, high = np.quantile(maps[1:], [0.025, 0.975])
    return {"mAP": float(maps[0]), "from": float(low), "to": float(high)}


def _resampled(out: Path) -> F64:
    """mAP of all videos once, then of each of many draws with replacement."""
    report = report_of(out, JHMDB)
    videos = np.arange(len(report.matches.frames.videos))
    draws = np.random.default_rng(0).multinomial(
        len(videos), [1 / len(videos)] * len(videos), RESAMPLES
    )
    counted = np.array([not math.isnan(c.ap) for c in report.classes])
    return resampled_maps(report.matches, videos, np.vstack([np.ones_like(videos), draws]), counted)


def shipped() -> dict[str, Callable[[Place], Scores]]:
    return {
        "one view": lambda p: shipped_report(p, Views()),
        "flip and 3 scales": lambda p: shipped_report(p, SHIPPED_VIEWS),
        "difference, on the same videos": shipped_gain,
    }
