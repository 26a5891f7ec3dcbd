"""From a recipe to a trained and tested model: everything is built here, top to bottom.

`run` goes through the stages and the tests; `_train_stage` builds what one stage needs, each object
from those above it, and hands them to the loop. Nothing below this file builds a stage's parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from tubelet.errors import InputError
from tubelet.files import claimed
from tubelet.models.weights import save_model, weights_hash
from tubelet.parallel.processes import World
from tubelet.testing.config import Test
from tubelet.testing.outcome import Tested, read_tested, write_figures
from tubelet.testing.run_test import run_test
from tubelet.train.check import check
from tubelet.train.data.streams import minibatches_of
from tubelet.train.learning.banks import recipe_hash
from tubelet.train.learning.checked import checked
from tubelet.train.learning.choose import learner_of
from tubelet.train.loop.fit import LoopServices, fit
from tubelet.train.loop.progress import Progress
from tubelet.train.loop.saving import STATE, StageSaver
from tubelet.train.loop.state import TrainState
from tubelet.train.loop.throughput import clip_load
from tubelet.train.model.activations import running_as
from tubelet.train.model.norms import train_mode
from tubelet.train.model.start import finished_models, prepare_models, start_model
from tubelet.train.model.tied import TiedModels
from tubelet.train.recipe import Recipe
from tubelet.train.recipe_file import identity, write_recipe
from tubelet.train.reporters import Reporter, with_step_log
from tubelet.train.resume import previous_state, with_precision
from tubelet.train.run_context import RunContext
from tubelet.train.stopping import StopFlag

WEIGHTS, RECIPE = "model.safetensors", "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a finished run; `tests` in the recipe's order."""

    weights: Path
    weights_sha256: str
    tests: tuple[Tested, ...]


def run(
    recipe: Recipe,
    *,
    out: Path,
    root: Path,
    device: torch.device,
    resume: bool,
    reporter: Reporter,
    world: World | None = None,
    stop: StopFlag | None = None,
    fsdp: bool = False,
    finish: bool = False,
) -> Outcome:
    """Train every stage of `recipe`, test the result, and leave everything under `out`.

    `root`: the data folder. With `resume`, continue from `out`'s last checkpoint, bit for bit on
    the CPU in fp32. `world`: the processes that train together, with `fsdp` each holding a part of
    the backbone. A raised `stop` ends the run after the current step. `finish`: train no more; the
    model of the last checkpoint is written and tested. Raises InputError when `out` already holds a
    run and `resume` is off, when another process trains in it, and as `check` before anything runs.
    """
    world, stop = world or World(), stop or StopFlag()
    context = RunContext(
        root=root, out=out, device=device, reporter=reporter, world=world, stop=stop, fsdp=fsdp
    )
    check(recipe, context)
    with claimed(out) if world.first else nullcontext():
        return _run(recipe, context, resume=resume or finish, finish=finish)


def _run(recipe: Recipe, context: RunContext, *, resume: bool, finish: bool) -> Outcome:
    out, world = context.out, context.world
    state = previous_state(out, recipe, resume=resume)
    if state is None and finish:
        raise InputError("no checkpoint to finish", where=out, expected=STATE)
    if state is None and resume:
        context.reporter.note(f"no checkpoint in {out}: training starts at its first step")
    recipe = with_precision(recipe, context.device, state)
    world.wait()
    if world.first:
        write_recipe(out / RECIPE, recipe)
    models: TiedModels | None = None
    first = 0 if state is None else state.stage
    tests = _tests_before(recipe, first, context)
    if finish:
        assert state is not None
        models = _stopped_stage(recipe, context, state)
        _save(recipe, models, context)
        tests = _test(_tests_at(recipe, first, context), models, context, tests)
    else:
        for index in range(first, len(recipe.stages)):
            models = _train_stage(recipe, index, models, context, state)
            state = None
            if index == len(recipe.stages) - 1:
                _save(recipe, models, context)
            tests = _test(recipe.tests_of(index), models, context, tests)
    assert models is not None  # a recipe has at least one stage
    return Outcome(
        weights=out / WEIGHTS,
        weights_sha256=weights_hash(models.main),
        tests=tuple(
            tested for test in recipe.tests for tested in tests if tested.name == test.name
        ),
    )


def _stopped_stage(recipe: Recipe, context: RunContext, state: TrainState) -> TiedModels:
    """The models of a checkpoint, as the stage would leave them if it ended there."""
    stage = recipe.stages[state.stage]
    model = start_model(recipe, state.stage, None, context, resumed=True)
    datasets = [part.data.build(context.root) for part in stage.mixture.parts]
    models = prepare_models(stage, model, datasets, context)
    progress = Progress.begin(stage, models, datasets, context.device)
    progress.restore(state)
    context.reporter.note(
        f"finished as it is: stage {stage.name!r}, step {progress.step} of {progress.steps}"
    )
    progress.adopt_average()
    return finished_models(stage, models, context)


def _train_stage(
    recipe: Recipe,
    index: int,
    before: TiedModels | None,
    context: RunContext,
    state: TrainState | None,
) -> TiedModels:
    """Train stage `index` from the models of the stage `before`, or from `state` midway."""
    stage, seed = recipe.stages[index], recipe.seed * 1000 + index
    model = start_model(recipe, index, before, context, resumed=state is not None)
    datasets = [part.data.build(context.root) for part in stage.mixture.parts]
    torch.manual_seed(recipe.seed + index)  # the heads of other datasets are drawn now
    models = prepare_models(stage, model, datasets, context)
    progress = Progress.begin(stage, models, datasets, context.device)
    if state is not None:
        progress.restore(state)
        context.reporter.note(f"stage {stage.name!r} continues at step {progress.step}")
    plain, banks = learner_of(
        stage,
        models,
        datasets,
        start=progress.step,
        made_by=recipe_hash(identity(recipe)),
        context=context,
    )
    learner = checked(plain, stage, models, fresh=progress.step == 0, context=context)
    minibatches = minibatches_of(
        stage, models, datasets, first=progress.step, steps=progress.steps, seed=seed,
        world=context.world,
    )  # fmt: skip
    train_mode(models, stage.norms)
    saver = StageSaver.of(recipe, index, progress, banks, context.world, context.out)
    log = context.out / f"{stage.name}.jsonl"
    with (
        with_step_log(context.reporter, log, progress.step, write=context.world.first) as reporter,
        running_as(stage, models),
        context.stop.watched(),
    ):
        services = LoopServices(
            device=context.device,
            world=context.world,
            reporter=reporter,
            saver=saver,
            stop=context.stop,
            folder=context.out,
            clip_load=clip_load(models.main, stage, context.device),
        )
        fit(progress, minibatches, stage, learner=learner, seed=seed, services=services)
    progress.adopt_average()
    return finished_models(stage, models, context)


def _save(recipe: Recipe, models: TiedModels, context: RunContext) -> None:
    """The main model's weights, and beside them those of each dataset's own model; written by the
    first process."""
    if not context.world.first:
        return
    provenance = {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "date": datetime.now(UTC).date().isoformat(),
    }
    for name, model in models.by_dataset().items():
        path = context.out / (WEIGHTS if name is None else f"model_{name}.safetensors")
        save_model(path, model, provenance=provenance)


def _tests_before(recipe: Recipe, first: int, context: RunContext) -> tuple[Tested, ...]:
    """Where a run is resumed in stage `first`, what the tests of the stages before have left: a
    stage's tests are done before the next one writes a checkpoint."""
    if not context.world.first:
        return ()
    done = [test for index in range(first) for test in recipe.tests_of(index)]
    return tuple(read_tested(test, test.data.build(context.root), context.out) for test in done)


def _tests_at(recipe: Recipe, index: int, context: RunContext) -> tuple[Test, ...]:
    """The tests of a run that is finished in stage `index`: those of this stage and of the result.
    What would need a later stage is left out, and said."""
    reached = {stage.name for stage in recipe.stages[: index + 1]}
    done = {t.name for t in recipe.tests if t.stage is None or t.stage in reached}
    for test in recipe.tests:
        if test.name not in done:
            context.reporter.note(f"test {test.name!r} is of stage {test.stage!r}: not reached")
    own = [t for t in recipe.tests if t.stage in (None, recipe.stages[index].name)]
    return tuple(t if t.against in done else replace(t, against=None) for t in own)


def _test(
    own: Sequence[Test], models: TiedModels, context: RunContext, before: tuple[Tested, ...]
) -> tuple[Tested, ...]:
    """`before` and the results of the tests `own` in the first process; elsewhere none."""
    tests = list(before)
    if own:
        context.reporter.note("testing")
    for test in own:
        tested = run_test(
            models.model_of(test.part) if test.part else models.main,
            test,
            root=context.root,
            out=context.out,
            device=context.device,
            world=context.world,
            note=context.reporter.note,
            before=tests,
        )
        tests += [tested] if tested is not None else []
    if context.world.first and own:
        write_figures(tests, context.out)
    return tuple(tests)
