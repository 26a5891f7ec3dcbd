"""A run that is stopped, finished early, moved or begun twice."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.test_train_system import WORLD, ran, recipe_of, stage_of

from tubelet.config import decode, encode
from tubelet.data.sources import VideoSource
from tubelet.errors import InputError, Stopped
from tubelet.files import claimed
from tubelet.models.weights import load_model
from tubelet.playground.make import write_dataset
from tubelet.releases.table import weights_path
from tubelet.train.loop.state import TrainState
from tubelet.train.recipe import Recipe
from tubelet.train.recipe_file import identity, read_recipe, write_recipe
from tubelet.train.stopping import StopFlag, stopped_by_signals


def stopped_run(out: Path) -> Recipe:
    """Three steps of five, as Ctrl-C leaves them."""
    recipe = recipe_of(stage_of(steps=5, save_every=100, ema=0.5))
    flag = StopFlag()
    flag.raised = True
    with pytest.raises(Stopped, match="stopped at step 1 of 5"):
        ran(recipe, out, stop=flag)
    return recipe


def test_ctrl_c_is_a_request_and_a_second_one_an_end() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals(lambda: told.append("stopping")) as flag:
        with flag.watched():
            signal.raise_signal(signal.SIGINT)
            assert flag.raised and told == ["stopping"]
            signal.raise_signal(signal.SIGTERM)  # torchrun passes it on at once
            signal.raise_signal(signal.SIGINT)
            flag._asked_at -= 5
            with pytest.raises(Stopped, match="stopped at once") as caught:
                signal.raise_signal(signal.SIGINT)
        assert caught.value.exit_code == 130
        assert told == ["stopping"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_outside_the_loop_a_request_ends_at_once(number: int, code: int) -> None:
    with stopped_by_signals(), pytest.raises(Stopped) as caught:
        signal.raise_signal(number)
    assert caught.value.exit_code == code
    assert caught.value.arguments == ("resume", "finish")


def test_a_run_cut_short_is_finished_and_can_still_go_on(tmp_path: Path) -> None:
    recipe = stopped_run(tmp_path)
    with pytest.raises(InputError, match="no model yet"):
        weights_path(str(tmp_path))
    outcome, listener = ran(recipe, tmp_path, finish=True)
    assert outcome.tests and (tmp_path / "report.json").is_file()
    assert not listener.losses
    assert any("step 1 of 5" in note for note in listener.notes)
    kept = load_model(weights_path(str(tmp_path))).state_dict()
    average = TrainState.load(tmp_path / "state.pt").average
    assert average is not None
    name = next(name for name in kept if name.startswith("backbone"))
    assert (average[f"module.main.{name}"] == kept[name]).all()
    _, listener = ran(recipe, tmp_path, resume=True)
    assert len(listener.losses) == 4


def test_nothing_to_finish_and_nothing_to_resume_are_said(tmp_path: Path) -> None:
    recipe = recipe_of(stage_of(steps=1))
    with pytest.raises(InputError, match="no checkpoint to finish"):
        ran(recipe, tmp_path / "none", finish=True)
    _, listener = ran(recipe, tmp_path / "none", resume=True)
    assert any("no checkpoint in" in note for note in listener.notes)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(InputError, match="another process"):
        ran(recipe_of(stage_of(steps=1)), tmp_path)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A project folder with films, labels and a recipe of its own."""
    project = tmp_path / "m1"
    files = write_dataset(project / "set", clips=2, config=WORLD)
    (project / "set" / "videos").rename(project / "videos")
    source = VideoSource(
        name="own",
        videos=str(project / "videos"),
        annotations=str(files.annotations),
        labels=str(files.label_map),
        exclusive=True,
    )
    recipe = recipe_of(stage_of(data=source, steps=1, save_every=1))
    write_recipe(project / "set" / "recipe.json", recipe)
    return project


def test_a_moved_project_resumes(prepared: Path, tmp_path: Path) -> None:
    file = Path("set/recipe.json")
    text = (prepared / file).read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["stages"][0]["data"]["videos"] == "../videos"
    ran(read_recipe(prepared / file), prepared / "run")
    moved = tmp_path / "elsewhere" / "m2"
    moved.parent.mkdir()
    shutil.move(prepared, moved)
    for again in (moved / file, moved / "run" / "recipe.json"):
        outcome, listener = ran(read_recipe(again), moved / "run", resume=True)
        assert not listener.losses and outcome.weights.is_file()


def test_films_that_moved_alone_are_found_in_the_data_folder(
    prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (prepared / "videos").rename(tmp_path / "data" / "videos")
    file = prepared / "set" / "recipe.json"
    told: list[str] = []
    found = read_recipe(file, root=tmp_path / "data", note=told.append)
    data = found.stages[0].data
    assert isinstance(data, VideoSource) and data.videos == str(tmp_path / "data" / "videos")
    assert len(told) == 1 and "is taken" in told[0]
    found.stages[0].mixture.parts[0].data.build(tmp_path / "data")
    with pytest.raises(InputError, match="missing video folder"):
        read_recipe(file).stages[0].mixture.parts[0].data.build(tmp_path)


def test_paths_are_no_part_of_what_a_run_is(prepared: Path) -> None:
    recipe = read_recipe(prepared / "set" / "recipe.json")
    data = recipe.stages[0].data
    assert isinstance(data, VideoSource)
    other = replace(data, videos="/mnt/films/videos", annotations="elsewhere/train.csv")
    moved = replace(recipe, stages=(replace(recipe.stages[0], data=other),))
    before = replace(data, annotations="here/train.csv")
    assert identity(moved) == identity(
        replace(recipe, stages=(replace(recipe.stages[0], data=before),))
    )
    fewer = replace(recipe, stages=(replace(recipe.stages[0], steps=9),))
    assert identity(fewer) != identity(recipe)
    assert decode(Recipe, encode(recipe)) == recipe


def test_a_path_far_away_stays_absolute(prepared: Path, tmp_path: Path) -> None:
    recipe = read_recipe(prepared / "set" / "recipe.json")
    data = recipe.stages[0].data
    assert isinstance(data, VideoSource)
    far = replace(data, videos="/mnt/films")
    write_recipe(
        tmp_path / "r.json", replace(recipe, stages=(replace(recipe.stages[0], data=far),))
    )
    assert json.loads((tmp_path / "r.json").read_text())["stages"][0]["data"]["videos"] == (
        "/mnt/films"
    )
