"""Every setting of every recipe is cited, or marked as assumed with its value and a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tubelet.cli import main
from tubelet.config import decode, encode, override, values_at
from tubelet.errors import ConfigError
from tubelet.media.transforms import Augment
from tubelet.recipes import experiments, recipe_named
from tubelet.recipes.notes.base import Notes, assume, cite, resolved
from tubelet.testing.config import Ensemble, Test
from tubelet.train.recipe import Experiment, Recipe, Stage

PAPERS = [name for name in experiments() if name not in ("playground_small", "jhmdb21_small")]
# What is no setting of an experiment: names, how it is run and stored. Sources are one setting,
# "data"; of a part of a mixture the notes on the whole stage hold.
OURS = {"type", "name", "precision", "compile", "checkpointing", "workers", "keep", "accumulate"}
OURS |= {"save_every", "save_minutes", "predictions", "part", "metric"}
ALWAYS = ("clip_norm", "optimizer.nesterov", "optimizer.decay_all", "augment.flip")


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key != "type":
                yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, data


def chosen(one: Stage | Test) -> set[str]:
    """Settings of a stage or test that are not a technique left out, and those always noted."""
    plain: Stage | Test
    if isinstance(one, Stage):
        plain = Stage(name="plain", data=one.data, batch=1, steps=1, augment=Augment())
        always = set(ALWAYS)
    else:
        plain, always = Test(data=one.data), {"views"}
    default = dict(leaves(encode(plain)))
    found = {
        path
        for path, value in leaves(encode(one))
        if path.split(".")[0] not in {*OURS, "data", "model", "bank_data"}
        and value is not None
        and default.get(path, ...) != value
    }
    found |= {"data"} | ({"bank_data"} if one.bank_data is not None else set())
    if isinstance(one, Stage) and one.model is not None:
        found |= {"model.backbone", "model.head", "model.input"}
        found |= {"model.memory"} if one.model.memory is not None else set()
    return found | always


def noted(setting: str, notes: set[str]) -> bool:
    """Whether there is a note on the setting, or on what holds it."""
    steps = setting.split(".")
    return any(".".join(steps[:depth]) in notes for depth in range(len(steps), 0, -1))


def notes_of(one: Experiment) -> set[str]:
    return {*one.cited, *(note.setting for note in one.assumed)}


@pytest.mark.parametrize("name", PAPERS)
def test_nothing_is_left_without_a_source_or_a_reason(name: str) -> None:
    one = experiments()[name]
    assert one.cited and one.assumed
    settings = set()
    if isinstance(one, Ensemble):
        settings = {"members", "weights"}
    else:
        for number, stage in enumerate(one.stages):
            settings |= {f"stages.{number}.{path}" for path in chosen(stage)}
        for number, test in enumerate(one.tests):
            settings |= {f"tests.{number}.{path}" for path in chosen(test) - {"batch"}}
    assert sorted(s for s in settings if not noted(s, notes_of(one))) == []


@pytest.mark.parametrize("name", PAPERS)
def test_notes_are_on_settings_that_exist_and_say_their_values(name: str) -> None:
    one = experiments()[name]
    values = values_at(one, notes_of(one))
    for note in one.assumed:
        assert note.setting not in one.cited
        assert json.loads(note.value) == values[note.setting], note.setting
        assert len(note.why) > 10 and not note.why.endswith("."), note
    assert all(re.match(r"00\d (§|[AB]\.|Table)", at) for at in one.cited.values())


def test_the_choices_that_papers_leave_are_marked() -> None:
    """Some that an audit found unmarked: each names its setting and its reason."""
    for name, setting, word in (
        ("k400_slow_r50_8x8_cm", "model.memory.positions", "Eq. 2"),
        ("k400_slow_r50_8x8_cm", "model.memory.norm", "saturate"),
        ("k400_slow_r50_8x8_cm", "stages.1.collaborative.video_weight", "α"),
        ("ava22_slowfast_r101_nl_8x8", "model.backbone.slow_temporal", "23 blocks"),
        ("ava22_slowfast_r101_nl_8x8", "stages.1.schedule.milestones", "saturates"),
        ("relation_csn152_k700_t_only", "tests.0.data.score_threshold", "IoU"),
        ("finetune_b512_k400_to_ava", "model.backbone.positions", "224"),
        ("finetune_b512_k400_to_ava", "stages.1.data.proposal_iou", "0.9"),
    ):
        recipe = experiments()[name]
        why = {note.setting: note.why for note in recipe.assumed}
        assert word in why[setting], (name, setting)


def test_show_says_what_is_cited_and_assumed_as_it_then_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, setting = "k400_slow_r50_8x8_cm", "stages.1.collaborative.video_weight"
    assert main(["recipes", "show", name, "--set", f"{setting}=0.5"]) == 0
    shown = decode(Recipe, json.loads(capsys.readouterr().out))
    assert shown.cited["stages.1.epochs"] == "004 B.1"
    (note,) = (note for note in shown.assumed if note.setting == setting)
    assert note.value == "0.5" and "Eq. 1" in note.why


def test_a_later_note_takes_the_place_of_an_earlier() -> None:
    notes = cite("001 §2", "batch", "steps") | assume("not printed", "batch")
    assert notes == Notes(cited={"steps": "001 §2"}, assumed={"batch": "not printed"})
    again = notes | cite("001 §3", "batch")
    assert again.assumed == {} and again.cited["batch"] == "001 §3"
    lent = notes.borrowed("as in 001")
    assert lent.assumed["steps"] == "as in 001 (001 §2)" and not lent.cited


def test_a_note_on_what_is_not_there_is_refused() -> None:
    recipe = recipe_named("k400_slow_r50_8x8_cm")
    assert isinstance(recipe, Recipe)
    note = replace(recipe.assumed[0], setting="stages.0.epoch")
    with pytest.raises(ConfigError, match="epochs"):
        resolved(replace(recipe, assumed=(note,)))
    assert resolved(override(recipe, ["stages.0.epochs=1"])).stages[0].epochs == 1
