"""`tubelet train`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tubelet.api import choose_device
from tubelet.cli.console import ConsoleReporter, note, out, show
from tubelet.config import override
from tubelet.errors import ConfigError, Stopped
from tubelet.parallel.processes import World, joined_world
from tubelet.people.training.person_small import person_small
from tubelet.people.training.person_small import train as train_person
from tubelet.recipes.saved import find_recipe
from tubelet.recipes.smoke import run_smoke
from tubelet.render.tables import report_table
from tubelet.testing.config import Ensemble
from tubelet.testing.ensembles import run_ensemble
from tubelet.testing.outcome import Tested, run_figures
from tubelet.train.loop.saving import STATE
from tubelet.train.recipe import Experiment, Recipe
from tubelet.train.reporters import Reporter, Reporters, Silent, TensorBoard
from tubelet.train.run import RECIPE, Outcome, run
from tubelet.train.stopping import StopFlag, stopped_by_signals

PERSON = "person_small"


def train_recipe(
    name: str,
    *,
    root: Path,
    folder: Path | None,
    resume: bool,
    settings: Sequence[str],
    device: str,
    tensorboard: bool,
    fsdp: bool,
    finish: bool = False,
) -> None:
    """Train the recipe `name`, the one in a file `name`.json, or that of the run folder `name`, and
    print how it scores."""
    if name == PERSON:
        if finish:
            raise ConfigError(f"{PERSON!r} cannot be finished early", hint="resume it")
        _train_person(root, folder or Path("runs") / PERSON, resume=resume, settings=settings)
        return
    name, folder = _of_folder(name, folder)
    found = find_recipe(name, root=root, note=note)
    recipe = override(found, settings)
    folder = folder or Path("runs") / recipe.name
    if isinstance(recipe, Ensemble):
        _join_members(recipe, folder, root)
        return
    with joined_world(choose_device(device)) as (world, own), _stopping(world) as stop:
        reporter = _listeners(folder, tensorboard) if world.first else Silent()
        try:
            outcome = run(
                recipe,
                out=folder,
                root=root,
                device=own,
                resume=resume,
                reporter=reporter,
                world=world,
                stop=stop,
                fsdp=fsdp,
                finish=finish,
            )
        finally:
            reporter.close()
    if world.first:
        _print(recipe, outcome)


def _of_folder(name: str, folder: Path | None) -> tuple[str, Path | None]:
    """The recipe file and the folder of a run; a prepared set's folder holds a recipe only."""
    run = Path(name)
    if not (run / RECIPE).is_file():
        return name, folder
    if folder is None and (run / STATE).is_file():
        folder = run
    return str(run / RECIPE), folder


def _stopping(world: World) -> AbstractContextManager[StopFlag]:
    told = "stopping after this step; Ctrl-C again stops at once, without saving it"
    return stopped_by_signals(lambda: note(told) if world.first else None)


def _join_members(ensemble: Ensemble, folder: Path, root: Path) -> None:
    """Nothing is trained: the members' runs are beside `folder`, each under its name."""
    tests = run_ensemble(ensemble, runs=folder.parent, out=folder, root=root, note=note)
    for tested in tests:
        show_test(tested, named=len(tests) > 1)
    _compare(ensemble, tests)


def smoke_recipe(name: str, folder: Path | None) -> None:
    """Run every stage and test of a recipe, shrunk, in `folder` or a temporary one."""
    if name == PERSON:
        raise ConfigError(
            f"{PERSON!r} is not an action model's recipe, so it has no smoke run",
            hint="`tubelet recipes` lists those that have one",
        )
    found = find_recipe(name)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--smoke runs in one process", hint="start it without torchrun")
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="tubelet_smoke_") as temporary:
            tests = run_smoke(found, out=Path(temporary), reporter=ConsoleReporter())
    else:
        tests = run_smoke(found, out=folder, reporter=ConsoleReporter())
    for tested in tests:
        out.print(f"{tested.name}: {tested.line}")
    note("a smoke run only shows that everything runs; its scores are meaningless")


def _listeners(folder: Path, tensorboard: bool) -> Reporter:
    listeners: list[Reporter] = [ConsoleReporter()]
    if tensorboard:
        listeners.append(TensorBoard(folder / "tensorboard"))
    return Reporters(listeners)


def _print(recipe: Recipe, outcome: Outcome) -> None:
    for tested in outcome.tests:
        show_test(tested, named=len(outcome.tests) > 1)
    _compare(recipe, outcome.tests)
    out.print(f"weights: {outcome.weights}")
    out.print(f"weights sha256: {outcome.weights_sha256}")


def _compare(experiment: Experiment, tests: Sequence[Tested]) -> None:
    """Beside each figure that the paper prints, the run's own, or who has it."""
    row, own = experiment.published, run_figures(tests)
    submitted = {tested.name for tested in tests if tested.submission is not None}
    for key, value in ({} if row is None else row.scores).items():
        measured = own.get(key)
        ours = "undefined" if measured is None else f"{measured:.2f}"
        if key not in own:
            server = key.partition(" ")[0] in submitted
            ours = "none: the submission's server computes it" if server else "not measured"
        out.print(f"{key}: published {value:g}, here {ours}")


def show_test(tested: Tested, *, named: bool) -> None:
    """The table of classes, where the metric has one, and the figures that are in no table."""
    if named:
        out.print(f"test {tested.name}")
    if "classes" in tested.report:
        show([report_table(tested.report)])
    if tested.report["metric"] != "frame":
        out.print(tested.line)
    for warning in tested.report.get("warnings", ()):
        note(f"warning: {warning}")


def _train_person(root: Path, folder: Path, *, resume: bool, settings: Sequence[str]) -> None:
    """The person detector is not an action model: it has its own training function."""

    def stop() -> Stopped | None:
        told = "stopped; training has saved its state"
        return flag.stopped(told, str(folder), can_finish=False) if flag.raised else None

    with stopped_by_signals() as flag, flag.watched():
        weights = train_person(
            root / "persons",
            root / "jhmdb21",
            folder,
            recipe=override(person_small(), settings),
            resume=resume,
            report=lambda line: note(str(line)),
            stop=stop,
        )
    out.print(f"weights: {weights}")
