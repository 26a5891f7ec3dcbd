"""Who says what about a checkpoint: statements joined, questions asked, answers recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tubelet.checkpoints import describe_source, read_header
from tubelet.cli import main
from tubelet.convert import Facts, Said, convert, convert_state
from tubelet.convert.apply import apply_to_tensors
from tubelet.convert.facts import ASSUMED, assumptions, settle
from tubelet.errors import CheckpointError, ConfigError, InputError, OpenQuestions
from tubelet.labels import LabelSpace
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.create import model_config
from tubelet.models.weights import load_model

CASE = "29-six-class-detector-plain"
ANSWERS = (
    "task=detection", "exclusive=false", "colour=rgb", "frames=16", "stride=4", "alpha=2",
    "aligned=false", "nonlocal_kind=softmax", "nonlocal_pool=2,2,2",
)  # fmt: skip
"""What the case's own config says of it."""


def test_assumptions_are_read_as_people_write_them() -> None:
    facts = assumptions(["frames=32", " time_strides = 2,2,2", "aligned=False", "norm_eps=1e-5"])
    assert facts.given() == {
        "frames": 32,
        "time_strides": (2, 2, 2),
        "aligned": False,
        "norm_eps": 1e-5,
    }


@pytest.mark.parametrize(
    "texts",
    [
        ["frames"],
        ["frmaes=32"],
        ["frames=many"],
        ["exclusive=1"],
        ["colour=grey"],
        ["time_strides=2,2"],
        ["labels=a"],
        ["frames=8", "frames=16"],
        ["frames=-8"],
    ],
)
def test_assumptions_that_cannot_be(texts: list[str]) -> None:
    with pytest.raises(InputError):
        assumptions(texts)


def test_statements_join_and_contradictions_are_told() -> None:
    row = Said(source="a row", facts=Facts(frames=32, mean=(0.485, 0.456, 0.406)))
    same = Said(source="its config", facts=Facts(stride=2, mean=(123.675 / 255, 0.456, 0.406)))
    settled = settle([row, same])
    assert settled.sources == {"frames": "a row", "mean": "a row", "stride": "its config"}
    other = Said(source="its config", facts=Facts(frames=64))
    with pytest.raises(CheckpointError, match="frames is 32 by a row") as told:
        settle([row, other])
    assert "frames is 64 by its config" in str(told.value)


def test_an_assumption_has_the_last_word_and_is_told() -> None:
    assumed = Said(source=ASSUMED, facts=Facts(frames=64))
    settled = settle([assumed, Said(source="a row", facts=Facts(frames=32))])
    assert settled.facts.frames == 64 and settled.sources == {"frames": ASSUMED}
    assert settled.against == ("assumed frames = 64, although frames is 32 by a row",)


def test_numbers_are_positive() -> None:
    with pytest.raises(ConfigError):
        Facts(time_strides=(1, 0, 1))


def test_six_classes_are_no_longer_taken_for_a_classifier(shared: Path, tmp_path: Path) -> None:
    source, ours = shared / "cases" / CASE, tmp_path / "ours.safetensors"
    with pytest.raises(OpenQuestions) as asked:
        convert(source / "B_plain_six_classes.pth")
    assert "task" in {question.key for question in asked.value.questions}
    assert "if the task is detection: is RoIAlign aligned" in str(asked.value)

    plain = convert(source / "B_plain_six_classes.pth", assume=ANSWERS)
    whole = convert(source / "with_cfg.pyth", assume=["exclusive=false", "colour=rgb"])
    assert plain.config == whole.config
    assert all(torch.equal(plain.state[n], t) for n, t in whole.state.items())

    whole.save(ours)
    model = load_model(ours)
    assert (model.task, len(model.labels), model.labels.exclusive) == ("detection", 6, False)
    assert (model.input.frames, model.input.stride, model.input.crop) == (16, 4, None)
    lines = describe_source(read_header(ours))
    assert lines[0] == "converted from with_cfg.pyth (PySlowFast SlowFast)"
    assert "assumed: colour rgb, exclusive false" in lines
    assert any("aligned false, alpha 2" in line and "config in the check" in line for line in lines)


def test_the_command_asks_and_takes_answers(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, ours = shared / "cases" / CASE / "with_cfg.pyth", tmp_path / "ours.safetensors"
    assert main(["convert", str(source), "--to", str(ours)]) == 2
    told = capsys.readouterr().err
    assert "--assume exclusive=true|false --assume colour=rgb|bgr" in told
    assert not ours.exists()
    (tmp_path / "map.txt").write_text("\n".join(f"{i}: act{i}" for i in range(1, 7)))
    answers = ["--assume", "exclusive=false", "--assume", "colour=rgb"]
    labels = ["--labels", str(tmp_path / "map.txt")]
    assert main(["convert", str(source), "--to", str(ours), *answers, *labels]) == 0
    assert "assumed colour = rgb" in capsys.readouterr().err
    assert load_model(ours).labels.names[5] == "act6"


def test_an_assumption_that_means_nothing_here_is_an_error(shared: Path) -> None:
    source = shared / "cases" / CASE / "B_plain_six_classes.pth"
    with pytest.raises(InputError, match="nothing in this checkpoint has join"):
        convert(source, assume=[*ANSWERS, "join=fast_slow"])


SLOWFAST = SlowFastConfig(blocks=(1, 1, 1, 1), width=8, beta_inv=4, detection=False)


def small() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = model_config(backbone=SLOWFAST, task="classification", labels=5).build()
    return {name: torch.rand_like(t) for name, t in model.state_dict().items() if t.ndim}


def test_bgr_networks_have_their_first_convolutions_turned() -> None:
    config = model_config(backbone=SLOWFAST, task="classification", labels=5)
    state = small()
    turned = apply_to_tensors(state, Facts(colour="bgr"), config)
    changed = {name for name in state if not torch.equal(state[name], turned[name])}
    assert changed == {
        "backbone.slow_stem.conv_norm.conv.weight",
        "backbone.fast_stem.conv_norm.conv.weight",
    }
    for name in changed:
        assert torch.equal(turned[name], state[name][:, [2, 1, 0]])


def test_a_pathway_order_moves_the_classifiers_columns() -> None:
    config = model_config(backbone=SLOWFAST, task="classification", labels=5)
    state = small()
    moved = apply_to_tensors(state, Facts(join="fast_slow"), config)["head.classifier.weight"]
    fast = 8 // 4 * 32
    theirs = state["head.classifier.weight"]
    assert torch.equal(moved[:, -fast:], theirs[:, :fast])
    assert torch.equal(moved[:, :-fast], theirs[:, fast:])


def test_a_background_column_leaves_weight_and_bias() -> None:
    config = model_config(backbone=SLOWFAST, task="classification", labels=5)
    state = small()
    left = apply_to_tensors(state, Facts(background=True), config)
    for part in ("weight", "bias"):
        assert torch.equal(left[f"head.classifier.{part}"], state[f"head.classifier.{part}"][1:])


def wrapped(tmp_path: Path, **sets: object) -> Path:
    torch.save(sets, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_two_sets_of_weights_are_a_question(shared: Path, tmp_path: Path) -> None:
    state = torch.load(shared / "cases" / CASE / "B_plain_six_classes.pth", weights_only=True)
    averaged = {name: tensor + 1 for name, tensor in state.items()}
    file = wrapped(tmp_path, model=state, model_ema=averaged, args={"lr": 0.1})
    with pytest.raises(OpenQuestions, match="which set of weights"):
        convert(file, assume=ANSWERS)
    first = convert(file, assume=[*ANSWERS, "weights=model"])
    second = convert(file, assume=[*ANSWERS, "weights=model_ema"])
    name = "head.classifier.bias"
    assert torch.equal(second.state[name], first.state[name] + 1)
    assert first.dropped["model_ema"] == "another set of weights"
    with pytest.raises(InputError, match="no such set"):
        convert(file, assume=[*ANSWERS, "weights=ema"])


def test_labels_come_from_a_row_and_keep_the_answer_of_exclusive(shared: Path) -> None:
    space = LabelSpace.of([f"act{i}" for i in range(6)], exclusive=True)
    row = Said(source="a row", facts=replace(assumptions(ANSWERS), labels=space))
    converted = convert(shared / "cases" / CASE / "B_plain_six_classes.pth", said=[row])
    assert converted.config.labels == replace(space, exclusive=False)
    short = Said(source="a row", facts=replace(row.facts, labels=LabelSpace.of(["a"])))
    with pytest.raises(CheckpointError, match="labels do not fit"):
        convert(shared / "cases" / CASE / "B_plain_six_classes.pth", said=[short])


@pytest.mark.parametrize(
    "name",
    [
        "D_mmcv_ema.pth", "E2_mmengine_history.pth", "E_numpy_scalar.pth", "G2_lightning.pth",
        "G_lightning.ckpt", "H.pth.tar", "I_best_acc.pyth", "J_UPPER.PTH",
    ],
)  # fmt: skip
def test_checkpoints_as_trainers_save_them(name: str, shared: Path) -> None:
    mmaction = ("exclusive=false", "background=false", "frames=8", "stride=8", "temporal_pool=mean")
    source = shared / "cases" / "31-checkpoints-refused" / name
    converted = convert(source, assume=mmaction if name[0] in "DE" else ANSWERS)
    assert len(converted.state) > 100
    ema = [key for key in converted.dropped if key.startswith("ema_")]
    assert bool(ema) == (name == "D_mmcv_ema.pth")


def test_a_stated_fact_that_our_model_cannot_follow_is_refused(shared: Path) -> None:
    about = json.loads((shared / "golden" / "mm_AVA_slowfast_acrn_r50_8x8.json").read_text())
    with torch.device("meta"):
        state = {n: torch.empty(s) for n, s in about["state_dict"].items()}
    known = Facts(exclusive=False, background=True, frames=32, stride=2, alpha=4)
    assert convert_state(state, said=[Said(source="a row", facts=known)])
    for told, facts in (
        ("ACRNHead has no temporal_pool", replace(known, temporal_pool="max")),
        ("SlowFast has no time_strides", replace(known, time_strides=(2, 2, 2))),
        ("not of the task that was stated", replace(known, task="classification")),
    ):
        with pytest.raises(CheckpointError, match=told):
            convert_state(state, said=[Said(source="a row", facts=facts)])


def test_a_kind_of_attention_that_the_tensors_contradict_is_refused(shared: Path) -> None:
    name = "mm_i3d_r50_nl_dot_product_cls_64.json"
    about = json.loads((shared / "golden" / "more" / name).read_text())
    with torch.device("meta"):
        state = {n: torch.empty(s) for n, s in about["state_dict"].items()}
    facts = Facts(exclusive=True, frames=32, stride=2, time_strides=(2, 2, 2))
    gaussian = Said(source="a row", facts=replace(facts, nonlocal_kind="gaussian"))
    with pytest.raises(CheckpointError, match=r"theta\.conv\.weight →"):
        convert_state(state, said=[gaussian])


def test_the_frames_divide_a_joint_table_of_positions(shared: Path) -> None:
    about = json.loads((shared / "golden" / "hf_vivit_tiny.json").read_text())
    state = {n: torch.zeros(s) for n, s in about["state_dict"].items()}
    facts = Facts(exclusive=True, heads=3, frames=8, stride=2)
    converted = convert_state(state, said=[Said(source="a row", facts=facts)])
    assert getattr(converted.config.backbone, "positions", None) == (4, 4, 4)
    other = Said(source="a row", facts=replace(facts, frames=6))
    with pytest.raises(CheckpointError, match="state the positions"):
        convert_state(state, said=[other])


def test_nothing_is_asked_where_the_configuration_is_given() -> None:
    config = model_config("vivit_b_16x2", task="classification", labels=7)
    with torch.device("meta"):
        state = config.build().state_dict()
    assert state  # its names are ours, so that no family knows them
    with pytest.raises(CheckpointError, match="unknown checkpoint family"):
        convert_state(state, config=config)
