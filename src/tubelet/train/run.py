"""From a recipe to objects, top to bottom: the composition root of training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from tubelet.config import decode, encode
from tubelet.data.dataset import ClipDataset
from tubelet.data.tables import write_ava_csv
from tubelet.evaluate.report import FrameReport
from tubelet.files import atomic_path
from tubelet.models.detector import ActionModel
from tubelet.models.memory.bank import BankReader, MemoryBank
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.weights import save_model, weights_hash
from tubelet.scoring import detections_table, evaluate_tables
from tubelet.train.banks import bank_of, build_bank, online_bank, recipe_hash
from tubelet.train.groups import GroupStream, group_batches
from tubelet.train.learners import BankLearner, CollaborativeLearner, Learner, PlainLearner
from tubelet.train.loader import SampleStream, Step, batches
from tubelet.train.loop import Progress, average_of, fit
from tubelet.train.predict import predict
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.reporting import JsonLines, Reporter, Reporters
from tubelet.train.state import TrainState
from tubelet.types import ConfigError, InputError

STATE, WEIGHTS, RECIPE = "state.pt", "model.safetensors", "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run left behind."""

    weights: Path
    predictions: Path
    truth: Path
    report: FrameReport
    weights_sha256: str


def run(
    recipe: Recipe,
    *,
    out: Path,
    root: Path,
    device: torch.device,
    resume: bool,
    reporter: Reporter,
) -> Outcome:
    """Train every stage of `recipe`, test the result, and leave everything under `out`.

    `root`: the data folder. With `resume`, continue from `out`'s last checkpoint, bit for bit on
    the CPU in fp32. Raises InputError when `out` already holds a run and `resume` is off.
    """
    state = _previous(out, recipe, resume=resume)
    test_set = recipe.test.build(root)
    _write_json(out / RECIPE, encode(recipe))
    torch.manual_seed(recipe.seed)
    model = recipe.model.build()
    for index, stage in enumerate(recipe.stages):
        if state is not None and index < state.stage:
            continue
        dataset = stage.data.build(root)
        _check_labels(model, dataset)
        resumed = state if state is not None and state.stage == index else None
        model = _train(recipe, index, stage, model, dataset, resumed, root, out, device, reporter)
    save_model(out / WEIGHTS, model, provenance=_provenance(recipe))
    reporter.note("testing")
    return _test(model, test_set, out, device)


def _train(
    recipe: Recipe,
    index: int,
    stage: Stage,
    model: ActionModel,
    dataset: ClipDataset,
    state: TrainState | None,
    root: Path,
    out: Path,
    device: torch.device,
    reporter: Reporter,
) -> ActionModel:
    model = model.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    progress = Progress(
        model=model,
        optimizer=stage.optimizer.build(model),
        average=average_of(model, stage.ema) if stage.ema else None,
    )
    if state is not None:
        _restore(progress, state)
        reporter.note(f"stage {stage.name!r} continues at step {progress.step}")

    def save() -> None:
        _capture(recipe, index, progress).save(out / STATE)

    listeners = Reporters(
        [reporter, JsonLines(out / f"{stage.name}.jsonl", keep_steps=progress.step)]
    )
    seed = recipe.seed * 1000 + index
    steps = _steps(model, stage, dataset, start=progress.step, seed=seed)
    learner = _learner(
        model, stage, dataset, start=progress.step, root=root, out=out, recipe=recipe
    )
    fit(
        progress,
        steps,
        stage,
        learner=learner,
        seed=seed,
        device=device,
        reporter=listeners,
        save=save,
    )
    if progress.average is not None:
        model.load_state_dict(progress.average.module.state_dict())
    return model


def _steps(
    model: ActionModel, stage: Stage, dataset: ClipDataset, *, start: int, seed: int
) -> Iterator[Step]:
    """The stage's batches: single clips, or N of each video where their memory is collaborative."""
    spec, memory = stage.input or model.input, model.config.memory
    if isinstance(memory, CollaborativeMemoryConfig):
        groups = GroupStream(
            dataset=dataset,
            spec=spec,
            augment=stage.augment,
            seed=seed,
            clips=memory.clips,
            stride_ms=memory.stride_ms,
        )
        videos = max(1, round(stage.batch / memory.clips))
        return group_batches(
            groups, videos=videos, start=start, stop=stage.steps, workers=stage.workers
        )
    stream = SampleStream(dataset=dataset, spec=spec, augment=stage.augment, seed=seed)
    return batches(stream, batch=stage.batch, start=start, stop=stage.steps, workers=stage.workers)


def _learner(
    model: ActionModel,
    stage: Stage,
    dataset: ClipDataset,
    *,
    start: int,
    root: Path,
    out: Path,
    recipe: Recipe,
) -> Learner:
    """How the stage's batches become gradients, as the model's memory demands."""
    memory = model.config.memory
    if isinstance(memory, CollaborativeMemoryConfig):
        return CollaborativeLearner(
            model=model, loss=stage.loss, training=stage.collaborative, precision=stage.precision
        )
    if isinstance(memory, MemoryBankConfig) and stage.bank != "empty":
        bank: BankReader
        own, made_by = out / f"bank_{stage.name}", recipe_hash(recipe)
        if stage.bank is None:
            bank = online_bank(model, dataset, own, recipe=made_by)
        elif start:  # checked when the stage began; the model has moved on since
            bank = MemoryBank(own if stage.bank == "build" else root / stage.bank)
        elif stage.bank == "build":
            bank = build_bank(model, dataset, own, recipe=made_by)
            model.train()
        else:
            bank = bank_of(model, root / stage.bank)
        return BankLearner(model=model, loss=stage.loss, bank=bank, precision=stage.precision)
    return PlainLearner(model=model, loss=stage.loss, precision=stage.precision)


def _capture(recipe: Recipe, index: int, progress: Progress) -> TrainState:
    return TrainState(
        recipe=encode(recipe),
        stage=index,
        step=progress.step,
        model=progress.model.state_dict(),
        optimizer=progress.optimizer.state_dict(),
        average=None if progress.average is None else progress.average.state_dict(),
    )


def _restore(progress: Progress, state: TrainState) -> None:
    progress.model.load_state_dict(state.model)
    progress.optimizer.load_state_dict(state.optimizer)
    if progress.average is not None and state.average is not None:
        progress.average.load_state_dict(state.average)
    progress.step = state.step


def _previous(out: Path, recipe: Recipe, *, resume: bool) -> TrainState | None:
    """The checkpoint to continue from, or None for a fresh start in a fresh folder."""
    if out.exists() and not out.is_dir():
        raise InputError("the output folder is a file", where=out)
    path = out / STATE
    if not resume:
        if path.exists():
            raise InputError(
                "this folder already holds a training run",
                where=out,
                hint="continue it with --resume, or choose another --out",
            )
        out.mkdir(parents=True, exist_ok=True)
        return None
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        return None
    state = TrainState.load(path)
    # Decoded, so that a field added since then with a default does not make another recipe.
    if decode(Recipe, state.recipe, where=f"{path}, recipe") != recipe:
        raise ConfigError(
            "the run to resume was made by another recipe",
            where=path,
            hint=f"compare with {out / RECIPE}, or start afresh in another --out",
        )
    return state


def _check_labels(model: ActionModel, dataset: ClipDataset) -> None:
    if dataset.labels.ids != model.labels.ids or dataset.labels.names != model.labels.names:
        raise ConfigError(
            f"the classes of {dataset.name!r} are not the model's",
            expected=", ".join(model.labels.names[:6]),
            got=", ".join(dataset.labels.names[:6]),
        )


def _test(model: ActionModel, dataset: ClipDataset, out: Path, device: torch.device) -> Outcome:
    detections = detections_table(predict(model, dataset, device=device))
    truth = dataset.truth()
    predictions, truth_file = out / "predictions.csv", out / "truth.csv"
    write_ava_csv(predictions, detections, kind="detections")
    write_ava_csv(truth_file, truth, kind="truth")
    report = evaluate_tables(detections, truth, dataset.labels)
    _write_json(out / "report.json", report.to_json())
    return Outcome(
        weights=out / WEIGHTS,
        predictions=predictions,
        truth=truth_file,
        report=report,
        weights_sha256=weights_hash(model),
    )


def _provenance(recipe: Recipe) -> dict[str, object]:
    return {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _write_json(path: Path, data: object) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(data, indent=2) + "\n")
