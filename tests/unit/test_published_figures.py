"""Every figure that a paper prints has one way to `reproduced`: a run's own, or a server's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.cli import main
from tubelet.config import encode
from tubelet.data.annotations import Annotations
from tubelet.data.predictions import read_predictions
from tubelet.data.tables import read_ava_csv
from tubelet.errors import ConfigError, InputError, Stopped
from tubelet.evaluate.longtail import GROUPS, frequency_groups
from tubelet.evaluate.scoring import evaluate_tables
from tubelet.labels import LabelSpace
from tubelet.playground.sources import (
    PlaygroundClipSource,
    PlaygroundSource,
    UnlabelledPlaygroundSource,
)
from tubelet.playground.world import PlaygroundConfig
from tubelet.recipes import experiments, recipe_named
from tubelet.recipes.records import COSTS, labels_of, paths, recipe_records
from tubelet.recipes.smoke import run_smoke, shrink, shrink_recipe
from tubelet.testing.config import PaperRow, Test
from tubelet.testing.figures import figure_names, server_figures
from tubelet.testing.outcome import Tested
from tubelet.train.recipe import Recipe
from tubelet.train.reporters import Silent
from tubelet.train.run import run
from tubelet.train.stopping import StopFlag

PUBLISHED = [name for name, one in experiments().items() if one.published is not None]
CPU = torch.device("cpu")


def row_of(name: str) -> PaperRow:
    row = experiments()[name].published
    assert row is not None
    return row


def test_every_published_figure_has_exactly_one_path() -> None:
    """`test_a_run_gives_the_figures_that_its_tests_declare` holds the paths to real runs."""
    wrong: dict[tuple[str, str], int] = {}
    for name in PUBLISHED:
        one = experiments()[name]
        known = Counter(key for key, _ in paths(one))
        wrong |= {(name, key): known[key] for key in row_of(name).scores if known[key] != 1}
        wrong |= {(name, key): known[key] for key in one.reproduced if known[key] != 1}
    assert wrong == {}


def test_hidden_sets_alone_are_filled_by_servers() -> None:
    filled = {
        (record.name, key): by
        for record in recipe_records()
        for key, by in record.filled_by.items()
    }
    assert len(filled) == sum(len(row_of(name).scores) for name in PUBLISHED) > 190
    assert {one for one, by in filled.items() if by == "server"} == {
        ("ava22_slowfast_ensemble7", "ava_test mAP"),
        ("k700_slowfast_ensemble3", "k700_test mean error"),
        ("relation_ensemble15", "ava_kinetics_test mAP"),
    }


def test_costs_are_counted_and_not_run() -> None:
    counted = json.loads(COSTS.read_text(encoding="utf-8"))
    ratios = [name for name in PUBLISHED if row_of(name).cost_ratio is not None]
    assert len(ratios) == 5
    for name in ratios:
        ratio = counted[name]["gflops"] / counted[str(row_of(name).baseline)]["gflops"]
        assert ratio == pytest.approx(row_of(name).cost_ratio, abs=0.02)
    with pytest.raises(ConfigError, match="whose cost it is over"):
        PaperRow(paper="", table="", row="", scores={}, cost_ratio=1.03)


def test_what_the_papers_print_beside_their_main_figures_is_there() -> None:
    """000 Tables 1, 3 and 4, 001 Table 3, 004 Figure 3."""
    assert row_of("relation_ensemble15").scores == {
        "ava mAP": 40.52, "kinetics mAP": 37.04, "ava_kinetics mAP": 40.97,
        "ava_kinetics_test mAP": 40.67,
    }  # fmt: skip
    decoupled = row_of("relation_csn152_k700_t_only_decoupled").scores
    assert decoupled["ava bottom-20 difference"] == 1.05 and len(decoupled) == 9
    assert decoupled["ava AP of work on a computer difference"] == -8.85
    for boxes, ava, kinetics in (
        ("_on_det_v1", 94.5, 77.0), ("_on_det_v2", 95.1, 81.7), ("", 95.1, 82.3),
    ):  # fmt: skip
        scores = row_of(f"relation_csn152_k700_t_only{boxes}").scores
        assert (scores["ava_boxes AP"], scores["kinetics_boxes AP"]) == (ava, kinetics)
    for model, error in (
        ("slowfast_r101_nl_8x8", 19.9), ("fast_r101_nl_32x2", 19.9),
        ("slowfast_r101_nl_16x8", 19.7),
    ):  # fmt: skip
        assert row_of(f"k700_{model}").scores["k700 mean error"] == error
    drawn = {name: row_of(name) for name in PUBLISHED if "fig. 3" in row_of(name).table}
    printed = {name: row.scores["k400 top-1"] for name, row in drawn.items() if row.scores}
    slow = "k400_slow_r50_8x"
    assert printed == {
        f"{slow}8_cm_one_clip": 74.5, f"{slow}8_cm": 76.8, f"{slow}8_cm_n9": 77.1,
        f"{slow}2_cm_n1": 73.2, f"{slow}2_cm_n9": 76.4,
    }  # fmt: skip
    assert len(drawn) == 10, "the others are drawn, not printed"


def recipe_of(name: str) -> Recipe:
    recipe = recipe_named(name)
    assert isinstance(recipe, Recipe)
    return recipe


Smoke = Callable[[str], tuple[Tested, ...]]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """Runs a recipe shrunk, once for all tests."""
    return cache(lambda name: run_smoke(recipe_of(name), out=tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize(
    "name",
    [
        "relation_csn152_k700_t_only",  # boxes alone, hidden keyframes
        "relation_csn152_k700_t_only_decoupled",  # an earlier stage, differences
        "cofinetune_b224_k400_ava",  # Head, Mid and Tail, a part of a mixture
        "k700_slowfast_r101_nl_8x8",  # mean error, hidden videos
        "charades_slowfast_r50_16x8",
    ],
)
def test_a_run_gives_the_figures_that_its_tests_declare(name: str, smoke: Smoke) -> None:
    tests, small = smoke(name), shrink_recipe(recipe_of(name))
    declared = [figure_names(test, labels_of(small, test)) for test in small.tests]
    assert [tuple(tested.figures) for tested in tests] == declared
    out = tests[0].predictions.parents[1]
    written = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    assert list(written) == [key for key, by in paths(small) if by == "run"]
    shared = [key for key in row_of(name).scores if " AP of " not in key]  # other classes
    assert set(shared) <= set(written)
    for test, tested in zip(small.tests, tests, strict=True):
        own = json.loads((tested.predictions.parent / "report.json").read_text(encoding="utf-8"))
        assert own == tested.report
        assert bool(server_figures(test)) == (tested.submission is not None)


def test_the_decoupled_stage_is_measured_against_the_first(smoke: Smoke) -> None:
    first, ava, *_ = smoke("relation_csn152_k700_t_only_decoupled")
    assert (first.name, ava.name) == ("ava_first", "ava")
    before, after = (read_predictions(tested.predictions).frame for tested in (first, ava))
    assert before["x1"].equals(after["x1"]) and not before["score"].equals(after["score"])
    compared = {name: value for name, value in first.figures.items() if value is not None}
    assert {"mAP", "top-20", "bottom-20"} < set(compared)
    for name, other in compared.items():
        value = ava.figures[name]
        assert value is not None
        assert ava.figures[f"{name} difference"] == pytest.approx(value - other)


def test_an_earlier_stages_test_survives_a_resumed_run(tmp_path: Path) -> None:
    """The model of the first stage is gone then: what its test left is read."""
    recipe = shrink(recipe_named("relation_csn152_k700_t_only_decoupled"))
    assert isinstance(recipe, Recipe)
    recipe = replace(recipe, stages=recipe.stages[1:], tests=recipe.tests[:2])

    def again() -> tuple[Tested, ...]:
        resumed = (tmp_path / "state.pt").is_file()
        done = run(
            recipe, out=tmp_path, root=tmp_path, device=CPU, resume=resumed, reporter=Silent()
        )
        return done.tests

    whole, resumed = again(), again()
    assert [tested.figures for tested in resumed] == [tested.figures for tested in whole]
    (tmp_path / "ava_first" / "report.json").unlink()
    with pytest.raises(InputError, match="'ava_first' of an earlier stage has left no report"):
        again()


def test_a_run_that_is_finished_early_leaves_out_what_it_did_not_reach(tmp_path: Path) -> None:
    recipe = shrink(recipe_named("relation_csn152_k700_t_only_decoupled"))
    assert isinstance(recipe, Recipe)
    first, after = recipe.tests[:2]
    whole = replace(first, name="whole", stage=None)
    end, compared = replace(first, name="end", stage="decoupled"), replace(after, against="end")
    recipe = replace(recipe, stages=recipe.stages[1:], tests=(first, whole, end, compared))
    flag = StopFlag()
    flag.raised = True
    given = {"out": tmp_path, "root": tmp_path, "device": CPU, "reporter": Silent()}
    with pytest.raises(Stopped, match="stopped at step 1"):
        run(recipe, resume=False, stop=flag, **given)  # type: ignore[arg-type]
    done = run(recipe, resume=False, finish=True, **given)  # type: ignore[arg-type]
    assert [tested.name for tested in done.tests] == ["ava_first", "whole", "ava"]
    assert not [name for name in done.tests[2].figures if name.endswith(" difference")]
    assert done.tests[0].figures == done.tests[1].figures


def test_classes_are_grouped_by_their_training_labels() -> None:
    """The limits of 002 (A.3) and the ends of 000 (Table 3)."""
    counts = {i: 20_000 if i <= 8 else 5_000 - i if i <= 31 else 60 - i for i in range(1, 61)}
    groups = frequency_groups(counts)
    assert tuple(groups) == GROUPS
    assert [len(groups[name]) for name in GROUPS] == [8, 23, 29, 20, 20]
    assert groups["top-20"] == tuple(range(1, 21))
    assert groups["bottom-20"] == tuple(range(41, 61))


def test_head_mid_and_tail_are_means_of_their_classes(smoke: Smoke) -> None:
    """A handful of rendered labels puts every class into the tail."""
    ava = smoke("cofinetune_b224_k400_ava")[0]
    assert ava.figures["head"] is None and ava.figures["mid"] is None
    classes = [one["ap"] for one in ava.report["classes"] if one["ap"] is not None]
    for name in ("tail", "top-20", "bottom-20", "mAP"):
        assert ava.figures[name] == pytest.approx(100 * np.mean(classes))


def test_boxes_are_scored_without_a_model(smoke: Smoke, tmp_path: Path) -> None:
    """As the evaluator scores one class, by the detector's scores."""
    name = "relation_csn152_k700_t_only"
    boxes = next(tested for tested in smoke(name) if tested.name == "ava_boxes")
    listed = read_ava_csv(boxes.predictions, kind="proposals").frame
    found = Annotations(frame=listed.drop_nulls("x1").with_columns(label=1))
    truth = shrink_recipe(recipe_of(name)).tests[0].data.build(tmp_path).truth()
    assert isinstance(truth, Annotations)
    people = truth.frame.unique(["video", "time_us", "x1"], maintain_order=True)
    known = Annotations(frame=people.with_columns(label=1))
    report = evaluate_tables(found, known, LabelSpace(ids=(1,), names=("person",)))
    assert boxes.figures["AP"] == pytest.approx(100 * report.map)
    assert boxes.report["boxes"] == len(found)
    assert boxes.line.startswith("boxes alone: AP@0.5")


WORLD = PlaygroundConfig(height=32, width=48, fps=4.0, seconds=2.0, task="scene")
PEOPLE = PlaygroundSource(name="p", world=WORLD, clips=1)
HIDDEN = UnlabelledPlaygroundSource(name="h", world=WORLD, clips=1)
VIDEOS = PlaygroundClipSource(name="v", world=WORLD, clips=2)


def test_figures_that_cannot_be_are_refused() -> None:
    for data, more in (
        (HIDDEN, {"metric": "boxes"}),
        (HIDDEN, {"against": "other"}),
        (HIDDEN, {"training": PEOPLE}),
        (PEOPLE, {"training": VIDEOS}),
        (VIDEOS, {"metric": "topk", "training": PEOPLE}),
    ):
        with pytest.raises(ConfigError, match=r"not public|cannot group"):
            Test(data=data, **more)


def test_comparisons_have_something_to_compare_with() -> None:
    recipe = recipe_of("relation_csn152_k700_t_only_decoupled")
    first, after = recipe.tests[:2]
    for tests, match in (
        ((after,), "is compared with 'ava_first'"),
        ((after, first), "is compared with 'ava_first'"),
        ((replace(first, stage=None), replace(after, stage="first")), "with a later stage"),
        ((replace(first, stage="gone"), after), "of a stage that it lacks"),
        ((replace(first, metric="boxes", training=None), after), "a test before it by 'frame'"),
    ):
        with pytest.raises(ConfigError, match=match):
            replace(recipe, tests=tests)


def test_a_run_shows_its_figures_beside_the_published_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = shrink_recipe(recipe_of("relation_csn152_k700_t_only"))
    row = replace(row_of(small.name), scores={"ava mAP": 36.41, "ava_kinetics_test mAP": 1.0})
    small = replace(small, stages=small.stages[1:], published=row, tests=small.tests[:4:3])
    (tmp_path / "own.json").write_text(json.dumps(encode(small)))
    command = ["train", str(tmp_path / "own.json"), "--data", str(tmp_path)]
    assert main([*command, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    own = json.loads((tmp_path / "run" / "figures.json").read_text(encoding="utf-8"))["ava mAP"]
    assert f"ava mAP: published 36.41, here {own:.2f}" in shown
    assert "ava_kinetics_test mAP: published 1, here none: the submission's server" in shown


def test_the_list_says_who_fills_a_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "relation_ensemble15", "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert record["filled_by"]["ava mAP"] == "run"
    assert record["filled_by"]["ava_kinetics_test mAP"] == "server"
