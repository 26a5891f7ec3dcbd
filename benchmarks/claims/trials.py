"""One trial of an arm: a recipe of the product, run in a folder that goes away afterwards."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.claims.claim import Outcome, Trial
from benchmarks.claims.training import macs_of

from tubelet.data.sources.base import SourceConfig
from tubelet.files import locked, make_parent
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.resnet3d import SLOW, ResNet3dConfig
from tubelet.models.detector import ActionModelConfig, MemoryConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.testing.config import Test
from tubelet.testing.outcome import folder_of
from tubelet.train.data.mixture import Mixture
from tubelet.train.learning.banks import recipe_hash
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.reporters import Silent
from tubelet.train.run import run
from tubelet.types import InputSpec

BATCH = 16
NET = ResNet3dConfig(blocks=(1, 1, 1, 1), width=8, temporal=SLOW)
NEAR = replace(NET, res5_dilation=1)
"""For wide pictures: a cell's receptive field is 75 pixels, and in effect less."""
HEAD = LinearHeadConfig(resolution=5, dropout=0.2)


def model_of(
    source: SourceConfig,
    *,
    backbone: BackboneConfig = NET,
    head: HeadConfig = HEAD,
    memory: MemoryConfig | None = None,
    frames: int = 2,
    stride: int = 2,
    side: int = 40,
) -> ActionModelConfig:
    """A small net for the classes of a drawn `source`, whose pictures are `side` high."""
    return ActionModelConfig(
        backbone=backbone,
        head=head,
        memory=memory,
        input=InputSpec(frames=frames, stride=stride, short_side=side),
        labels=source.space(),  # type: ignore[attr-defined]
    )


def stage_of(
    data: SourceConfig | Mixture, steps: int, rate: float, *, name: str = "one", **changes: Any
) -> Stage:
    """AdamW under a cosine with a tenth of warm-up, `BATCH` clips a step."""
    return Stage(
        name=name,
        data=data,
        steps=steps,
        batch=BATCH,
        optimizer=Optimizer(rate=rate, weight_decay=0.02),
        schedule=CosineSchedule(warmup=0.1),
        precision="fp32",
        save_every=1_000_000,
        **changes,
    )


def tests_of(**sources: SourceConfig) -> tuple[Test, ...]:
    """A test of each source, by name."""
    return tuple(Test(name=n, data=s, predictions="parquet") for n, s in sources.items())


def recipe_of(model: ActionModelConfig, *stages: Stage, tests: tuple[Test, ...]) -> Recipe:
    return Recipe(name="claim", summary="one arm", model=model, stages=stages, tests=tests)


Reports = Mapping[str, Mapping[str, Any]]


@contextmanager
def ran(trial: Trial, recipe: Recipe) -> Iterator[tuple[Reports, Path]]:
    """Train and test: the reports by their tests' names, and the run's folder while it lasts."""
    with tempfile.TemporaryDirectory() as folder:
        yield run_in(trial, recipe, Path(folder) / "run"), Path(folder) / "run"


def run_in(trial: Trial, recipe: Recipe, out: Path) -> Reports:
    """Train and test in a folder that stays."""
    trial.cache.mkdir(parents=True, exist_ok=True)
    outcome = run(
        replace(recipe, seed=trial.seed),
        out=out,
        root=trial.cache,
        device=torch.device("cpu"),
        resume=False,
        reporter=Silent(),
    )
    return {tested.name: tested.report for tested in outcome.tests}


def kept_run(trial: Trial, recipe: Recipe) -> tuple[Path, Reports]:
    """A run that stays in the cache, for all arms that continue from it: its weights, relative to
    the cache, and its reports. Processes that want the same one wait for whoever makes it; other
    code of the bench makes another."""
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    place = Path("runs") / f"{recipe_hash([recipe, trial.seed, code])[:20]}"
    out, made = trial.cache / place, trial.cache / place / "made"
    make_parent(made)
    with locked(out.with_suffix(".lock")):
        if not made.is_file():
            shutil.rmtree(out, ignore_errors=True)
            run_in(trial, recipe, out)
            made.touch()
    reports = {
        test.name: json.loads((folder_of(test, out) / "report.json").read_text(encoding="utf-8"))
        for test in recipe.tests
    }
    return place / "model.safetensors", reports


def outcome_of(
    recipe: Recipe, figures: Mapping[str, float], *, size: tuple[int, int] = (40, 40)
) -> Outcome:
    """Figures in [0, 1] as percent, with the cost of the last stage's model."""
    model = recipe.model_at(len(recipe.stages) - 1)
    return Outcome(
        figures={name: 100 * value for name, value in figures.items()},
        macs=macs_of(model, size=size, clips=BATCH),
        parameters=sum(p.numel() for p in model.build().parameters()),
    )


def class_aps(report: Mapping[str, Any]) -> dict[int, float]:
    """AP by class id, of the classes that have truth."""
    return {c["id"]: c["ap"] for c in report["classes"] if c["ap"] is not None}
