"""How a model's answers are read: calibration, "none of these", thresholds, what is withheld."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tubelet.answers import HEADER, SENSITIVE_THRESHOLD, THRESHOLD, Answers, Calibration
from tubelet.api import ActionDetector, load
from tubelet.checkpoints import read_checkpoint, save_checkpoint
from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace
from tubelet.labelsets import LABEL_SETS, label_set
from tubelet.labelsets.sensitive import SENSITIVE, sensitive_columns
from tubelet.models.detector import ActionModel
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.models.weights import load_model, save_model
from tubelet.recipes.jhmdb import jhmdb21_small
from tubelet.recipes.playground import playground_small
from tubelet.render.tables import action_table
from tubelet.render.timeline import Spans
from tubelet.render.withheld import shown
from tubelet.results import Tube


@pytest.fixture(scope="module")
def exclusive() -> ActionModel:
    config = jhmdb21_small().model
    return replace(config, head=GridHeadConfig(scene=2, hidden=4, standardise=True)).build()


@pytest.fixture(scope="module")
def several() -> ActionModel:
    return playground_small().model.build()


def _with(model: ActionModel, answers: Answers) -> ActionModel:
    model.answers = answers
    return model


numbers = st.lists(st.floats(-20, 20, width=32), min_size=21, max_size=21)


@given(numbers, st.floats(0.05, 20))
def test_temperature_keeps_the_best_class_and_a_probability(
    exclusive: ActionModel, row: list[float], slope: float
) -> None:
    logits = torch.tensor([row])
    plain = _with(exclusive, Answers()).scores(logits)
    warm = _with(exclusive, Answers(calibration=Calibration(slopes=(slope,)))).scores(logits)
    assert warm[0, plain.argmax()] == warm.max()
    assert float(warm.sum()) == pytest.approx(1, abs=1e-5)


@given(numbers, st.floats(-5, 5))
def test_none_of_these_takes_its_share_and_keeps_the_others_order(
    exclusive: ActionModel, row: list[float], offset: float
) -> None:
    logits = torch.tensor([row])
    plain = _with(exclusive, Answers()).scores(logits)
    answers = Answers(none=True, calibration=Calibration(offsets=(offset,)))
    found = _with(exclusive, answers).scores(logits, abstain=True)
    none = 1 - float(found.sum())
    expected = 1 / (1 + (logits.double() + offset).exp().sum())
    assert none == pytest.approx(float(expected), abs=1e-5)
    torch.testing.assert_close(found, plain * (1 - expected).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(_with(exclusive, answers).scores(logits), plain)


def test_platt_is_a_slope_and_an_offset_for_each_class(several: ActionModel) -> None:
    count = len(several.labels)
    slopes, offsets = np.linspace(0.5, 2, count), np.linspace(-1, 1, count)
    platt = Calibration(slopes=tuple(slopes.tolist()), offsets=tuple(offsets.tolist()))
    logits = torch.randn(3, count)
    expected = (logits * torch.tensor(slopes) + torch.tensor(offsets)).sigmoid().float()
    torch.testing.assert_close(_with(several, Answers(calibration=platt)).scores(logits), expected)


def test_answers_travel_in_the_header_and_change_no_tensor(
    exclusive: ActionModel, tmp_path: Path
) -> None:
    answers = Answers(
        calibration=Calibration(slopes=(0.5,), offsets=(0.1,), data="a validation set"),
        none=True,
        threshold=0.4,
        meaning="most are right",
        sensitive_threshold=0.9,
        limits=("knows little",),
    )
    save_model(tmp_path / "plain.safetensors", _with(exclusive, Answers()))
    save_model(tmp_path / "said.safetensors", _with(exclusive, answers))
    before, plain = read_checkpoint(tmp_path / "plain.safetensors")
    _, said = read_checkpoint(tmp_path / "said.safetensors")
    assert HEADER not in before
    assert load_model(tmp_path / "plain.safetensors").answers == Answers()
    assert load_model(tmp_path / "said.safetensors").answers == answers
    assert all(torch.equal(plain[name], said[name]) for name in plain)
    detector = load(tmp_path / "said.safetensors", device="cpu")
    assert (detector.threshold, detector.sensitive_threshold) == (0.4, 0.9)
    assert detector.limits == ("knows little",)
    assert detector.sensitive == ("shoot_bow", "shoot_gun")


def test_a_model_that_says_nothing_has_the_usual_thresholds(exclusive: ActionModel) -> None:
    detector = ActionDetector(_with(exclusive, Answers()), device="cpu")
    assert (detector.threshold, detector.sensitive_threshold) == (THRESHOLD, SENSITIVE_THRESHOLD)
    assert detector.limits == ()
    assert Answers(threshold=0.9).sensitive_from == 0.9


@pytest.mark.parametrize(
    "answers",
    [
        {"type": "Answers", "calibration": {"type": "Calibration", "slopes": [1.0, 2.0]}},
        {"type": "Answers", "calibration": {"type": "Calibration", "slopes": [-1.0]}},
        {"type": "Answers", "threshold": 1.5},
        {"type": "Answers", "treshold": 0.5},
    ],
)
def test_answers_that_cannot_be_are_refused(
    exclusive: ActionModel, tmp_path: Path, answers: dict[str, object]
) -> None:
    path = tmp_path / "wrong.safetensors"
    save_model(path, _with(exclusive, Answers()))
    header, state = read_checkpoint(path)
    save_checkpoint(path, state, {**header, HEADER: answers})
    with pytest.raises(ConfigError):
        load_model(path)


def test_none_of_these_is_refused_where_several_classes_hold(several: ActionModel) -> None:
    with pytest.raises(ConfigError, match="exclude one another"):
        Answers(none=True).check(len(several.labels), exclusive=several.labels.exclusive)


def test_sensitive_classes_are_named_as_their_label_sets_name_them() -> None:
    for name in {*SENSITIVE} & {*LABEL_SETS}:
        assert set(SENSITIVE[name]) <= set(label_set(name).names), name
    assert set(SENSITIVE["jhmdb21"]) <= set(jhmdb21_small().model.labels.names)
    ava = label_set("ava")
    assert {ava.names[i] for i in sensitive_columns(ava.names)} == set(SENSITIVE["ava"])
    assert not sensitive_columns(label_set("ssv2").names)
    assert not sensitive_columns(playground_small().model.labels.names)


SPACE = LabelSpace.of(("walk", "shoot_gun"), exclusive=True)


def _tube(track_id: int, walk: list[float], gun: list[float]) -> Tube:
    count = len(walk)
    return Tube(
        video="film",
        track_id=track_id,
        times_ms=np.arange(count) * 1000,
        boxes=np.tile(np.array([0.1, 0.1, 0.5, 0.9], np.float32), (count, 1)),
        person_scores=np.ones(count, np.float32),
        action_scores=np.stack([walk, gun], axis=1).astype(np.float32),
        labels=SPACE,
    )


def test_a_sensitive_action_is_shown_only_from_its_own_threshold() -> None:
    low = _tube(1, [0.5, 0.1, 0.5], [0.4, 0.6, 0.3])
    high = _tube(2, [0.1, 0.1, 0.1], [0.5, 0.9, 0.75])
    seen = shown([low, high], spans=Spans(on=0.3), sensitive_threshold=0.9, every_ms=1000)
    np.testing.assert_array_equal(seen.tubes[0].action_scores[:, 0], low.action_scores[:, 0])
    assert seen.tubes[0].action_scores[:, 1].max() == 0
    # It lasts down to 0.8 of the threshold, as any action.
    np.testing.assert_allclose(seen.tubes[1].action_scores[:, 1], [0, 0.9, 0.75])
    assert seen.withheld == (("shoot_gun", 1),)
    line = seen.line(0.9)
    assert line is not None and "1 × shoot_gun" in line and "below 0.9" in line
    assert low.action_scores[1, 1] == np.float32(0.6)


def test_nothing_is_withheld_where_nothing_harms() -> None:
    tube = _tube(1, [0.5, 0.5], [0.1, 0.1])
    seen = shown([tube], spans=Spans(on=0.3), sensitive_threshold=0.9, every_ms=1000)
    assert seen.withheld == () and seen.line(0.9) is None


def test_somebody_without_a_shown_action_is_in_the_table_without_one() -> None:
    console = Console(width=80, record=True)
    console.print(
        action_table(
            [_tube(1, [0.9, 0.9], [0, 0]), _tube(2, [0.2, 0.2], [0, 0])],
            spans=Spans(on=0.3),
            every_ms=1000,
        )
    )
    lines = console.export_text().splitlines()
    assert any("● 1" in line and "walk" in line for line in lines)
    assert any("● 2" in line and "–" in line for line in lines)
    assert "No actions" not in "".join(lines)
