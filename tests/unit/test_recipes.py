"""The papers' recipes: which rows there are, what their models cost, and that each of them runs."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import os
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from tubelet.cli import main
from tubelet.config import decode, encode
from tubelet.data.sources import JoinedSource, UnlabelledSource, VideoSource
from tubelet.errors import ConfigError, InputError
from tubelet.labels import LabelSpace
from tubelet.models.detector import ActionModelConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.weights import load_model
from tubelet.playground.sources import PlaygroundClipSource, PlaygroundSource
from tubelet.playground.world import AT_LAMP
from tubelet.recipes import experiments, recipe_named, recipe_names
from tubelet.recipes.classes import AVA
from tubelet.recipes.records import COSTS, count_recipe, labels_of, recipe_records
from tubelet.recipes.relation import PROPOSALS
from tubelet.recipes.smoke import run_smoke, shrink, shrink_recipe
from tubelet.testing.config import Ensemble
from tubelet.testing.figures import figure_names
from tubelet.train.data.mixture import Mixture
from tubelet.train.model.transfer import matches
from tubelet.train.recipe import Recipe
from tubelet.train.reporters import StepReport
from tubelet.train.run import run

OURS = ("playground_small", "jhmdb21_small")
PAPERS = [name for name in experiments() if name not in OURS]
COST = json.loads(COSTS.read_text())

# Rows of each results table, those of other people's methods left out.
ROWS = {
    ("AVA 2019 entry", "2"): 6,
    ("AVA 2019 entry", "3"): 4,
    ("AVA 2019 entry", "§3.1"): 2,
    ("AVA-Kinetics 2021 winner", "1"): 15,
    ("AVA-Kinetics 2021 winner", "2"): 3,
    ("AVA-Kinetics 2021 winner", "3"): 1,
    ("AVA-Kinetics 2021 winner", "4"): 4,
    ("arXiv:2207.03807", "1a"): 3,
    ("arXiv:2207.03807", "1b"): 3,
    ("arXiv:2207.03807", "2"): 5,
    ("arXiv:2207.03807", "3"): 4,
    ("arXiv:2207.03807", "4"): 2,
    ("arXiv:2207.03807", "5"): 2,
    ("arXiv:2207.03807", "6"): 4,
    ("arXiv:2207.03807", "7"): 2,
    ("arXiv:2207.03807", "§4.3"): 1,
    ("arXiv:2207.03807", "8"): 8,
    ("arXiv:2104.01198", "1"): 10,
    ("arXiv:2104.01198", "2a"): 4,
    ("arXiv:2104.01198", "2b"): 4,
    ("arXiv:2104.01198", "2c"): 4,
    ("arXiv:2104.01198", "2d"): 4,
    ("arXiv:2104.01198", "2e"): 4,
    ("arXiv:2104.01198", "2f"): 10,
    ("arXiv:2104.01198", "fig. 3"): 10,
    ("arXiv:2104.01198", "3"): 3,
    ("arXiv:2104.01198", "4"): 6,
    ("arXiv:2104.01198", "5"): 4,
    ("arXiv:2104.01198", "6"): 4,
    ("arXiv:2104.01198", "7a"): 4,
    ("arXiv:2104.01198", "7b"): 4,
    ("arXiv:2104.01198", "8"): 5,
}


def test_every_row_of_every_table_is_a_recipe() -> None:
    rows = [experiments()[name].published for name in PAPERS]
    found = Counter(
        (row.paper, table.strip())
        for row in rows
        if row is not None
        for table in row.table.split(",")
    )
    assert found == ROWS


def test_nothing_is_reproduced_until_somebody_measured_it() -> None:
    assert not any(experiments()[name].reproduced for name in PAPERS)


def test_members_of_ensembles_are_recipes() -> None:
    for name in PAPERS:
        one = experiments()[name]
        if isinstance(one, Ensemble):
            assert len(set(one.members)) == len(one.members)
            for member in one.members:
                recipe = recipe_named(member)
                assert isinstance(recipe, Recipe)
                assert {t.name for t in one.tests} <= {test.name for test in recipe.tests}


@pytest.mark.parametrize("name", list(experiments()))
def test_a_recipe_is_its_own_text(name: str) -> None:
    one = experiments()[name]
    text = json.dumps(encode(one))
    assert decode(type(one), json.loads(text)) == one


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="ava22_slowfast_r101_nl_8x8"):
        recipe_named("ava22_slowfast_r101_8x8")
    assert recipe_names("relation_ensemble*") == ["relation_ensemble15"]


def test_avas_classes_are_those_of_its_file(shared: Path) -> None:
    from tubelet.data.labelmaps import read_label_map

    folder = shared / "data" / "ava" / "v2.2_meta"
    every = read_label_map(folder / "ava_action_list_v2.2.pbtxt")
    counted = read_label_map(folder / "ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    assert (AVA.ids, AVA.names, AVA.groups) == (every.ids, every.names, every.groups)
    assert AVA.evaluated == counted.ids


def test_costs_are_recorded_for_all() -> None:
    assert set(COST) == set(experiments())
    assert all(cost["parameters"] > 0 for cost in COST.values())


@pytest.mark.parametrize(
    "name",
    [
        "ava22_slowfast_r50_4x16_cm",
        "relation_csn152_k700_t_only_memory",
        "finetune_b224_k400",
        "finetune_b512_k400_to_ava",
        "k400_slow_r50_8x8_cm_reduction1",
    ],
)
def test_the_record_is_what_is_counted(name: str) -> None:
    assert count_recipe(name) == COST[name]


def test_printed_costs_are_met_within_two_per_cent() -> None:
    met = 0
    for name in PAPERS:
        row = experiments()[name].published
        if row is not None and isinstance(experiments()[name], Recipe):
            if row.gflops is not None:
                assert COST[name]["gflops"] == pytest.approx(row.gflops, rel=0.02), name
                met += 1
            if row.parameters is not None:
                assert COST[name]["parameters"] / 1e6 == pytest.approx(row.parameters, rel=0.02)
                met += 1
    assert met >= 22


def test_memory_costs_as_little_as_printed() -> None:
    """Table 1 of 004 prints the ratio, rounded."""
    for model in ("slow_r50_8x8", "i3d_r50_nl_32x2", "r2plus1d_r50_16x2", "slowfast_r50_8x8"):
        ratio = COST[f"k400_{model}_cm"]["gflops"] / COST[f"k400_{model}"]["gflops"]
        row = experiments()[f"k400_{model}_cm"].published
        assert row is not None and row.baseline == f"k400_{model}"
        assert ratio == pytest.approx(row.cost_ratio, abs=0.02), model


def test_records_hold_what_the_list_shows() -> None:
    record = recipe_records("cofinetune_b224_k400_mit_ssv2_ava")[0].to_json()
    assert record["data"] == (
        "ava", "kinetics400", "moments", "ssv2", "weights/vivit_b_16x2_in21k.safetensors",
    )  # fmt: skip
    assert record["model"] == "vivit_b_16x2"
    assert record["published"]["ava mAP"] == 26.8 and not record["reproduced"]


@cache
def _shapes(config: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model that a configuration's text spells."""
    with torch.device("meta"):
        state = decode(ActionModelConfig, json.loads(config)).build().state_dict()
    return {name: tuple(t.shape) for name, t in state.items()}


def test_shrunk_stages_take_over_the_whole_backbone() -> None:
    """Only non-local blocks may be new: they join a backbone that was trained without."""
    for name in PAPERS:
        small = shrink(experiments()[name])
        if not isinstance(small, Recipe):
            continue
        models = [stage.model or small.model for stage in small.stages]
        shapes = [_shapes(json.dumps(encode(model))) for model in models]
        assert all(sum(map(math.prod, one.values())) < 500_000 for one in shapes), name
        for stage, (source, own) in zip(small.stages[1:], itertools.pairwise(shapes), strict=True):
            assert any(matches("backbone.x", [part]) for part in stage.start.parts)
            backbone = {n for n in own if n.startswith("backbone.") and "attention" not in n}
            lost = [n for n in backbone if source.get(n) != own[n]]
            assert not lost, (name, stage.name, lost[:3])


def test_shrinking_keeps_what_a_recipe_does() -> None:
    recipe = experiments()["cofinetune_l512_k700_mit_ssv2_ava_kinetics"]
    assert isinstance(recipe, Recipe)
    small = shrink_recipe(recipe)
    data, own = small.stages[0].data, recipe.stages[0].data
    assert isinstance(data, Mixture) and isinstance(own, Mixture)
    assert [p.data.name for p in data.parts] == [p.data.name for p in own.parts]
    assert isinstance(data.parts[0].data, JoinedSource)
    assert isinstance(data.parts[0].data.parts[0], PlaygroundSource)
    assert isinstance(data.parts[1].data, PlaygroundClipSource)
    assert small.stages[0].loss == recipe.stages[0].loss
    assert [t.part for t in small.tests] == [t.part for t in recipe.tests]
    views = shrink_recipe(recipe_of("charades_slowfast_r50_16x8_cm")).tests[0].views
    assert (views.moments, views.crops, views.join) == (10, 3, "max")


def test_show_prints_a_whole_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    name = "k400_slow_r50_8x8_cm"
    assert main(["recipes", "show", name, "--set", "stages.1.epochs=10"]) == 0
    shown = decode(Recipe, json.loads(capsys.readouterr().out))
    assert shown.stages[1].epochs == 10 and shown.stages[0] == recipe_of(name).stages[0]


def test_the_list_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "relation_csn*"]) == 0
    assert "relation_csn152_k700_t_only" in capsys.readouterr().out
    assert main(["recipes", "relation_csn*", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["paper"] == "AVA-Kinetics 2021 winner"


def test_smoke_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "finetune_b224_mit", "--smoke", "--out", str(tmp_path)]) == 0
    assert "mit: top-1" in capsys.readouterr().out
    assert (tmp_path / "model.safetensors").is_file()
    assert main(["train", "person_small", "--smoke"]) == 2
    assert "has no smoke run" in capsys.readouterr().err


def recipe_of(name: str) -> Recipe:
    found = recipe_named(name)
    assert isinstance(found, Recipe)
    return found


class Steps:
    """Counts the steps of each stage, and keeps the notes."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.notes: list[str] = []

    def step(self, report: StepReport) -> None:
        self.stages[report.stage] += 1

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None: ...


def _turn() -> list[str]:
    """A third of the recipes, another each day; TUBELET_SMOKE says which, or "all"."""
    wanted = os.environ.get("TUBELET_SMOKE", str(datetime.date.today().toordinal() % 3))
    return PAPERS if wanted == "all" else PAPERS[int(wanted) :: 3]


@pytest.mark.parametrize("name", [*OURS, *_turn()])
def test_smoke(name: str, tmp_path: Path) -> None:
    one, steps = experiments()[name], Steps()
    tests = run_smoke(one, out=tmp_path, reporter=steps)
    assert all(tested.predictions.is_file() and tested.report for tested in tests)
    assert [tested.name for tested in tests] == [test.name for test in one.tests]
    small = shrink(one)
    model = small if isinstance(small, Recipe) else shrink(recipe_named(small.members[0]))
    for test, tested in zip(small.tests, tests, strict=True):
        assert tuple(tested.figures) == figure_names(test, labels_of(model, test))
    if isinstance(one, Recipe):
        assert list(steps.stages) == [stage.name for stage in one.stages]


def test_nameless_classes_take_the_datas_names(tmp_path: Path) -> None:
    small = shrink_recipe(recipe_of("finetune_b224_k400"))
    model = replace(small.model, labels=LabelSpace.nameless(2, exclusive=True))
    stage = replace(small.stages[0], model=model)
    done = run(
        replace(small, model=model, stages=(stage,)),
        out=tmp_path,
        root=tmp_path,
        device=torch.device("cpu"),
        resume=False,
        reporter=Steps(),
    )
    assert load_model(done.weights).labels.names == AT_LAMP
    wrong = replace(model, labels=LabelSpace.nameless(3, exclusive=True))
    with pytest.raises(ConfigError, match="classes of 'k400_train' are not the model's"):
        run(
            replace(small, model=wrong, stages=(replace(stage, model=wrong),)),
            out=tmp_path / "wrong",
            root=tmp_path,
            device=torch.device("cpu"),
            resume=False,
            reporter=Steps(),
        )


def test_memory_banks_know_every_second_of_kinetics_at_test_as_in_training() -> None:
    banked = [
        recipe
        for recipe in experiments().values()
        if isinstance(recipe, Recipe) and isinstance(recipe.model.memory, MemoryBankConfig)
    ]
    tests = [t for recipe in banked for t in recipe.tests if "kinetics" in t.data.name]
    assert len(banked) == 7 and len(tests) == 19  # five of them on the hidden set too
    for test in tests:
        split = "test" if test.data.hidden else "val"
        assert test.bank_data is not None
        assert test.bank_data.name == f"kinetics_{split}_every_second"


def test_the_winners_recipes_test_people_and_not_every_stray_box() -> None:
    """What relation heads see at test is what they saw in training, annotated people."""
    recipes = [e for n, e in experiments().items() if n.startswith("relation_")]
    tests = [t for e in recipes for t in e.tests if t.metric != "boxes"]
    sources = [s for t in tests for s in (t.data.joins() or (t.data,))]
    hidden = [s.score_threshold for s in sources if isinstance(s, UnlabelledSource)]
    found = [s for s in sources if isinstance(s, VideoSource) and s.boxes == "proposals"]
    assert len(found) > 60 and len(hidden) > 30
    assert {*hidden, *(s.score_threshold for s in found)} == {PROPOSALS}
